"""Two ends: small blocks from the bottom up, large ones from the top down, first fit over a sorted list of holes."""

from typing import NamedTuple

import numpy as np

LARGE = 1024  # bytes


class State(NamedTuple):
    start: np.ndarray  # hole i covers [start[i], end[i]), in address order
    end: np.ndarray
    holes: np.ndarray  # holes[0]: how many holes there are
    used: np.ndarray  # used[0]: bytes in blocks


def init(capacity, max_live, space=1 << 40):
    if space < 1:
        raise ValueError("space has to be 1 byte or more")
    holes = max_live + 2
    state = State(np.zeros(holes, np.int64), np.zeros(holes, np.int64), np.ones(1, np.int64), np.zeros(1, np.int64))
    state.end[0] = min(capacity, space)
    return state


def block_size(request):
    return max(16, (request.size + 15) // 16 * 16)


def alloc(state, request):
    size, align = block_size(request), max(16, request.align)
    large = size >= LARGE
    for k in range(state.holes[0]):
        i = state.holes[0] - 1 - k if large else k
        low = (state.start[i] + align - 1) // align * align
        high = (state.end[i] - size) // align * align
        if low <= high and low + size <= state.end[i]:
            address = high if large else low
            cut(state, i, address, address + size)
            state.used[0] += size
            return address
    return -1


def free(state, request, address):
    size = block_size(request)
    state.used[0] -= size
    i = np.searchsorted(state.start[: state.holes[0]], address)
    before = i > 0 and state.end[i - 1] == address
    after = i < state.holes[0] and state.start[i] == address + size
    if before and after:
        state.end[i - 1] = state.end[i]
        remove(state, i)
    elif before:
        state.end[i - 1] = address + size
    elif after:
        state.start[i] = address
    else:
        insert(state, i, address, address + size)


def cut(state, i, low, high):
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
    for j in range(state.holes[0], i, -1):
        state.start[j], state.end[j] = state.start[j - 1], state.end[j - 1]
    state.start[i], state.end[i] = start, end
    state.holes[0] += 1


def remove(state, i):
    state.holes[0] -= 1
    for j in range(i, state.holes[0]):
        state.start[j], state.end[j] = state.start[j + 1], state.end[j + 1]


def reserved(state):
    """The space is one piece, got at the start: all of it counts as reserved."""
    return state.used[0] + free_bytes(state)


def free_bytes(state):
    total = 0
    for i in range(state.holes[0]):
        total += state.end[i] - state.start[i]
    return total


def survey(state):
    """Allocated bytes, free bytes, holes, largest hole."""
    largest = 0
    for i in range(state.holes[0]):
        largest = max(largest, state.end[i] - state.start[i])
    return state.used[0], free_bytes(state), state.holes[0], largest
