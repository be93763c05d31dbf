"""Replay a trace once per setting, and find the smallest capacity of each."""

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

STEP = 2 << 20  # bytes: bisection ends at this precision, which is the granularity of the device's memory


@dataclass
class Row:
    """Hold the results of one setting. Sizes are in bytes."""

    conf: str  # the setting
    status: str  # ok, oom, refused
    peak_reserved: int | None = None
    retries: int | None = None  # requests for which the whole cache was emptied
    segments: int | None = None  # peak number; like PyTorch, this does not count expandable ones
    oom_event: int | None = None  # number of the event that failed
    oom_tag: str | None = None  # tag of that event
    autopsy: Autopsy | None = None  # the state at the failure
    smallest_capacity: int | None = None  # None if no device is large enough
    notes: list[str] = field(default_factory=list)  # remarks, in sentences


def rows_of(trace: Trace, confs: list[str], capacity: int | None) -> list[Row]:
    """Return a row for each setting; ``capacity`` in bytes, None for a device that has as much memory as needed.

    The replays run in parallel threads, because compiled code does not hold the interpreter's lock.
    """
    from memtrace.engine.registry import parse_policy
    from memtrace.replaying import warm

    warm(parse_policy("pytorch"))  # so that no two threads compile it
    pool = ThreadPoolExecutor(min(len(confs), os.cpu_count() or 1), "memtrace-whatif")
    try:
        return list(pool.map(lambda conf: row_of(trace, conf, capacity), confs))
    finally:
        pool.shutdown(cancel_futures=True)


def row_of(trace: Trace, conf: str, capacity: int | None) -> Row:
    """Replay a setting within ``capacity`` bytes (None: as much as needed) and return its row.

    A setting that PyTorch or memtrace does not accept gives a row with status refused.
    """
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
    """Return the smallest capacity found by bisection down to STEP; None if the setting fails on any device."""
    from memtrace.mincap import bisect, runs

    run = runs(trace, policy)
    bound = trace.facts.peak_live_bytes
    try:
        top = run(None)
    except UsageError:  # a fraction of the device's memory requires a capacity
        top = run(8 * bound)
    return bisect(bound, top, run, STEP) if top.works else None


def tag_at(trace: Trace, event: int) -> str | None:
    """Return the tag of an event; None if it has none."""
    at = 0
    for events in trace.batches():
        if event < at + events.op.size:
            code = int(events.tag[event - at]) if events.tag.size > 1 else -1
            return trace.tags[code] if code >= 0 else None
        at += events.op.size
    raise IndexError(event)


def mark_no_effect(rows: list[Row]) -> None:
    """Add a note, in place, to each row whose figures equal those of the default settings."""
    base = next((row for row in rows if row.conf == DEFAULTS and row.status != "refused"), None)
    for row in rows:
        if base and row is not base and _figures(row) == _figures(base):
            row.notes.append("the same as with the defaults")


def _figures(row: Row) -> tuple[Any, ...]:
    """Return the results of a row that are compared with those of the defaults."""
    return row.status, row.peak_reserved, row.retries, row.segments, row.oom_event, row.smallest_capacity


def best_of(rows: list[Row]) -> Row | None:
    """Return the best row: without a failure, on the smallest device, then with the fewest retries and the lowest peak.

    Of equal rows it is the first; None if all failed or were refused.
    """
    works = [row for row in rows if row.status == "ok" and row.smallest_capacity is not None]
    far = np.iinfo(np.int64).max
    return min(works, key=lambda row: (row.smallest_capacity or far, row.retries, row.peak_reserved), default=None)
