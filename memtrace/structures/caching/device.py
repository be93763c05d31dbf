"""The device: how much memory it has left, which addresses it gives, and the segments got from it, by address.

Memory is counted in units of 2 MiB. Addresses start at 0, in steps of 2 MiB; they rise and are never used again, or,
as an option, are the lowest that are free. Address space reserved for expandable segments costs no memory.
"""

import numpy as np

from memtrace.structures.bits import align_up
from memtrace.structures.caching.model import (
    DEVICE_USED,
    FIRST_SEGMENT,
    GIVEN,
    LAST_SEGMENT,
    MADE,
    NEXT_ADDRESS,
    SEGMENT_FRESH,
    SEGMENT_SPARE,
    SEGMENTS,
)
from memtrace.structures.calls import apart

UNIT = 2 << 20


def device_free(state):
    return state.rules.capacity - state.at[DEVICE_USED]


def take_memory(state, size):
    """Whether the device had ``size`` bytes left, which are now in use."""
    if size > device_free(state):
        return False
    state.at[DEVICE_USED] += size
    return True


@apart
def new_segment(state, queue, extent):
    """A segment with addresses of its own; a unit is the least."""
    segments, at = state.segments, state.at
    s = at[SEGMENT_SPARE]
    if s != 0:
        at[SEGMENT_SPARE] = segments[s].next
    else:
        s = at[SEGMENT_FRESH]
        at[SEGMENT_FRESH] = s + 1
    at[SEGMENTS] += 1
    given = given_start(state, extent)
    before = place_for(state, align_up(extent, UNIT), given)
    base = at[NEXT_ADDRESS]
    if given >= 0:
        base = given
    elif state.rules.first_fit:
        base = end_of(segments, before)
    at[NEXT_ADDRESS] = max(at[NEXT_ADDRESS], base + align_up(extent, UNIT))
    segments[s].start = base
    segments[s].extent = extent
    segments[s].queue = queue
    at[MADE] += 1
    segments[s].number = at[MADE] if state.rules.by_age else 0
    hang_in(state, s, before)
    return s


def given_start(state, extent):
    """Where a recorded device put this segment; -1: nothing is given, or another segment is."""
    i = 2 * state.at[GIVEN]
    if i >= state.given.size:
        return np.int64(-1)
    if state.given[i + 1] != extent and state.given[i + 1] != 0:
        state.at[GIVEN] = state.given.size  # this replay goes another way
        return np.int64(-1)
    state.at[GIVEN] += 1
    return state.given[i]


def place_for(state, extent, given):
    """The segment behind which a new one goes; 0: before all."""
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
    return segments[s].start + align_up(segments[s].extent, UNIT)


def hang_in(state, s, before):
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


@apart
def drop_segment(state, s):
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
