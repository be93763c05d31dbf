"""Infer from a recording how much device memory the program could have, which no snapshot says, and count its cache flushes.

A request that failed recorded the device's free bytes: what was reserved plus these is the capacity. If these would have been
enough, the program had set a fraction of the device in code; what was reserved then, and the request, bracket that limit. If the
cache was emptied for a request, the request did not fit beside what was reserved.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from memtrace.formats.snapshot.events import GIVEN_BACK, TAKEN, ReleaseSettings, cache_flushes
from memtrace.formats.snapshot.records import Action, Recording
from memtrace.gpu.initial_state import UNIT, first_ranges
from memtrace.trace.model import Int64s

SMALL_REQUEST, MEASURED_REQUEST = 1 << 20, 10 << 20  # bytes: largest request of a 2 MiB segment; least of one made to measure
LARGE_PAGE = 20 << 20  # bytes: default of large_segment_size_mb
GIVEN, OOM, FRACTION, FLUSH, UNKNOWN = "given", "oom", "fraction", "flush", "unknown"  # values of Capacity.source


@dataclass(frozen=True)
class Capacity:
    """Say how much memory the program could reserve, in bytes, and how that is known."""

    bytes: int | None  # None: not known
    source: str  # GIVEN: by the user; OOM, FRACTION, FLUSH: by such events; UNKNOWN
    least: int | None = None  # the capacity is at least this ...
    below: int | None = None  # ... and below this, None where no bound is known
    device: int | None = None  # FRACTION: what the device could have given


@dataclass(frozen=True)
class Flushes:
    """Count how often the cache was emptied for a request, as PyTorch's num_alloc_retries does."""

    count: int
    given_back: int  # bytes that went back to the device


def held_before(recording: Recording, unit: int = 1, large_page: int = LARGE_PAGE) -> int:
    """Return the bytes reserved at the first event, with each ordinary segment rounded up to a multiple of ``unit``.

    ``large_page``: bytes of a page of expandable segments of the large pool.
    """
    return sum(one.extent if one.expandable else -(-one.extent // unit) * unit for one in first_ranges(recording, large_page))


def reserved_over_time(recording: Recording, unit: int = 1) -> Int64s:
    """Return the bytes reserved after each event, with each ordinary segment rounded up to a multiple of ``unit`` bytes."""
    action, size = recording.events.action, recording.events.size
    whole = np.isin(action, (Action.SEGMENT_ALLOC, Action.SEGMENT_FREE))
    size = np.where(whole, -(-size // unit) * unit, size)
    change = np.where(np.isin(action, TAKEN), size, 0) - np.where(np.isin(action, GIVEN_BACK), size, 0)
    found: Int64s = held_before(recording, unit) + np.cumsum(change)
    return found


def recorded_peak(recording: Recording) -> int:
    """Return the peak of reserved bytes over the recording."""
    return int(max(reserved_over_time(recording).max(initial=0), held_before(recording)))


def recorded_capacity(recording: Recording, released: ReleaseSettings, share_known: bool = False) -> Capacity:
    """Return what a recording shows of the memory that its program could have.

    ``released``: the settings by which segments were given back. ``share_known``: whether the fraction of the device that the
    program may use is among the settings, so that nothing is to be inferred of it.
    """
    events = recording.events
    held = reserved_over_time(recording, UNIT)
    most = int(max(held.max(initial=0), held_before(recording, UNIT)))
    failed = np.flatnonzero((events.action == Action.OOM) & (events.address >= 0))
    limited = failed[events.address[failed] >= device_need(recording, events.size[failed])] if not share_known else failed[:0]
    if limited.size:
        below = int((held[limited] + segment_sizes(events.size[limited])).min())
        device = int((held[limited] + events.address[limited]).max())
        return Capacity(most, FRACTION, most, max(below, most + 1), device)
    if failed.size:
        proven = held[failed] + events.address[failed]
        return Capacity(int(proven[0]), OOM, int(proven.min()), int(proven.max()) + 1)
    runs = flush_starts(recording, released)
    if not runs.size or released.collects:
        return Capacity(None, UNKNOWN, most)
    ends = _ends(events.action, runs) + 1
    asked = ends[(ends < events.action.size) & (events.action[np.minimum(ends, events.action.size - 1)] == Action.SEGMENT_ALLOC)]
    starts = runs[np.isin(_ends(events.action, runs) + 1, asked)]
    before = np.where(starts > 0, held[starts - 1], held_before(recording, UNIT))
    bounds = (before + events.size[asked])[before + events.size[asked] > most]
    return Capacity(most, FLUSH, most, int(bounds.min()) if bounds.size else None)


def segment_sizes(sizes: Int64s) -> Int64s:
    """Return the bytes of the segment that a block of each of ``sizes`` bytes would be cut from, with default settings."""
    measured = -(-sizes // UNIT) * UNIT
    found: Int64s = np.where(sizes <= SMALL_REQUEST, UNIT, np.where(sizes < MEASURED_REQUEST, LARGE_PAGE, measured))
    return found


def device_need(recording: Recording, sizes: Int64s) -> Int64s:
    """Return how many bytes are enough for a block of each of ``sizes`` bytes: its segment, or the pages that it may need."""
    if not np.isin(recording.events.action, (Action.SEGMENT_MAP, Action.SEGMENT_UNMAP)).any():
        return segment_sizes(sizes)
    found: Int64s = np.where(sizes <= SMALL_REQUEST, UNIT, -(-sizes // LARGE_PAGE) * LARGE_PAGE)
    return found


def flushes(recording: Recording, released: ReleaseSettings) -> Flushes:
    """Return how often the recorded allocator emptied its cache for a request, also for requests that failed all the same."""
    events = recording.events
    runs = flush_starts(recording, released)
    ends = _ends(events.action, runs)
    back = np.cumsum(np.where(np.isin(events.action, GIVEN_BACK), events.size, 0))
    given = int((back[ends] - np.where(runs > 0, back[runs - 1], 0)).sum())
    if released.collects:  # what was collected as garbage and what was flushed look the same
        runs = ends = runs[:0]
    moves = np.isin(events.action, (*GIVEN_BACK, *TAKEN))
    number = np.arange(events.action.size)
    following = np.minimum.accumulate(np.where(moves, events.action.size, number)[::-1])[::-1]
    after = following[np.minimum(ends, events.action.size - 1)] if ends.size else ends
    inside = after[after < events.action.size]
    own = int(np.count_nonzero(events.action[inside] == Action.OOM))  # runs that a failed request made
    failed = int(np.count_nonzero(events.action == Action.OOM))
    return Flushes(int(runs.size) - own + failed, given)


def flush_starts(recording: Recording, released: ReleaseSettings) -> Int64s:
    """Return the first event of each run of segments that were given back for a request."""
    back = np.isin(recording.events.action, GIVEN_BACK)
    runs = np.flatnonzero(back & ~np.concatenate(([False], back[:-1])))
    return np.setdiff1d(runs, cache_flushes(recording, released))


def _ends(action: np.ndarray, starts: Int64s) -> Int64s:
    """Return the last event of each run of given-back segments that begins at ``starts``."""
    back = np.isin(action, GIVEN_BACK)
    last = np.flatnonzero(back & ~np.append(back[1:], False))
    return last[np.searchsorted(last, starts)] if starts.size else starts
