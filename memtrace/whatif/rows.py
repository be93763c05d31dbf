"""One replay per setting, and the smallest capacity of each."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from memtrace.errors import UsageError
from memtrace.snapshot.autopsy import Autopsy, autopsy
from memtrace.whatif.grid import DEFAULTS, breaks, warnings

if TYPE_CHECKING:
    from memtrace.engine.registry import Policy
    from memtrace.trace import Trace

STEP = 2 << 20  # bytes: what a device gives


@dataclass
class Row:
    """What a setting would have done. All in bytes."""

    conf: str
    status: str  # ok, oom, refused
    peak_reserved: int | None = None
    retries: int | None = None
    segments: int | None = None  # at most; expandable ones are not counted, as PyTorch does not
    oom_event: int | None = None
    oom_tag: str | None = None  # of the request
    autopsy: Autopsy | None = None
    smallest_capacity: int | None = None
    notes: list[str] = field(default_factory=list)


def rows_of(trace: Trace, confs: list[str], capacity: int | None) -> list[Row]:
    """A row for each setting, side by side in threads: compiled replays do not hold the interpreter's lock."""
    from memtrace.engine.registry import parse_policy
    from memtrace.replaying import warm

    warm(parse_policy("pytorch"))  # so that no two threads compile it
    pool = ThreadPoolExecutor(min(len(confs), os.cpu_count() or 1), "memtrace-whatif")
    try:
        return list(pool.map(lambda conf: row_of(trace, conf, capacity), confs))
    finally:
        pool.shutdown(cancel_futures=True)


def row_of(trace: Trace, conf: str, capacity: int | None) -> Row:
    """Replay a setting within a capacity (None: the device has as much as it takes)."""
    from memtrace.engine.registry import parse_policy
    from memtrace.replaying import replay
    from memtrace.structures.caching.statistics import ALLOC_RETRIES, PEAK, SEGMENT

    notes = warnings(conf, trace.facts.largest_request)
    if reason := breaks(conf):
        return Row(conf, "refused", notes=[reason, *notes])
    try:
        policy = parse_policy(f"pytorch:{conf}" if conf else "pytorch")
        placed = replay(trace, policy, capacity, detail="bare")
    except UsageError as error:
        return Row(conf, "refused", notes=[*notes, str(error)])
    row = Row(conf, placed.status, placed.peak_reserved_bytes, notes=notes)
    row.retries, row.segments = int(placed.state.stats[ALLOC_RETRIES]), int(placed.state.stats[SEGMENT + PEAK])
    if placed.oom_event is not None:
        row.oom_event, row.autopsy = placed.oom_event, autopsy(placed)
        row.oom_tag = tag_at(trace, placed.oom_event)
    row.smallest_capacity = smallest(trace, policy)
    return row


def smallest(trace: Trace, policy: Policy) -> int | None:
    """The smallest capacity by bisection to STEP; None if the setting fails on any device."""
    from memtrace.mincap import bisect, runs

    run = runs(trace, policy)
    bound = trace.facts.peak_live_bytes
    try:
        top = run(None)
    except UsageError:  # shares of the device's memory need one
        top = run(8 * bound)
    return bisect(bound, top, run, STEP) if top.works else None


def tag_at(trace: Trace, event: int) -> str | None:
    """The tag of an event."""
    at = 0
    for events in trace.batches():
        if event < at + events.op.size:
            code = int(events.tag[event - at]) if events.tag.size > 1 else -1
            return trace.tags[code] if code >= 0 else None
        at += events.op.size
    raise IndexError(event)


def mark_no_effect(rows: list[Row]) -> None:
    """Say of a setting that it did what the defaults do."""
    base = next((row for row in rows if row.conf == DEFAULTS and row.status != "refused"), None)
    for row in rows:
        if base and row is not base and _figures(row) == _figures(base):
            row.notes.append("the same as with the defaults")


def _figures(row: Row) -> tuple[Any, ...]:
    return row.status, row.peak_reserved, row.retries, row.segments, row.oom_event, row.smallest_capacity


def best_of(rows: list[Row]) -> Row | None:
    """The row to take: one that did not fail, on the smallest device, with the fewest retries; the first of equals."""
    works = [row for row in rows if row.status == "ok" and row.smallest_capacity is not None]
    far = np.iinfo(np.int64).max
    return min(works, key=lambda row: (row.smallest_capacity or far, row.retries, row.peak_reserved), default=None)
