"""The device: how much memory it has left, which addresses it gives, and the list of its segments by address.

Memory is counted in units of 2 MiB. Addresses start at 0 and are multiples of 2 MiB. By default they rise and are never used
again; as an option, the lowest free address is taken. Address space reserved for expandable segments uses no memory.
"""

import numpy as np

from memtrace.contract.bits import align_up
from memtrace.contract.calls import out_of_line
from memtrace.structures.caching.state import (
    DEVICE_USED,
    FIRST_SEGMENT,
    LAST_SEGMENT,
    NEXT_ADDRESS,
    RECORDED_SEGMENTS_USED,
    SEGMENT_FRESH,
    SEGMENT_SPARE,
    SEGMENTS,
    SEGMENTS_MADE,
)

UNIT = 2 << 20  # bytes: the granularity of the device's memory and of its addresses


def device_free(state):
    """Return how many bytes the device has left."""
    return state.rules.capacity - state.at[DEVICE_USED]


def take_memory(state, size):
    """Take ``size`` bytes of the device's memory; return False, and take nothing, if it has less left."""
    if size > device_free(state):
        return False
    state.at[DEVICE_USED] += size
    return True


@out_of_line
def new_segment(state, queue, extent):
    """Return the index of a new segment of ``extent`` bytes for ``queue``, with an address range that no other segment has.

    The range is rounded up to UNIT. The segment enters the list of segments; its device memory and its nodes are up to the
    caller. ``state.segments`` must have room.
    """
    segments, at = state.segments, state.at
    s = at[SEGMENT_SPARE]
    if s != 0:
        at[SEGMENT_SPARE] = segments[s].next
    else:
        s = at[SEGMENT_FRESH]
        at[SEGMENT_FRESH] = s + 1
    at[SEGMENTS] += 1
    given = recorded_start(state, extent)
    before = predecessor_for(state, align_up(extent, UNIT), given)
    base = at[NEXT_ADDRESS]
    if given >= 0:
        base = given
    elif state.rules.first_fit:
        base = end_of(segments, before)
    at[NEXT_ADDRESS] = max(at[NEXT_ADDRESS], base + align_up(extent, UNIT))
    segments[s].start = base
    segments[s].extent = extent
    segments[s].queue = queue
    at[SEGMENTS_MADE] += 1
    segments[s].number = at[SEGMENTS_MADE]
    link_segment(state, s, before)
    return s


def recorded_start(state, extent):
    """Return the recorded start address of the next segment, of ``extent`` bytes; -1 if none is recorded or its size differs.

    Recorded segments (``state.given``) are used up in order. If the size differs, the replay has diverged from the recording, so
    all further recorded addresses are dropped.
    """
    i = 2 * state.at[RECORDED_SEGMENTS_USED]
    if i >= state.given.size:
        return np.int64(-1)
    if state.given[i + 1] != extent and state.given[i + 1] != 0:
        state.at[RECORDED_SEGMENTS_USED] = state.given.size  # the replay has diverged: drop the rest
        return np.int64(-1)
    state.at[RECORDED_SEGMENTS_USED] += 1
    return state.given[i]


def predecessor_for(state, extent, given):
    """Return the segment behind which a new segment of ``extent`` bytes belongs in the list by address; 0: before all others.

    ``given`` is the new segment's start address if it is recorded, else -1. If it is recorded, the answer is the last segment
    that starts no higher; with first fit, the segment before the first gap that is large enough; else the last segment.
    """
    segments, at = state.segments, state.at
    if given >= 0:
        last = np.int64(at[LAST_SEGMENT])
        while last != 0 and segments[last].start > given:
            last = np.int64(segments[last].prev)
        return last
    if not state.rules.first_fit:
        return np.int64(at[LAST_SEGMENT])
    before, after = np.int64(0), np.int64(at[FIRST_SEGMENT])
    while after != 0 and segments[after].start - end_of(segments, before) < extent:
        before, after = after, np.int64(segments[after].next)
    return before


def end_of(segments, s):
    """Return the end address of segment s, rounded up to UNIT; 0 for s = 0, which is no segment."""
    return segments[s].start + align_up(segments[s].extent, UNIT)


def link_segment(state, s, before):
    """Insert segment s into the doubly linked list of segments by address, behind segment ``before`` (0: at the front)."""
    segments, at = state.segments, state.at
    after = np.int64(segments[before].next if before != 0 else at[FIRST_SEGMENT])
    segments[s].prev = before
    segments[s].next = after
    if before != 0:
        segments[before].next = s
    else:
        at[FIRST_SEGMENT] = s
    if after != 0:
        segments[after].prev = s
    else:
        at[LAST_SEGMENT] = s


@out_of_line
def drop_segment(state, s):
    """Unlink segment s from the list of segments and make its record spare; its device memory is up to the caller."""
    segments, at = state.segments, state.at
    before, after = np.int64(segments[s].prev), np.int64(segments[s].next)
    if before != 0:
        segments[before].next = after
    else:
        at[FIRST_SEGMENT] = after
    if after != 0:
        segments[after].prev = before
    else:
        at[LAST_SEGMENT] = before
    segments[s].next = at[SEGMENT_SPARE]
    at[SEGMENT_SPARE] = s
    at[SEGMENTS] -= 1
