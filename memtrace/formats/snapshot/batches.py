"""Convert a snapshot file to batches of trace rows, with remarks for the user as metadata."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from memtrace.errors import InputError, UsageError
from memtrace.formats.snapshot.diagnostics import (
    PINNED,
    check_history,
    conf_of,
    name_of_device,
    notes,
    released,
    state_only,
    without_events,
)
from memtrace.formats.snapshot.events import TraceRows, trace_rows
from memtrace.formats.snapshot.lives import Lives, lives
from memtrace.formats.snapshot.loading import load
from memtrace.formats.snapshot.records import HOST, Recording, Site, Snapshot
from memtrace.structures.caching.versions import Version
from memtrace.trace.batches import Batch, RowLocation, rows_of

if TYPE_CHECKING:
    from memtrace.trace.sources import Source

BATCH_ROWS = 1 << 17
SKIPS = Version(2, 12)  # the first version of PyTorch with skip_actions
MOST_SITES = 2000  # upper bound of the sites in the metadata


def read_batches(source: Source, device: str) -> Iterator[Batch]:
    """Yield the rows of one device of a snapshot file; ``device`` is its number as text, or empty for `Snapshot.main`.

    Raises InputError if the file cannot be read or its events are not enough for a trace, UsageError if ``device`` is no number.
    """
    snapshot = load(source)
    recording = events_or_state(chosen(snapshot, device, source.label), source.label, snapshot)
    found = lives(recording)
    rows = trace_rows(recording, found, released(snapshot.settings))
    yield from batches(rows, snapshot.sites, metadata(snapshot, recording, found, rows))


def events_or_state(recording: Recording, label: str, snapshot: Snapshot) -> Recording:
    """Return a recording that a trace can be made of: without events where it has only the blocks at the dump.

    Raises InputError if it has neither these nor enough events; ``label`` names the file.
    """
    if state_only(recording):
        return without_events(recording)
    check_history(recording, label, snapshot.versions.high >= SKIPS)
    return recording


def chosen(snapshot: Snapshot, device: str, label: str) -> Recording:
    """Return the recording of a device; ``device`` is its number as text, PINNED, or empty for the main one (`Snapshot.main`).

    Raises UsageError if ``device`` is no number, InputError if nothing is recorded of it. ``label`` names the file in errors.
    """
    if not device:
        return snapshot.main()
    there = ", ".join(name_of_device(number) for number in snapshot.recordings)
    if not device.isdigit() and device != PINNED:
        raise UsageError(f"device {device!r} is no number; devices in {label}: {there}")
    number = HOST if device == PINNED else int(device)
    if number not in snapshot.recordings:
        raise InputError(f"{label}: nothing is recorded of device {device}; devices there: {there}")
    return snapshot.recordings[number]


def batches(rows: TraceRows, sites: list[Site], said: dict[str, str]) -> Iterator[Batch]:
    """Yield the rows in batches of BATCH_ROWS; ``said`` is the metadata of each batch.

    Columns without information are left out: stream if there is only one, tag if no row has one.
    """
    columns = ["op", "id", "size", *(["time"] if rows.timed else [])]
    columns += ["stream"] if rows.streams.size > 1 or rows.late else []
    columns += ["tag"] if (rows.tag >= 0).any() else []
    tags = tuple(site.tag for site in sites)
    total = rows.op.size
    for start in range(0, max(total, 1), BATCH_ROWS):
        part = slice(start, min(start + BATCH_ROWS, total))
        numbers = {name: getattr(rows, name)[part].copy() for name in columns if name not in ("op", "tag")}
        tag = rows.tag[part].copy() if "tag" in columns else None
        made = rows_of(rows.op[part].copy(), numbers, tag)
        yield Batch(made, tuple(columns), _placer(rows, start), tags, done=part.stop, total=total, metadata=said)


def _placer(rows: TraceRows, start: int):  # type: ignore[no-untyped-def]
    """Return a function from a row of the batch that begins at row ``start`` to its place: the number of its event, from 1."""
    return lambda row: RowLocation("event", max(int(rows.event[start + row]), 0) + 1)


def metadata(snapshot: Snapshot, recording: Recording, found: Lives, rows: TraceRows) -> dict[str, str]:
    """Return the metadata of the trace: format, device, settings, remarks (``assumed``), and the sites as JSON."""
    said = {
        "format": "torch-snapshot",
        "device": name_of_device(recording.device),
        "torch_conf": conf_of(snapshot.settings, recording),
        "blocks_before": str(rows.before),
        "events_recorded": str(recording.events.action.size),
        "assumed": "\n".join(notes(snapshot, recording, found, rows)),
    }
    used = np.unique(rows.tag[rows.tag >= 0])[:MOST_SITES].tolist()
    if used:
        sites = {snapshot.sites[code].tag: list(snapshot.sites[code][1:]) for code in used}
        said["sites"] = json.dumps(sites, ensure_ascii=False)
    return said
