"""Write a trace as a CSV or Parquet file of memtrace.trace/1, from another file or from a Trace in memory."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from memtrace.trace.files import writer
from memtrace.trace.model import BATCH_ROWS, COLUMNS, Int64s, Op, Trace
from memtrace.trace.raw import MISSING, Batch, Place, part_of, rows_of

if TYPE_CHECKING:
    from memtrace.trace.passes import Progress


def convert(
    source: str | os.PathLike[str],
    target: str | os.PathLike[str],
    *,
    format: str | None = None,
    invalid: str = "error",
    to: str | None = None,
    metadata: dict[str, str] | None = None,
    progress: Progress | None = None,
) -> int:
    """Write a trace file as CSV or Parquet with its own ids, and return the number of events written.

    The target's suffix chooses the format; `to` overrules it, and may be "minimalloc" for lifetimes. `invalid` is as in `read`.
    Metadata that the file or its reader gives is added to `metadata`; Parquet keeps it, CSV has no place for it.
    """
    from memtrace.trace.inputs import open_input
    from memtrace.trace.passes import Pass, Raw, refusing
    from memtrace.trace.reading import check_invalid, no_events

    check_invalid(invalid)
    opened = writer(Path(target), to)
    with open_input(source, format) as given:
        raw = Raw(given.label, given.batches)
        refuse = refusing(raw) if invalid == "error" else None
        run = Pass(raw, refuse, keep_rows=True, progress=progress)
        with opened as put:
            events = 0
            for batch, kept in run.valid():
                put(replace(batch, rows=part_of(batch.rows, kept), tags=tuple(run.tags)))
                events += kept.size
            if not events:
                raise no_events(given, run.invalid())
        if metadata is not None:
            metadata.update(run.metadata)
    return events


def write(trace: Trace, target: str | os.PathLike[str], *, metadata: Mapping[str, str] | None = None) -> None:
    """Write a prepared trace as CSV or Parquet, with its slots as ids; `convert` keeps a file's own ids.

    `metadata` is added to the trace's own.
    """
    known = {**trace.metadata, **(metadata or {})}
    with writer(Path(target)) as put:
        for batch in unprepared(trace):
            put(replace(batch, metadata=known))


def unprepared(trace: Trace) -> Iterator[Batch]:
    """Yield raw rows, with slots as ids, that preparation would turn into this trace again."""
    start, columns = 0, tuple(name for name in COLUMNS if name in trace.columns)
    for events in trace.batches(BATCH_ROWS):
        count = events.op.size
        numbers = np.arange(start, start + count)
        pair = (events.op == Op.COPY) | (events.op == Op.SWAP)
        request = (events.op == Op.ALLOC) | (events.op == Op.REALLOC)
        given = {
            "id": _or_missing(events.block >= 0, events.block, count),
            "size": _or_missing(request | (pair & (events.size >= 0)), events.size, count),
            "time": trace.times(numbers) if "time" in columns else None,
            "align": _or_missing(events.align > 0, events.align, count),
            "stream": np.broadcast_to(events.stream.astype(np.int64), count),
            "dst": _or_missing(events.dst >= 0, events.dst, count),
        }
        tag = np.ascontiguousarray(np.broadcast_to(events.tag, count))
        numbered = {name: column for name, column in given.items() if name in columns and column is not None}
        yield Batch(rows_of(events.op, numbered, tag), columns, lambda row: Place("row", row + 1), trace.tags)
        start += count


def _or_missing(given: Any, column: Any, count: int) -> Int64s:
    """Return a column of `count` int64 values: `column` where `given` is true, else MISSING. Single elements are repeated."""
    found: Int64s = np.broadcast_to(np.where(given, column.astype(np.int64), MISSING), count)
    return found
