"""First fit over a sorted list of holes; the heap grows at its top. A sound policy, of which the zoo breaks one line at a time."""

from typing import NamedTuple

import numpy as np

COALESCES = True


class State(NamedTuple):
    start: np.ndarray  # hole i covers [start[i], end[i]), in address order
    end: np.ndarray
    count: np.ndarray  # count[0]: holes
    top: np.ndarray  # top[0]: bytes reserved
    used: np.ndarray  # used[0]: bytes in blocks
    extent: np.ndarray  # extent[handle]: bytes of the block
    capacity: int
    unit: int


def init(capacity, max_live, unit=16):
    if unit < 1 or unit & (unit - 1):
        raise ValueError(f"unit={unit} is no power of two")
    holes = max_live + 2
    one = np.zeros(1, np.int64)
    starts, ends = np.zeros(holes, np.int64), np.zeros(holes, np.int64)
    return State(starts, ends, one.copy(), one.copy(), one.copy(), np.zeros(max_live + 1, np.int64), capacity, unit)


def block_size(state, size):
    return max(state.unit, align_up(size, state.unit))


def align_up(number, align):
    return (number + align - 1) // align * align


def alloc(state, request):
    size, align = block_size(state, request.size), max(state.unit, request.align)
    for i in range(state.count[0]):
        address = align_up(state.start[i], align)
        if address + size <= state.end[i]:
            take(state, i, address, address + size)
            state.used[0] += size
            state.extent[request.block] = size
            return address
    return grow(state, request, size, align)


def grow(state, request, size, align):
    low, i = state.top[0], state.count[0]
    if i > 0 and state.end[i - 1] == low:
        i -= 1
        low = state.start[i]
    address = align_up(low, align)
    if address + size > state.capacity:
        return -1
    if i < state.count[0]:
        remove(state, i)
    if address > low:
        insert(state, i, low, address)
    state.top[0] = address + size
    state.used[0] += size
    state.extent[request.block] = size
    return address


def free(state, request, address):
    size = state.extent[request.block]
    state.used[0] -= size
    give(state, address, address + size)


def resize(state, request, address, old_size):
    old, size = state.extent[request.block], block_size(state, request.size)
    if address % max(state.unit, request.align) != 0:
        return -1
    i = first_from(state, address)
    if size < old:
        give(state, address + size, address + old)
    elif size > old:
        behind = i < state.count[0] and state.start[i] == address + old
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
    i = state.count[0] - 1
    if i >= 0 and state.end[i] == state.top[0]:
        state.top[0] = state.start[i]
        remove(state, i)


def first_from(state, address):
    i = 0
    while i < state.count[0] and state.start[i] < address:
        i += 1
    return i


def give(state, low, high):
    """Make [low, high) a hole, joined with its neighbours."""
    i = first_from(state, low)
    before = i > 0 and state.end[i - 1] == low
    after = i < state.count[0] and state.start[i] == high
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
    for j in range(state.count[0], i, -1):
        state.start[j], state.end[j] = state.start[j - 1], state.end[j - 1]
    state.start[i], state.end[i] = start, end
    state.count[0] += 1


def remove(state, i):
    state.count[0] -= 1
    for j in range(i, state.count[0]):
        state.start[j], state.end[j] = state.start[j + 1], state.end[j + 1]


def reserved(state):
    return state.top[0]


def survey(state):
    free_bytes, largest = 0, 0
    for i in range(state.count[0]):
        size = state.end[i] - state.start[i]
        free_bytes += size
        largest = max(largest, size)
    return state.used[0], free_bytes, state.count[0], largest
