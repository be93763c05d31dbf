"""A file -> all that a comparison with a recording needs: the snapshot's columns, its blocks, its trace."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace

from memtrace.snapshot.batches import batches, chosen, metadata
from memtrace.snapshot.diagnostics import check_history
from memtrace.snapshot.lives import Lives, lives
from memtrace.snapshot.loading import load
from memtrace.snapshot.model import Recording, Snapshot
from memtrace.snapshot.rows import TraceRows, trace_rows
from memtrace.snapshot.settings import released
from memtrace.trace.model import Trace

MEMORY_LIMIT = 256 << 20


@dataclass(frozen=True, eq=False)
class Recorded:
    """One device of a snapshot file."""

    snapshot: Snapshot
    recording: Recording
    lives: Lives
    rows: TraceRows
    trace: Trace


def read_recorded(path: str | os.PathLike[str], device: str = "") -> Recorded:
    """Read a snapshot file; `device` is a number, or empty for the busiest."""
    from memtrace.trace.passes import Raw, prepare
    from memtrace.trace.source import open_source

    with open_source(path) as source:
        snapshot = load(source)
        name, digest, label = source.file_name.rpartition(".")[0] or source.file_name, source.sha256(), source.label
    recording = chosen(snapshot, device, label)
    check_history(recording, label)
    found = lives(recording)
    rows = trace_rows(recording, found, released(snapshot.settings))
    said = metadata(snapshot, recording, found, rows)
    raw = Raw(label, lambda: batches(rows, snapshot.sites, said))
    trace = prepare(raw, name=name, invalid="error", keep_ids=True, memory_limit=MEMORY_LIMIT)
    return Recorded(snapshot, recording, found, rows, replace(trace, source=label, sha256=digest))
