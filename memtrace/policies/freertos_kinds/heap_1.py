"""FreeRTOS's heap_1: blocks one behind the other, without headers, and nothing is freed.

What was freed is in no block and in no hole, since no request can ever get it: the one hole is what lies above all blocks.

Cost: constant.
Source: FreeRTOS-Kernel 4269c69 (July 2026), portable/MemMang/heap_1.c.
"""

from typing import NamedTuple

import numpy as np

from memtrace.contract.bits import align_up
from memtrace.contract.ledger import (
    ALLOCATED,
    BLOCK_SIZE,
    HOLE_TAKEN,
    RESERVED,
    SPLITS,
    new_ledger,
    open_hole,
    resize_hole,
)
from memtrace.contract.request import NOTHING, NOWHERE
from memtrace.structures.whole_pool import pool_bytes

GROUPS = ("embedded",)
UNUSABLE = True
TAKES_POOL = True
MAX_ALIGN = 8

ALIGN = 8  # portBYTE_ALIGNMENT


class State(NamedTuple):
    """State of a heap that never frees."""

    top: np.ndarray  # top[0]: the end of the highest block
    ledger: np.ndarray


def init(capacity, max_live, heap="1", regions="", bits="32", pool=0):
    if regions:
        raise ValueError("only heap_5 has regions\ntry: heap=5")
    size = pool_bytes(capacity, pool, least=2 * ALIGN + 1)
    state = State(np.zeros(1, np.int64), new_ledger(0))
    state.ledger[RESERVED] = size
    open_hole(state.ledger, size - ALIGN)
    return state


def first_holes(state):
    """Return the size of the one hole."""
    return [int(largest_hole(state))]


def alloc(state, request):
    """Place a block above all blocks so far; return its address.

    Return NOTHING for a request of 0 bytes, NOWHERE if it would not end below the pool's last 8 bytes.
    """
    if request.size == 0:
        return NOTHING
    size, top, ledger = align_up(request.size, ALIGN), state.top[0], state.ledger
    ledger[BLOCK_SIZE] = size
    free = largest_hole(state)
    if size >= free:
        return NOWHERE
    ledger[HOLE_TAKEN] = free
    resize_hole(ledger, free, free - size)
    ledger[SPLITS] += 1
    ledger[ALLOCATED] += size
    state.top[0] = top + size
    return top


def free(state, request, address):
    """Count the block of ``request`` as live no more; its bytes are lost. ``address`` is not used."""
    state.ledger[ALLOCATED] -= align_up(request.size, ALIGN)


def largest_hole(state):
    """Return the bytes above all blocks, without the last 8, which no request gets."""
    return state.ledger[RESERVED] - ALIGN - state.top[0]


def releasable(state):
    """Return 0: the pool is never given back."""
    return np.int64(0)
