"""In which order streams take their turn: that of PyTorch's tables of streams.

One table has the streams that have events; a stream enters it with its first event and leaves with its last. Another is
filled anew for each block that other streams use, with those streams as they were recorded. Both are hash tables with
open addressing (robin hood), at most half full. Streams are numbered as programs make them: 0 is the default one, 1 and
on are torch.cuda.Stream() in the order of their making. Found by experiment with the library.
"""

import numpy as np

from memtrace.structures.caching.model import FEWEST_BITS, TURN_BITS, TURNS
from memtrace.structures.calls import apart

EVENTS, USES = 0, 1  # the tables

LIMB = (1 << 16) - 1
GOLDEN = (0x7C15, 0x7F4A, 0x79B9, 0x9E37)  # 2^64 / golden ratio, in limbs of 16 bits, the lowest first
DEVICE = 1 << 56  # what the hash of a stream has of its device
FEWEST_PROBES = 4


def spread(stream):
    """The top 32 bits of (the hash of a stream) * 2^64 / golden ratio, modulo 2^64."""
    key = DEVICE + (32 * stream - 29 if stream != 0 else 0)
    total, third = np.int64(0), np.int64(0)
    for column in range(4):
        total >>= 16
        for i in range(column + 1):
            total += ((key >> (16 * i)) & LIMB) * GOLDEN[column - i]
        if column == 2:
            third = total & LIMB
    return ((total & LIMB) << 16) | third


def start(state, table):
    """Where a table begins in the array: it has a third of it, and the last third is for moving one."""
    return table * (state.turns.size // 3)


def home(state, table, s):
    """Where in the array a stream would like to be."""
    return start(state, table) + (state.streams[s].spread >> (32 - state.at[TURN_BITS + table]))


def probes(state, table):
    return max(state.at[TURN_BITS + table], FEWEST_PROBES)


def stop(state, table):
    """Behind the last slot of a table."""
    return start(state, table) + (1 << state.at[TURN_BITS + table]) + probes(state, table) + 1


def can_grow(state, table):
    """The array has room for any number of streams that is likely."""
    return (2 << state.at[TURN_BITS + table]) + probes(state, table) + 2 <= state.turns.size // 3


@apart
def enter(state, table, s):
    """A stream that is not in a table enters it."""
    at = state.at
    at[TURNS + table] += 1
    if 2 * at[TURNS + table] > 1 << at[TURN_BITS + table] and can_grow(state, table):
        move_out(state, table, s)
        return
    homeless = put(state, table, s)
    if homeless >= 0:
        move_out(state, table, homeless)


def put(state, table, s):
    """Find a slot for a stream, which may push others on: -1. If one is pushed too far it gets that slot instead, and the
    stream, which has none, is returned. Too far is looked for only where a stream passes another by."""
    turns = state.turns
    most = probes(state, table) if can_grow(state, table) else np.int64(turns.size)
    i, distance = home(state, table, s), np.int64(0)
    while turns[i] != 0 and i - home(state, table, turns[i] - 1) >= distance:
        i += 1
        distance += 1
    if distance == most:
        return s
    new, slot = s, i
    while turns[i] != 0:
        other = turns[i] - 1
        further = i - home(state, table, other)
        i += 1
        if further < distance:
            turns[i - 1] = s + 1
            s, distance = other, further + 1
        else:
            distance += 1
            if distance == most:
                turns[slot] = s + 1
                return new
    turns[i] = s + 1
    return np.int64(-1)


def move_out(state, table, homeless):
    """Twice the slots, or as many as it takes; the streams enter in the order of their turns, then the one without a slot."""
    at, turns = state.at, state.turns
    spare = start(state, 2)
    count = empty(state, table)
    turns[spare + count] = homeless
    count += 1
    at[TURN_BITS + table] += 1
    i = np.int64(0)
    while i < count:
        homeless = put(state, table, turns[spare + i])
        if homeless < 0:
            i += 1
        else:
            empty(state, table)  # the i streams that had entered
            turns[spare + i] = homeless
            at[TURN_BITS + table] += 1
            i = np.int64(0)
    for i in range(spare, spare + count):
        turns[i] = 0


def empty(state, table):
    """Write all streams down in the order of their turns; how many there are."""
    turns = state.turns
    spare, count = start(state, 2), np.int64(0)
    for i in range(start(state, table), stop(state, table)):
        if turns[i] != 0:
            turns[spare + count] = turns[i] - 1
            turns[i] = 0
            count += 1
    return count


def dissolve(state, table):
    """All streams leave a table, which is as small again as a new one."""
    for i in range(start(state, table), stop(state, table)):
        state.turns[i] = 0
    state.at[TURN_BITS + table] = FEWEST_BITS
    state.at[TURNS + table] = 0


@apart
def leave(state, i):
    """The stream in slot i has no more events; those behind it move up."""
    turns = state.turns
    while turns[i + 1] != 0 and home(state, EVENTS, turns[i + 1] - 1) < i + 1:
        turns[i] = turns[i + 1]
        i += 1
    turns[i] = 0
    state.at[TURNS + EVENTS] -= 1
