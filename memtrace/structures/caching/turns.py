"""In which order streams take their turn when finished events are looked for: that of PyTorch's table of streams.

It is a hash table with open addressing (robin hood), at most half full, over the streams that have events; a stream
enters it with its first event and leaves with its last. Streams are numbered as programs make them: 0 is the default
one, 1 and on are torch.cuda.Stream() in the order of their making. Found by experiment with the library.
"""

import numpy as np

from memtrace.structures.caching.model import TURN_BITS, TURNS
from memtrace.structures.calls import apart

LIMB = (1 << 16) - 1
GOLDEN = (0x7C15, 0x7F4A, 0x79B9, 0x9E37)  # 2^64 / golden ratio, in limbs of 16 bits, the lowest first
DEVICE = 1 << 56  # what the hash of a stream has of its device
FEWEST_PROBES = 4
FEWEST_BITS = 2


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


def home(state, stream_index):
    """Where in the table a stream would like to be."""
    return state.streams[stream_index].spread >> (32 - state.at[TURN_BITS])


def probes(state):
    return max(state.at[TURN_BITS], FEWEST_PROBES)


def slots(state):
    return (1 << state.at[TURN_BITS]) + probes(state) + 1


def can_grow(state):
    """Half of the array is for the table, half for moving it. It has room for any number of streams that is likely."""
    return (2 << state.at[TURN_BITS]) + probes(state) + 2 <= state.turns.size // 2


@apart
def enter(state, stream_index):
    """A stream has its first event."""
    at = state.at
    at[TURNS] += 1
    if 2 * at[TURNS] > 1 << at[TURN_BITS] and can_grow(state):
        move_out(state, stream_index)
        return
    homeless = put(state, stream_index)
    if homeless >= 0:
        move_out(state, homeless)


def put(state, s):
    """Find a slot for a stream, which may push others on: -1. If one is pushed too far it gets that slot instead, and the
    stream, which has none, is returned."""
    turns = state.turns
    new, slot = s, np.int64(-1)
    i, distance = home(state, s), np.int64(0)
    while distance < probes(state) or not can_grow(state):
        other = turns[i] - 1
        if other < 0:
            turns[i] = s + 1
            return np.int64(-1)
        further = i - home(state, other)
        if further < distance:
            turns[i] = s + 1
            if slot < 0:
                slot = i
            s, distance = other, further
        i += 1
        distance += 1
    if slot >= 0:
        turns[slot] = s + 1
    return new


def move_out(state, homeless):
    """Twice the slots, or as many as it takes; the streams enter in the order of their turns, then the one without a slot."""
    at, turns = state.at, state.turns
    spare = turns.size // 2
    count = empty(state)
    turns[spare + count] = homeless
    count += 1
    at[TURN_BITS] = max(at[TURN_BITS] + 1, FEWEST_BITS)
    i = np.int64(0)
    while i < count:
        homeless = put(state, turns[spare + i])
        if homeless < 0:
            i += 1
        else:
            empty(state)  # the i streams that had entered
            turns[spare + i] = homeless
            at[TURN_BITS] += 1
            i = np.int64(0)


def empty(state):
    """Write all streams down in the order of their turns; how many there are."""
    turns = state.turns
    count = np.int64(0)
    if state.at[TURN_BITS] > 0:
        for i in range(slots(state)):
            if turns[i] != 0:
                turns[turns.size // 2 + count] = turns[i] - 1
                turns[i] = 0
                count += 1
    return count


@apart
def leave(state, i):
    """The stream in slot i has no more events; those behind it move up."""
    turns = state.turns
    while turns[i + 1] != 0 and home(state, turns[i + 1] - 1) < i + 1:
        turns[i] = turns[i + 1]
        i += 1
    turns[i] = 0
    state.at[TURNS] -= 1
