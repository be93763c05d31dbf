"""The order in which streams take their turn, which is the order of PyTorch's hash tables of streams.

Table EVENTS has the streams that have queued events, table USES those that use one block, in the order of their recorded uses;
USES is filled anew for each block. Both use open addressing (robin hood hashing) and are at most half full. A slot of
``state.turns`` is 0 if empty, else the index of a stream plus 1. The array has three equal parts: EVENTS, USES, and scratch space
to grow a table. Streams are numbered as programs make them: 0 is the default one, and 1, 2, ... are torch.cuda.Stream() in the
order of their making. Found by experiment with the library.
"""

import numpy as np

from memtrace.contract.calls import out_of_line
from memtrace.structures.caching.state import FEWEST_BITS, TURN_BITS, TURNS

EVENTS, USES = 0, 1  # the two tables; an argument ``table`` is one of them

LIMB = (1 << 16) - 1  # mask of a limb of 16 bits
GOLDEN = (0x7C15, 0x7F4A, 0x79B9, 0x9E37)  # 2^64 / golden ratio, in limbs of 16 bits, the lowest first
DEVICE = 1 << 56  # the contribution of the device to the hash of a stream
FEWEST_PROBES = 4  # lower bound of ``probes``


def stream_hash(stream):
    """Return the top 32 bits of (the hash of a stream) * 2^64 / golden ratio, modulo 2^64; ``stream`` is its number."""
    key = DEVICE + (32 * stream - 29 if stream != 0 else 0)
    total, third = np.int64(0), np.int64(0)
    for column in range(4):
        total >>= 16
        for i in range(column + 1):
            total += ((key >> (16 * i)) & LIMB) * GOLDEN[column - i]
        if column == 2:
            third = total & LIMB
    return ((total & LIMB) << 16) | third


def table_start(state, table):
    """Return the index in ``state.turns`` at which a table begins; table number 2 is the scratch space."""
    return table * (state.turns.size // 3)


def home_slot(state, table, s):
    """Return the index in ``state.turns`` of the slot to which the stream with index s hashes."""
    return table_start(state, table) + (state.streams[s].spread >> (32 - state.at[TURN_BITS + table]))


def probes(state, table):
    """Return how far from its home slot a stream may be in a table."""
    return max(state.at[TURN_BITS + table], FEWEST_PROBES)


def table_end(state, table):
    """Return the index in ``state.turns`` behind the last slot of a table."""
    return table_start(state, table) + (1 << state.at[TURN_BITS + table]) + probes(state, table) + 1


def can_grow(state, table):
    """Return whether a table with twice the slots fits into its third of the array.

    The array has room for any number of streams that is likely.
    """
    return (2 << state.at[TURN_BITS + table]) + probes(state, table) + 2 <= state.turns.size // 3


@out_of_line
def insert_stream(state, table, s):
    """Insert the stream with index s, which is not in the table, and grow the table if it would be more than half full.

    The table also grows if a stream would be too far from its home slot.
    """
    at = state.at
    at[TURNS + table] += 1
    if 2 * at[TURNS + table] > 1 << at[TURN_BITS + table] and can_grow(state, table):
        grow_table(state, table, s)
        return
    homeless = place_stream(state, table, s)
    if homeless >= 0:
        grow_table(state, table, homeless)


def place_stream(state, table, s):
    """Insert the stream with index s into a table that is not grown; return -1, or a stream that is left without a slot.

    Streams that are nearer to their home slots are pushed on. If one of them would be pushed too far (see ``probes``), it gets
    the slot that the new stream had taken, and the new stream, now without a slot, is returned. The limit is checked only where a
    stream passes another one by.
    """
    turns = state.turns
    most = probes(state, table) if can_grow(state, table) else np.int64(turns.size)
    i, distance = home_slot(state, table, s), np.int64(0)
    while turns[i] != 0 and i - home_slot(state, table, turns[i] - 1) >= distance:
        i += 1
        distance += 1
    if distance == most:
        return s
    new, slot = s, i
    while turns[i] != 0:
        other = turns[i] - 1
        further = i - home_slot(state, table, other)
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


def grow_table(state, table, homeless):
    """Grow a table: double its slots until all its streams find a slot, the stream ``homeless`` among them.

    The streams are inserted again in the order of their turns, and ``homeless`` last.
    """
    at, turns = state.at, state.turns
    spare = table_start(state, 2)
    count = empty(state, table)
    turns[spare + count] = homeless
    count += 1
    at[TURN_BITS + table] += 1
    i = np.int64(0)
    while i < count:
        homeless = place_stream(state, table, turns[spare + i])
        if homeless < 0:
            i += 1
        else:
            empty(state, table)  # takes the i streams inserted so far out again
            turns[spare + i] = homeless
            at[TURN_BITS + table] += 1
            i = np.int64(0)
    for i in range(spare, spare + count):
        turns[i] = 0


def empty(state, table):
    """Move all streams of a table to the scratch space, in the order of their turns; return how many there are."""
    turns = state.turns
    spare, count = table_start(state, 2), np.int64(0)
    for i in range(table_start(state, table), table_end(state, table)):
        if turns[i] != 0:
            turns[spare + count] = turns[i] - 1
            turns[i] = 0
            count += 1
    return count


def clear_table(state, table):
    """Remove all streams from a table and make it as small as a new one."""
    for i in range(table_start(state, table), table_end(state, table)):
        state.turns[i] = 0
    state.at[TURN_BITS + table] = FEWEST_BITS
    state.at[TURNS + table] = 0


@out_of_line
def remove_slot(state, i):
    """Remove the stream in slot i from the table EVENTS; the streams behind it move up by one slot until one is at its home."""
    turns = state.turns
    while turns[i + 1] != 0 and home_slot(state, EVENTS, turns[i + 1] - 1) < i + 1:
        turns[i] = turns[i + 1]
        i += 1
    turns[i] = 0
    state.at[TURNS + EVENTS] -= 1
