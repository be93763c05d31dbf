"""Every measure beside its definition: a list of intervals, written from the docs alone, on parts of recorded traces."""

from __future__ import annotations

from functools import cache
from typing import Any

import naive_heap
import naive_measures
import pyarrow.parquet as pq
import pytest
from conftest import ROOT

from memtrace.engine.replay import replay
from memtrace.measures import declared
from memtrace.measures.declaration import Readings
from memtrace.results.gather import fits, summary
from memtrace.results.schema import summary_columns
from memtrace.trace import Trace, from_events

POLICIES = (
    "first-fit",
    "next-fit",
    "best-fit",
    "worst-fit",
    "bump",
    "first-fit:header=8,align=8,min_block=16,base=16,initial=4096,chunk=4096,extend=full,realloc=move,zero=null",
    "best-fit:chunk=1024,trim=true",
    "worst-fit:align=64,header=8,initial=2048",
    "next-fit:min_block=64,header=16",
    "best-fit:realloc=move,zero=null,align=1,min_block=1",
    "first-fit:chunk=4096,extend=full",
    "bump:header=8,chunk=512",
    "best-fit:initial=262144",  # a fixed pool, which is large enough for all parts
)
PARTS = {"sqlite-catalogue": (0, 500), "arrow-query": (171600, 172200), "perl-words": (0, 450)}
IDENTITY = {"trace", "trace_sha256", "policy", "options", "capacity_bytes"}


@cache
def part(name: str) -> tuple[list[dict[str, Any]], Trace]:
    """Return some events of a recorded trace that have an alloc before every use, as rows and as a trace."""
    first, last = PARTS[name]
    table = pq.read_table(ROOT / "traces" / f"{name}.parquet").slice(first, last - first).to_pylist()
    rows: list[dict[str, Any]] = []
    live: set[Any] = set()
    for row in table:
        if row["op"] != "alloc" and row["id"] not in live:
            continue
        live = live | {row["id"]} if row["op"] == "alloc" else live - ({row["id"]} if row["op"] == "free" else set())
        rows.append({column: row.get(column) for column in ("op", "id", "size", "align", "time")})
    if name == "perl-words":  # and a request of no bytes, an end of the heap that is free, and its trim
        later = {"align": None, "time": rows[-1]["time"] + 5}
        rows += [{**later, "op": "alloc", "id": -1, "size": 0, "align": 64}, {**later, "op": "trim", "id": None, "size": None}]
    return rows, from_events(rows)


@pytest.mark.parametrize("trace", list(PARTS))
@pytest.mark.parametrize("policy", POLICIES)
def test_every_column_is_what_its_definition_says(policy: str, trace: str) -> None:
    rows, read = part(trace)
    name, _, given = policy.partition(":")
    options = {key: value_of(value) for key, _, value in (pair.partition("=") for pair in given.split(",") if pair)}
    whole = naive_heap.replayed(name, options, rows)
    peak = max(step.reserved for step in whole.steps)
    for capacity in (None, max(peak * 7 // 8, int(options.get("initial", 0)))):
        run = whole if capacity is None else naive_heap.replayed(name, options, rows, capacity)
        found = replay(read, policy, capacity, interpret=True, keep=True)
        assert found.addresses is not None
        assert [None if at < 0 else at for at in found.addresses.tolist()] == run.addresses
        expected, row = naive_measures.summary(run, rows), summary(found)
        assert set(row) == set(summary_columns()) and set(expected) == set(row) - IDENTITY
        for column, value in expected.items():
            close = pytest.approx(value, rel=1e-12, abs=1e-12) if isinstance(value, float) else value
            assert row[column] == close, (column, capacity)


@pytest.mark.parametrize("trace", list(PARTS))
@pytest.mark.parametrize("policy", POLICIES[:5] + POLICIES[9:10])
def test_the_table_of_blocks_that_fit(policy: str, trace: str) -> None:
    """Both bounds enclose the count over all holes, and are exact where no class has two; so is the ideal."""
    rows, read = part(trace)
    name, _, given = policy.partition(":")
    options = {key: value_of(value) for key, _, value in (pair.partition("=") for pair in given.split(",") if pair)}
    run = naive_heap.replayed(name, options, rows)
    found = fits(Readings(replay(read, policy, interpret=True, samples=150)))
    table = list(zip(*(found[column].tolist() for column in found), strict=True))
    assert len(table) == 150 * len(set(found["size_bytes"].tolist())) > 1000
    for event, size, least, most, ideal in table:
        holes = run.steps[event].holes
        exact = sum(hole // size for hole in holes)
        assert least <= exact <= most and ideal == sum(holes) // size, (event, size)
        if len({hole.bit_length() for hole in holes if hole >= size}) == sum(hole >= size for hole in holes):
            assert least == exact == most, (event, size)


def value_of(text: str) -> int | str | bool:
    """Return an option's value from its text."""
    return {"true": True, "false": False}.get(text, int(text) if text.isdigit() else text)


def test_all_parts_have_what_they_are_for() -> None:
    rows = [row for name in PARTS for row in part(name)[0]]
    assert sum(row["op"] == "realloc" for row in rows) > 20 and sum(bool(row["align"]) for row in rows) > 5
    assert {metric.name for metric in declared()} <= {
        *naive_measures.summary(naive_heap.replayed("bump", {}, rows[:9]), rows[:9])
    }
