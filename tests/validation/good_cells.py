"""Cells of powers of two, each size with a list of free cells for each of four streams; the arrays grow. Sound, with a ledger."""

from typing import NamedTuple

import numpy as np
from memtrace.contract.bits import highest_set
from memtrace.contract.ledger import (
    ALLOCATED,
    BLOCK_SIZE,
    HOLE_TAKEN,
    INSPECTED,
    RESERVE_CALLS,
    RESERVED,
    close_hole,
    new_ledger,
    open_hole,
)

UNUSABLE = True  # bytes in front of a cell that is aligned to its size
STREAMS = 4


class State(NamedTuple):
    ledger: np.ndarray
    head: np.ndarray  # head[stream, class]: the first free cell; -1: none
    address: np.ndarray  # of each cell
    next: np.ndarray  # of each free cell: the next one of its list
    count: np.ndarray  # count[0]: cells
    cell: np.ndarray  # cell[handle]: the block's
    capacity: int
    smallest: int


def init(capacity, max_live, smallest=16, first=4):
    if smallest < 1 or smallest & (smallest - 1):
        raise ValueError(f"smallest={smallest} is no power of two")
    cells = max(first, 1)
    head = np.full((STREAMS, 64), -1, np.int64)
    one = np.zeros(1, np.int64)
    return State(
        new_ledger(0),
        head,
        np.zeros(cells, np.int64),
        np.zeros(cells, np.int64),
        one,
        np.zeros(max_live + 1, np.int64),
        capacity,
        smallest,
    )


def class_of(state, request):
    """Return log2 of the bytes of the cell for a request."""
    return highest_set(2 * max(request.size, request.align, state.smallest) - 1)


def alloc(state, request):
    ledger, k = state.ledger, class_of(state, request)
    size, stream = 1 << k, request.stream % STREAMS
    x = state.head[stream, k]
    if x >= 0:
        state.head[stream, k] = state.next[x]
        close_hole(ledger, size)
        ledger[INSPECTED] = 1
        ledger[HOLE_TAKEN] = size
    else:
        x = state.count[0]
        address = (ledger[RESERVED] + size - 1) // size * size
        if address + size > state.capacity:
            return -1
        if x == state.address.size:
            return -3
        state.count[0] += 1
        state.address[x] = address
        ledger[RESERVED] = address + size
        ledger[RESERVE_CALLS] += 1
    ledger[ALLOCATED] += size
    ledger[BLOCK_SIZE] = size
    state.cell[request.block] = x
    return state.address[x]


def free(state, request, address):
    k, stream, x = class_of(state, request), request.stream % STREAMS, state.cell[request.block]
    state.next[x] = state.head[stream, k]
    state.head[stream, k] = x
    state.ledger[ALLOCATED] -= 1 << k
    open_hole(state.ledger, 1 << k)


def enlarge(state):
    more = np.zeros(state.address.size, np.int64)
    return state._replace(address=np.concatenate((state.address, more)), next=np.concatenate((state.next, more)))


def largest_hole(state):
    for k in range(63, -1, -1):
        for stream in range(STREAMS):
            if state.head[stream, k] >= 0:
                return 1 << k
    return 0
