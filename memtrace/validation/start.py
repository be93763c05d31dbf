"""First fit: a block takes the low end of the lowest hole in which it fits.

If none fits, the heap grows at its top.

This is a start for a policy of your own. It is complete and sound: change it
step by step, and check each step.

    memtrace policies --check mine.py --quick     in a second or two
    memtrace policies --check mine.py             compiled too
    memtrace policies ./mine.py                   its options, what it lacks
    memtrace run TRACE -p ./mine.py -p best-fit   beside others

`-p ./mine.py:unit=64` sets an option. A policy is a file of plain functions.
The engine calls `init` once, and then `alloc`, `free` and `resize` for the
events of a trace. These are compiled, with all that they call: they have whole
numbers, arrays and tuples, for, while and if. They make no lists, dicts, texts
or arrays, catch no exceptions, and divide with //. All that changes lies in
the arrays of the state.
"""

from typing import NamedTuple

import numpy as np

# Once all is freed, all is one hole again; `--check` tests it. Leave the line out if your policy does not join its holes.
COALESCES = True


class State(NamedTuple):
    """All that the policy knows. Its fields cannot be set; the elements of its arrays can."""

    start: np.ndarray  # hole i covers [start[i], end[i]), in address order
    end: np.ndarray
    holes: np.ndarray  # holes[0]: how many holes there are
    top: np.ndarray  # top[0]: bytes reserved
    used: np.ndarray  # used[0]: bytes in blocks
    extent: np.ndarray  # extent[handle]: bytes of the block
    capacity: int
    unit: int


def init(capacity, max_live, unit=16):
    """Return the state before the first event, for `max_live` blocks live at once and `capacity` bytes (2^62: no limit).

    The further parameters are the policy's options, each with a default. This function is ordinary Python.
    """
    if unit < 1 or unit & (unit - 1):
        raise ValueError(f"unit={unit} is no power of two")
    most = max_live + 2  # holes
    one = np.zeros(1, np.int64)
    starts, ends = np.zeros(most, np.int64), np.zeros(most, np.int64)
    return State(starts, ends, one.copy(), one.copy(), one.copy(), np.zeros(max_live + 1, np.int64), capacity, unit)


def block_size(state, size):
    """Return the bytes of the block for a request of `size` bytes."""
    return max(state.unit, align_up(size, state.unit))


def align_up(number, align):
    """Return the lowest multiple of `align` that is not below `number`."""
    return (number + align - 1) // align * align


def alloc(state, request):
    """Return the address of a new block of `request.size` bytes, a multiple of `request.align`; -1 if there is no room.

    A request also has `stream`, `tag` (a number for each tag, -1: none) and `block`, the index of its block in arrays with an
    entry per block. It is another block's once this one is freed.
    """
    size, align = block_size(state, request.size), max(state.unit, request.align)
    for i in range(state.holes[0]):
        address = align_up(state.start[i], align)
        if address + size <= state.end[i]:
            take(state, i, address, address + size)
            state.used[0] += size
            state.extent[request.block] = size
            return address
    return grow(state, request, size, align)


def grow(state, request, size, align):
    """Place a block at the top, in the last hole too if it ends there; return its address, or -1 if the capacity is too small."""
    low, i = state.top[0], state.holes[0]
    if i > 0 and state.end[i - 1] == low:
        i -= 1
        low = state.start[i]
    address = align_up(low, align)
    if address + size > state.capacity:
        return -1
    if i < state.holes[0]:
        remove(state, i)
    if address > low:
        insert(state, i, low, address)
    state.top[0] = address + size
    state.used[0] += size
    state.extent[request.block] = size
    return address


def free(state, request, address):
    """Free the block at `address`; `request` is what was asked for when it was placed."""
    size = state.extent[request.block]
    state.used[0] -= size
    give(state, address, address + size)


def resize(state, request, address, old_size):
    """Resize a block in place, from `old_size` to `request.size` bytes, and return its address.

    -1: it has to move; the engine then calls `alloc` and `free`. Without this function every realloc moves its block.
    """
    old, size = state.extent[request.block], block_size(state, request.size)
    if address % max(state.unit, request.align) != 0:
        return -1
    i = first_from(state, address)
    if size < old:
        give(state, address + size, address + old)
    elif size > old:
        behind = i < state.holes[0] and state.start[i] == address + old
        if behind and state.end[i] >= address + size:
            take(state, i, address + old, address + size)
        elif address + old == state.top[0] and address + size <= state.capacity:
            state.top[0] = address + size
        else:
            return -1
    state.used[0] += size - old
    state.extent[request.block] = size
    return address


def trim(state):
    """Give what is free at the top back to the system."""
    i = state.holes[0] - 1
    if i >= 0 and state.end[i] == state.top[0]:
        state.top[0] = state.start[i]
        remove(state, i)


def first_from(state, address):
    """Return the number of the first hole at or above an address."""
    i = 0
    while i < state.holes[0] and state.start[i] < address:
        i += 1
    return i


def give(state, low, high):
    """Make [low, high) a hole, joined with its neighbours."""
    i = first_from(state, low)
    before = i > 0 and state.end[i - 1] == low
    after = i < state.holes[0] and state.start[i] == high
    if before and after:
        state.end[i - 1] = state.end[i]
        remove(state, i)
    elif before:
        state.end[i - 1] = high
    elif after:
        state.start[i] = low
    else:
        insert(state, i, low, high)


def take(state, i, low, high):
    """Take [low, high) out of hole i."""
    start, end = state.start[i], state.end[i]
    if low > start and high < end:
        state.end[i] = low
        insert(state, i + 1, high, end)
    elif low > start:
        state.end[i] = low
    elif high < end:
        state.start[i] = high
    else:
        remove(state, i)


def insert(state, i, start, end):
    """Let the new hole i be [start, end)."""
    for j in range(state.holes[0], i, -1):
        state.start[j], state.end[j] = state.start[j - 1], state.end[j - 1]
    state.start[i], state.end[i] = start, end
    state.holes[0] += 1


def remove(state, i):
    """Take hole i out of the list."""
    state.holes[0] -= 1
    for j in range(i, state.holes[0]):
        state.start[j], state.end[j] = state.start[j + 1], state.end[j + 1]


def reserved(state):
    """Return the bytes held from the system; all blocks lie below."""
    return state.top[0]


def survey(state):
    """Return the bytes in blocks, the bytes in holes, the number of holes, and the bytes of the largest.

    Without this function the measures are worked out from the addresses, or are not known.
    """
    free_bytes, largest = 0, 0
    for i in range(state.holes[0]):
        size = state.end[i] - state.start[i]
        free_bytes += size
        largest = max(largest, size)
    return state.used[0], free_bytes, state.holes[0], largest
