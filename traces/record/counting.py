"""Reads a trace, checks that it is possible, and counts it. It shares no code with memtrace, on purpose."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq


class Impossible(ValueError):
    """An event that no program can have made."""


@dataclass(frozen=True)
class Counts:
    """What README.md says of each trace."""

    events: int
    allocs: int
    frees: int
    reallocs: int
    aligned: int
    streams: int
    peak_live_bytes: int
    never_freed: int


def count(path: Path) -> Counts:
    """Follow every event of the trace."""
    live: dict[int, int] = {}
    seen = {"alloc": 0, "free": 0, "realloc": 0, "trim": 0}
    total = peak = aligned = last = 0
    streams = set()
    for number, event in enumerate(_events(path)):
        op, id, size = event["op"], event["id"], event["size"]
        _check(event, number, last, live)
        if op in ("free", "realloc"):
            total -= live.pop(id)
        if op in ("alloc", "realloc"):
            live[id] = size
            total += size
        peak = max(peak, total)
        seen[op] += 1
        aligned += bool(event.get("align"))
        streams.add(event.get("stream") or 0)
        last = event.get("time") or last
    return Counts(
        sum(seen.values()),
        seen["alloc"],
        seen["free"],
        seen["realloc"],
        aligned,
        len(streams),
        peak,
        len(live),
    )


def _check(event: dict[str, Any], number: int, last: int, live: dict[int, int]) -> None:
    op, id, size, align = event["op"], event["id"], event["size"], event.get("align")
    if op not in ("alloc", "free", "realloc", "trim"):
        raise Impossible(f"event {number}: unknown op {op}")
    if op == "alloc" and id in live:
        raise Impossible(f"event {number}: alloc of id {id}, which is live")
    if op in ("free", "realloc") and id not in live:
        raise Impossible(f"event {number}: {op} of id {id}, which is not live")
    if op in ("alloc", "realloc") and (size is None or size < (op == "realloc")):
        raise Impossible(f"event {number}: {op} of {size} bytes")
    if align is not None and (align < 1 or align & (align - 1)):
        raise Impossible(f"event {number}: align {align} is no power of two")
    if (event.get("time") or last) < last:
        raise Impossible(f"event {number}: time goes back")


def _events(path: Path) -> Iterator[dict[str, Any]]:
    """The rows as dictionaries, numbers as int, what is missing as None."""
    if path.suffix == ".parquet":
        for batch in pq.ParquetFile(path).iter_batches():
            yield from batch.to_pylist()
        return
    with path.open(newline="") as file:
        for line in csv.DictReader(file):
            yield {name: value if name in ("op", "tag") else int(value) if value else None for name, value in line.items()}
