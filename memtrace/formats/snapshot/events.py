"""Convert a recording to the rows of a trace: what the program requested, without what the recorded allocator did.

Blocks that existed before the first event are allocated first, by address. A block whose free completed at once becomes a free; a
block that another stream still used becomes a record, a free, and a complete where the free completed. A request that failed
becomes an alloc and a free directly behind it. If the program emptied the cache (segments were given back for no request), that
is a trim.
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from memtrace.formats.snapshot.lives import NEVER, Lives
from memtrace.formats.snapshot.records import Action, Recording
from memtrace.trace.batches import MISSING
from memtrace.trace.model import Int32s, Int64s, Op

GIVEN_BACK = (Action.SEGMENT_FREE, Action.SEGMENT_UNMAP)
TAKEN = (Action.SEGMENT_ALLOC, Action.SEGMENT_MAP)
SMALL_SEGMENT, SMALL_REQUEST = 2 << 20, 1 << 20  # bytes: a segment of the small pool, and the largest request of that pool
NEAR = 64  # upper bound of the events between a run of segments given back and the request for which this was done


class ReleaseSettings(NamedTuple):
    """Hold the settings that decide when segments are given back."""

    collects: bool = False  # whether garbage is collected, which happens before memory runs out
    max_split: int = 1 << 62  # bytes from which a block is oversize


DEFAULT_RELEASE_SETTINGS = ReleaseSettings()  # PyTorch's defaults


@dataclass(frozen=True, eq=False)
class TraceRows:
    """Hold the rows of a trace as columns, and for each row the event from which it comes."""

    op: NDArray[np.uint8]
    id: Int64s  # number of the block in Lives; failed requests have the numbers behind those; MISSING in a trim
    size: Int64s  # bytes, MISSING except in an alloc
    time: Int64s  # ns since the first event; event numbers where no times were recorded
    timed: bool  # whether times were recorded
    # Index into `streams`; in a record or complete a number from len(streams) on, which stands for a stream that is not
    # known; MISSING in a trim and in the free of a failed request.
    stream: Int64s
    tag: Int32s  # index into Snapshot.sites, -1 for none
    event: Int64s  # number of the event; NEVER for rows before the first event
    before: int  # number of rows before the first event
    streams: Int64s  # handles, ascending
    trims: int  # number of trims
    late: int  # number of completes: blocks that another stream still used when they were freed


def trace_rows(recording: Recording, lives: Lives, released: ReleaseSettings = DEFAULT_RELEASE_SETTINGS) -> TraceRows:
    """Return the rows of a trace, in the order of the events; all rows of an event stay together.

    ``released``: the settings by which the recorded allocator gave segments back.
    """
    events = recording.events
    streams = np.unique(np.concatenate((lives.stream, events.stream[events.action == Action.OOM], [0])))
    trims = cache_flushes(recording, released)
    parts = [_before(lives), _allocs(lives), *_frees(recording, lives, trims), _failed(recording, lives)]
    parts.append(_part(Op.TRIM, trims, MISSING, 0))
    event, order, op, block, size = (np.concatenate(columns) for columns in zip(*parts, strict=True))
    rows = np.lexsort((order, event))
    event, op, block, size = event[rows], op[rows].astype(np.uint8), block[rows], size[rows]
    stream = np.full(rows.size, MISSING, np.int64)
    named = block < lives.address.size
    named &= block >= 0
    stream[named] = np.searchsorted(streams, lives.stream[block[named]])
    failed = (op == Op.ALLOC) & ~named
    stream[failed] = np.searchsorted(streams, events.stream[event[failed]])
    used = (op == Op.RECORD) | (op == Op.COMPLETE)
    stream[used] = streams.size + _user_streams(lives, block[used])
    site = np.where((op == Op.ALLOC) & (event >= 0), events.site[event] if events.site.size else -1, -1).astype(np.int32)
    site[(op == Op.ALLOC) & (event == NEVER)] = _sites_before(recording, lives)
    late = int(np.count_nonzero(op == Op.COMPLETE))
    return TraceRows(
        op=op,
        id=block,
        size=size,
        time=_times(recording, event),
        timed=bool(events.time_us.size and events.time_us[0] >= 0),
        stream=stream,
        tag=site,
        event=event,
        before=int(np.count_nonzero(event < 0)),
        streams=streams,
        trims=trims.size,
        late=late,
    )


def _user_streams(lives: Lives, blocks: Int64s) -> Int64s:
    """Return for each block, which another stream used, a number from 0 that stands for this stream.

    Which stream used a block is not recorded. But events of one stream complete in order, so blocks that completed in another
    order than they were freed are given different numbers: each block gets the number whose last completion is the latest one
    before its own.
    """
    late = np.unique(blocks)
    late = late[np.argsort(lives.freed[late], kind="stable")]
    done = np.where(lives.completed[late] == NEVER, np.iinfo(np.int64).max, lives.completed[late])
    lasts: list[int] = []  # for each number the last completion, negated, so that the list ascends
    lane_of: dict[int, int] = {}
    lanes: list[int] = []
    for block, completed in zip(late.tolist(), done.tolist(), strict=True):
        place = bisect_left(lasts, -completed)
        if place == len(lasts):
            lasts.append(-completed)
            lanes.append(len(lanes))
        else:
            lasts[place] = -completed
        lane_of[block] = lanes[place]
    return np.array([lane_of[block] for block in blocks.tolist()], np.int64)


# Rows as columns: event, place among the rows of that event, op, block, size.
Part = tuple[Int64s, Int64s, Int64s, Int64s, Int64s]


def _part(op: Op, event: Int64s, block: Int64s | int, order: Int64s | int, size: Int64s | int = MISSING) -> Part:
    """Return rows of one op, one row for each element of ``event``; the other columns may be single numbers."""

    def whole(column: Int64s | int) -> Int64s:
        """Return a column of the length of ``event``."""
        return np.array(np.broadcast_to(np.asarray(column, np.int64), event.size))

    return event, whole(order), whole(int(op)), whole(block), whole(size)


def _before(lives: Lives) -> Part:
    """Return the allocs of the blocks that existed before the first event, by address.

    Blocks that were already freed then are allocated too; `_frees` adds their frees.
    """
    there = lives.before
    there = there[np.argsort(lives.address[there], kind="stable")]
    return _part(Op.ALLOC, np.full(there.size, NEVER, np.int64), there, np.arange(there.size), lives.requested[there])


def _sites_before(recording: Recording, lives: Lives) -> Int32s:
    """Return the site of each block of `_before`: known where the block still exists at the end, else -1."""
    there = lives.before
    last = lives.last[there[np.argsort(lives.address[there], kind="stable")]]
    if not recording.blocks.site.size:
        return np.full(last.size, -1, np.int32)
    return np.where(last == NEVER, -1, recording.blocks.site[last]).astype(np.int32)


def _allocs(lives: Lives) -> Part:
    """Return the allocs of the blocks whose alloc was recorded."""
    born = np.flatnonzero(lives.born != NEVER)
    return _part(Op.ALLOC, lives.born[born], born, 3, lives.requested[born])


def _frees(recording: Recording, lives: Lives, trims: Int64s) -> list[Part]:
    """Return the frees, and for each free that completed later also the record of a use by another stream and the complete.

    ``trims``: events at which the program emptied the cache. Blocks that were pending before the first event are freed there.
    """
    freed, completed = lives.freed, lives.completed
    asked = np.flatnonzero((freed != NEVER) | (completed != NEVER))
    at_once = (completed[asked] == freed[asked] + 1) | (freed[asked] == NEVER) & (lives.born[asked] != NEVER)
    waits = (completed[asked] == NEVER) & _completions_recorded(recording.events.action)
    late = asked[~at_once & ((completed[asked] != NEVER) | waits)]
    plain = np.setdiff1d(asked, late, assume_unique=True)
    when = np.where(freed != NEVER, freed, completed)
    pending = freed[late] == NEVER  # freed before the first event
    moment = np.where(pending, NEVER, freed[late])
    base = np.where(pending, lives.address.size, 0)  # behind the allocs of `_before`
    done = late[completed[late] != NEVER]
    asked_for, order = _completions(recording, lives, late, done, trims)
    return [
        _part(Op.FREE, when[plain], plain, 2),
        _part(Op.RECORD, moment, late, base + 1),
        _part(Op.FREE, moment, late, base + 2),
        _part(Op.COMPLETE, asked_for, done, order),
    ]


def _completions(recording: Recording, lives: Lives, late: Int64s, done: Int64s, trims: Int64s) -> tuple[Int64s, Int64s]:
    """Return the event at which each block in ``done`` completes, and its rank within that event.

    Completions right before a failed request, or before segments were released for a request (the events ``trims`` are not such
    releases), move behind the request, with rank 5, if no block of ``late`` is then pending: the allocator had waited for them.
    All others keep their event, with rank 1.
    """
    action = recording.events.action
    completed = lives.completed[done]
    change = np.zeros(action.size + 1, np.int64)
    np.add.at(change, np.where(lives.freed[late] == NEVER, 0, lives.freed[late]), 1)
    np.add.at(change, completed, -1)
    pending = np.cumsum(change)
    is_done = action == Action.FREE_COMPLETED
    number = np.arange(action.size)
    run_end = np.minimum.accumulate(np.where(is_done, action.size, number)[::-1])[::-1]  # next event that is no completion
    after = np.minimum(run_end[completed], action.size - 1)
    waited = np.isin(action[after], (*GIVEN_BACK, Action.OOM)) & (pending[after - 1] == 0)
    waited &= ~np.isin(after, trims)
    asks = np.isin(action, (Action.ALLOC, Action.OOM))
    following = np.minimum.accumulate(np.where(asks, number, action.size)[::-1])[::-1]
    request = following[after]
    waited &= request < action.size
    return np.where(waited, request, completed), np.where(waited, 5, 1)


def _completions_recorded(action: NDArray[np.uint8]) -> bool:
    """Return whether the recording has events of completed frees."""
    return bool((action == Action.FREE_COMPLETED).any())


def _failed(recording: Recording, lives: Lives) -> Part:
    """Return the requests that failed: an alloc, and a free directly behind it."""
    events = recording.events
    failed = np.flatnonzero((events.action == Action.OOM) & (events.size > 0))
    block = lives.address.size + np.arange(failed.size)
    parts = (_part(Op.ALLOC, failed, block, 3, events.size[failed]), _part(Op.FREE, failed, block, 4))
    event, order, op, number, size = (np.concatenate(columns) for columns in zip(*parts, strict=True))
    return event, order, op, number, size


def cache_flushes(recording: Recording, released: ReleaseSettings) -> Int64s:
    """Return the events at which the program emptied the cache: the first of each run of segments given back for no request.

    A run is for a request if the allocator took memory, or ran out of it, right after the run. An exception are runs that the
    request did not need before memory was taken: a segment given back would have served the request from the cache, or the new
    memory would have fitted beside what was reserved, because as much was reserved at another time. (If garbage is collected, a
    run of what that can collect is always for the request behind it.)
    """
    action, size = recording.events.action, recording.events.size
    back, taken = np.isin(action, GIVEN_BACK), np.isin(action, TAKEN)
    if not back.any():
        return np.empty(0, np.int64)
    held = np.cumsum(np.where(taken, size, 0) - np.where(back, size, 0))
    most = int(held.max())
    found = []
    starts = np.flatnonzero(back & ~np.concatenate(([False], back[:-1]))).tolist()
    ends = np.flatnonzero(back & ~np.append(back[1:], False)).tolist()
    for start, end in zip(starts, ends, strict=True):
        after = end + 1
        deleted = (recording.events.pool[start:after] > 0).any()  # no request takes the memory of a private pool
        if deleted or after == action.size or not (taken[after] or action[after] == Action.OOM):
            found.append(start)
        elif taken[after] and not (released.collects and _collectable(recording, start, end)):
            before = int(held[start - 1]) if start else 0
            if before + int(size[after]) <= most or _would_have_served(recording, start, end, released.max_split):
                found.append(start)
    return np.array(found, np.int64)


def _collectable(recording: Recording, start: int, end: int) -> bool:
    """Return whether all segments that were released in a run of events can have been freed by garbage collection.

    PyTorch's garbage collection frees neither small nor expandable segments.

    ``start`` and ``end`` are the first and the last event of the run.
    """
    run = slice(start, end + 1)
    events = recording.events
    return bool(((events.action[run] == Action.SEGMENT_FREE) & (events.size[run] != SMALL_SEGMENT)).all())


def _would_have_served(recording: Recording, start: int, end: int, max_split: int) -> bool:
    """Return whether a segment given back in a run could have served the request behind the run from the cache.

    ``start`` and ``end`` are the first and the last event of the run.
    """
    events = recording.events
    asked = np.flatnonzero(events.action[end + 1 : end + 1 + NEAR] == Action.ALLOC)
    if not asked.size:
        return False
    request = end + 1 + int(asked[0])
    wanted = int(events.size[request])
    run = slice(start, end + 1)
    same = (events.stream[run] == events.stream[request]) & (events.pool[run] == events.pool[request])
    same &= (events.size[run] != SMALL_SEGMENT) == (wanted > SMALL_REQUEST)
    fits = (events.size[run] >= max(wanted, 1)) & (events.size[run] < max_split)
    return wanted < max_split and bool((same & fits).any())


def _times(recording: Recording, event: Int64s) -> Int64s:
    """Return nanoseconds since the first event for each event number; 0 for those before it.

    Where time runs back (events come from threads with different clocks), it stands still. Without recorded times these are the
    event numbers.
    """
    times = recording.events.time_us
    if not times.size or times[0] < 0:
        return np.maximum(event, 0)
    clock = np.maximum.accumulate(times) - times[0]
    found: Int64s = np.where(event >= 0, clock[event] * 1000, 0)
    return found
