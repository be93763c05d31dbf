"""Write a trace without what could identify its owner.

Ids, tags, streams (or threads) and times are numbered anew; frames are dropped, and all metadata but the keys in KEPT.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from memtrace.trace.batches import Batch, part_of
from memtrace.trace.model import Int64s, Trace
from memtrace.trace.writing import raw_batches, writer

if TYPE_CHECKING:
    from memtrace.trace.passes import Progress

KEPT = ("format", "threads", "streams")  # the keys of the metadata that stay
# The value of the metadata key `anonymized` in the written file.
SAID = "ids, tags, streams and times are numbered anew; frames and other metadata are dropped"


def anonymize(trace: Trace, target: str | os.PathLike[str]) -> None:
    """Write the trace to a CSV or Parquet file, with slots as ids, tags named tag-0, tag-1 ..., and streams and times from 0.

    The order of events, sizes, alignments, lifetimes and differences of times stay, so every policy places the trace as before.
    """
    with writer(Path(target)) as put:
        for batch in anonymous(trace):
            put(batch)


def anonymous(trace: Trace) -> Iterator[Batch]:
    """Yield the anonymized trace as batches of raw rows, ready to be written."""
    tags = tuple(f"tag-{number}" for number in range(len(trace.tags)))
    metadata = {name: trace.metadata[name] for name in KEPT if name in trace.metadata}
    streams: dict[int, int] = {}
    for batch in raw_batches(trace):
        rows = batch.rows
        if "time" in batch.columns:
            rows = rows._replace(time=rows.time - trace.facts.first_time)
        if "stream" in batch.columns:
            rows = rows._replace(stream=_renumbered(rows.stream, streams))
        yield replace(batch, rows=rows, tags=tags, metadata={**metadata, "anonymized": SAID})


def _renumbered(column: Int64s, known: dict[int, int]) -> Int64s:
    """Return the column with each value replaced by its number in order of first appearance, from 0.

    `known` maps the values of earlier batches to their numbers; new values are added to it in place.
    """
    values, first, which = np.unique(column, return_index=True, return_inverse=True)
    for place in np.argsort(first).tolist():
        known.setdefault(int(values[place]), len(known))
    found: Int64s = np.array([known[value] for value in values.tolist()], np.int64)[which]
    return found


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
    from memtrace.reading.traces import no_events, open_input
    from memtrace.trace.passes import Pass, Raw, check_invalid, problem_raiser

    check_invalid(invalid)
    opened = writer(Path(target), to)
    with open_input(source, format) as given:
        raw = Raw(given.label, given.batches)
        refuse = problem_raiser(raw) if invalid == "error" else None
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
