"""A recording -> the rows of a trace: what the program asked for, without what the recorded allocator did about it.

Blocks that were there before the first event are allocated first, by address. A block whose free completed at once is
freed; one that a stream still used is recorded, freed, and completed where it was. A request that failed is asked
for and given up at once. Caches emptied by the program (segments given back for no request) are a trim.
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from memtrace.snapshot.lives import NEVER, Lives
from memtrace.snapshot.model import Action, Recording
from memtrace.trace.model import Int32s, Int64s, Op
from memtrace.trace.raw import MISSING

GIVEN_BACK = (Action.SEGMENT_FREE, Action.SEGMENT_UNMAP)
TAKEN = (Action.SEGMENT_ALLOC, Action.SEGMENT_MAP)
SMALL_SEGMENT, SMALL_REQUEST = 2 << 20, 1 << 20  # bytes of a segment for small requests, and the largest of them
NEAR = 64  # events within which a request follows the segments that were taken for it


class Released(NamedTuple):
    """The settings that decide when segments are given back."""

    collects: bool = False  # garbage is collected, before any memory lacks
    max_split: int = 1 << 62  # bytes


RELEASED = Released()


@dataclass(frozen=True, eq=False)
class TraceRows:
    """Columns of a trace, and for each row the event behind it (NEVER: the block was there before)."""

    op: NDArray[np.uint8]
    id: Int64s  # the number of the block in Lives; failed requests have those after
    size: Int64s
    time: Int64s  # ns since the first event
    stream: Int64s  # the handles in order, from 0
    tag: Int32s
    event: Int64s
    before: int  # rows that only set the scene
    streams: Int64s  # the handles
    trims: int
    late: int  # blocks that a stream used on after they were freed


def trace_rows(recording: Recording, lives: Lives, released: Released = RELEASED) -> TraceRows:
    """The rows, in the order of the events; several of one event stay together.

    `released`: when the recorded allocator gave segments back.
    """
    events = recording.events
    streams = np.unique(np.concatenate((lives.stream, events.stream[events.action == Action.OOM], [0])))
    trims = emptied(recording, released)
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
    stream[used] = streams.size + _lanes(lives, block[used])
    site = np.where((op == Op.ALLOC) & (event >= 0), events.site[event] if events.site.size else -1, -1).astype(np.int32)
    late = int(np.count_nonzero(op == Op.COMPLETE))
    return TraceRows(
        op,
        block,
        size,
        _times(recording, event),
        stream,
        site,
        event,
        int(np.count_nonzero(event < 0)),
        streams,
        trims.size,
        late,
    )


def _lanes(lives: Lives, blocks: Int64s) -> Int64s:
    """Which stream used a block is not recorded. Events of one stream complete in order, so blocks that completed in
    another order than they were freed are put on different ones: each on that which completed last before it."""
    late = np.unique(blocks)
    late = late[np.argsort(lives.freed[late], kind="stable")]
    done = np.where(lives.completed[late] == NEVER, np.iinfo(np.int64).max, lives.completed[late])
    lasts: list[int] = []  # of each lane the last completion, negative, so ascending
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


Part = tuple[Int64s, Int64s, Int64s, Int64s, Int64s]  # event, order within it, op, block, size


def _part(op: Op, event: Int64s, block: Int64s | int, order: Int64s | int, size: Int64s | int = MISSING) -> Part:
    def whole(column: Int64s | int) -> Int64s:
        return np.array(np.broadcast_to(np.asarray(column, np.int64), event.size))

    return event, whole(order), whole(int(op)), whole(block), whole(size)


def _before(lives: Lives) -> Part:
    """Allocs of the blocks that were there, by address; those already freed go on to `_frees`."""
    there = lives.before
    there = there[np.argsort(lives.address[there], kind="stable")]
    return _part(Op.ALLOC, np.full(there.size, NEVER, np.int64), there, np.arange(there.size), lives.requested[there])


def _allocs(lives: Lives) -> Part:
    born = np.flatnonzero(lives.born != NEVER)
    return _part(Op.ALLOC, lives.born[born], born, 3, lives.requested[born])


def _frees(recording: Recording, lives: Lives, trims: Int64s) -> list[Part]:
    """Frees; of those that completed later also the use by a stream, and the completion."""
    freed, completed = lives.freed, lives.completed
    asked = np.flatnonzero((freed != NEVER) | (completed != NEVER))
    at_once = (completed[asked] == freed[asked] + 1) | (freed[asked] == NEVER) & (lives.born[asked] != NEVER)
    waits = (completed[asked] == NEVER) & _completions_recorded(recording.events.action)
    late = asked[~at_once & ((completed[asked] != NEVER) | waits)]
    plain = np.setdiff1d(asked, late, assume_unique=True)
    when = np.where(freed != NEVER, freed, completed)
    pending = freed[late] == NEVER  # since before the recording
    moment = np.where(pending, NEVER, freed[late])
    base = np.where(pending, lives.address.size, 0)  # behind the allocs
    done = late[completed[late] != NEVER]
    asked_for, order = _completions(recording, lives, late, done, trims)
    return [
        _part(Op.FREE, when[plain], plain, 2),
        _part(Op.RECORD, moment, late, base + 1),
        _part(Op.FREE, moment, late, base + 2),
        _part(Op.COMPLETE, asked_for, done, order),
    ]


def _completions(recording: Recording, lives: Lives, late: Int64s, done: Int64s, trims: Int64s) -> tuple[Int64s, Int64s]:
    """At which event and where in it completions stand: those that a failing request waited for come behind it.

    Such a request waits for all: its completions stand right before the segments that it gives back, or before the
    failure, and leave nothing pending.
    """
    action = recording.events.action
    completed = lives.completed[done]
    change = np.zeros(action.size + 1, np.int64)
    np.add.at(change, np.where(lives.freed[late] == NEVER, 0, lives.freed[late]), 1)
    np.add.at(change, completed, -1)
    pending = np.cumsum(change)
    is_done = action == Action.FREE_COMPLETED
    number = np.arange(action.size)
    run_end = np.minimum.accumulate(np.where(is_done, action.size, number)[::-1])[::-1]  # the next event of another kind
    after = np.minimum(run_end[completed], action.size - 1)
    waited = np.isin(action[after], (*GIVEN_BACK, Action.OOM)) & (pending[after - 1] == 0)
    waited &= ~np.isin(after, trims)
    asks = np.isin(action, (Action.ALLOC, Action.OOM))
    following = np.minimum.accumulate(np.where(asks, number, action.size)[::-1])[::-1]
    request = following[after]
    waited &= request < action.size
    return np.where(waited, request, completed), np.where(waited, 5, 1)


def _completions_recorded(action: NDArray[np.uint8]) -> bool:
    return bool((action == Action.FREE_COMPLETED).any())


def _failed(recording: Recording, lives: Lives) -> Part:
    """Requests that failed: asked for, and given up at once."""
    events = recording.events
    failed = np.flatnonzero((events.action == Action.OOM) & (events.size > 0))
    block = lives.address.size + np.arange(failed.size)
    parts = (_part(Op.ALLOC, failed, block, 3, events.size[failed]), _part(Op.FREE, failed, block, 4))
    event, order, op, number, size = (np.concatenate(columns) for columns in zip(*parts, strict=True))
    return event, order, op, number, size


def emptied(recording: Recording, released: Released) -> Int64s:
    """The events at which the program emptied the cache: the first of a run of segments given back for no request.

    A run is for a request if memory is taken, or lacks, right after it. It is not if one of the segments given back would
    have served that request from the cache, or if all would have fitted beside what was held: so much was held at once
    somewhere in the recording. (Where garbage is collected, any run of what that collects precedes a request for it.)
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
        if after == action.size or not (taken[after] or action[after] == Action.OOM):
            found.append(start)
        elif taken[after] and not (released.collects and _collectable(recording, start, end)):
            before = int(held[start - 1]) if start else 0
            if before + int(size[after]) <= most or _would_have_served(recording, start, end, released.max_split):
                found.append(start)
    return np.array(found, np.int64)


def _collectable(recording: Recording, start: int, end: int) -> bool:
    """Whether a run can be of garbage: neither small segments nor expandable ones are ever collected."""
    run = slice(start, end + 1)
    events = recording.events
    return bool(((events.action[run] == Action.SEGMENT_FREE) & (events.size[run] != SMALL_SEGMENT)).all())


def _would_have_served(recording: Recording, start: int, end: int, max_split: int) -> bool:
    """Whether a segment given back in a run is free memory that the request after the run could have had."""
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
    """Nanoseconds since the first event; clocks of several threads are set right where they run back."""
    times = recording.events.time_us
    if not times.size or times[0] < 0:
        return np.maximum(event, 0)
    clock = np.maximum.accumulate(times) - times[0]
    found: Int64s = np.where(event >= 0, clock[event] * 1000, 0)
    return found
