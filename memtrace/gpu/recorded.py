"""Read a snapshot file together with its trace, for a comparison of a replay with the recording."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace

from memtrace.formats.snapshot.batches import batches, chosen, events_or_state, metadata
from memtrace.formats.snapshot.diagnostics import released, released_by
from memtrace.formats.snapshot.events import TraceRows, trace_rows
from memtrace.formats.snapshot.lives import Lives, lives
from memtrace.formats.snapshot.loading import load
from memtrace.formats.snapshot.records import Recording, Snapshot
from memtrace.gpu.settings import options_of
from memtrace.trace.model import Trace

MEMORY_LIMIT = 256 << 20  # bytes of prepared columns that are kept in memory; a longer trace goes to a file


@dataclass(frozen=True, eq=False)
class Recorded:
    """Hold one device of a snapshot file: the recording, its blocks (``lives``), and its trace as raw rows and prepared."""

    snapshot: Snapshot
    recording: Recording
    lives: Lives
    rows: TraceRows
    trace: Trace

    @property
    def state_only(self) -> bool:
        """Return whether there are no events, but only the blocks at the dump."""
        return not self.recording.events.action.size


def read_recorded(path: str | os.PathLike[str], device: str = "", settings: str | None = None) -> Recorded:
    """Return one device of the snapshot file at ``path``; ``device`` is its number as text, or empty for the one that
    ran out of memory, else the one with most events.

    ``settings`` are those in force, where the file does not say them; what was given back when is read by them.
    Raises InputError if the file cannot be read or its events are not enough for a trace, UsageError if ``device`` is no number.
    """
    from memtrace.trace.passes import Raw, prepare
    from memtrace.trace.sources import open_source

    with open_source(path) as source:
        snapshot = load(source)
        name, digest, label = source.file_name.rpartition(".")[0] or source.file_name, source.sha256(), source.label
    recording = events_or_state(chosen(snapshot, device, label), label, snapshot)
    found = lives(recording)
    rules = released(snapshot.settings) if settings is None else released_by(options_of(settings))
    rows = trace_rows(recording, found, rules)
    said = metadata(snapshot, recording, found, rows)
    raw = Raw(label, lambda: batches(rows, snapshot.sites, said))
    trace = prepare(raw, name=name, invalid="error", keep_ids=True, memory_limit=MEMORY_LIMIT)
    return Recorded(snapshot, recording, found, rows, replace(trace, source=label, sha256=digest))
