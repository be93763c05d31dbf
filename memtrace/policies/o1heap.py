"""o1heap: half fit whose blocks are powers of two; constant time.

A block is the request and a header of 16 bytes (32 with `bits=64`), rounded up to a power of two. Free blocks are in lists
by their power of two, the one freed last first; the head of the first list that is sure to fit serves the request. It is
split, the block in front, whatever is left. A freed block merges with its free neighbours at once. So blocks are powers of
two, and free blocks are multiples of 32 (64): one of less than twice a power of two may be passed over though it is large
enough.

The pool is the capacity, or `pool`; its control structure is 160 bytes (576), and what is left is rounded down to 32 (64). A
request of 0 bytes gets no block. There is no realloc: it is an alloc, a copy and a free. Addresses are multiples of 16 (32).

Cost: constant: one bit scan finds the list.
Source: o1heap 2.2.0 (b3a1aa4), o1heap/o1heap.c.
"""

from typing import Literal

from memtrace.contract.bits import highest_set, next_power
from memtrace.contract.ledger import BLOCK_SIZE, INSPECTED
from memtrace.contract.request import NOTHING, NOWHERE
from memtrace.structures import class_lists, heap
from memtrace.structures.class_lists import State, find, largest_hole, new_state
from memtrace.structures.free_tail import releasable
from memtrace.structures.heap import expect, expect_soon, take
from memtrace.structures.whole_pool import open_pool, pool_bytes

ORDER = 92
GROUPS = ("embedded",)
UNUSABLE = True
TAKES_POOL = True
MAX_ALIGN = 16
CONTROL = "160 bytes at the start of the pool (576 with bits=64)"
VERSION = "o1heap 2.2.0 (b3a1aa4)"

INSTANCE = {"32": 160, "64": 576}  # bytes of the control structure


def init(capacity, max_live, bits: Literal["32", "64"] = "32", pool=0):
    unit, control = int(bits) // 2, INSTANCE[bits]
    size = pool_bytes(capacity, pool, least=control + 2 * unit)
    small = int(highest_set(2 * unit))
    state = new_state(size, max_live, 0, small, 62, False, align=unit, min_block=2 * unit, base=control)
    return open_pool(state, size, [(control, control + (size - control & -2 * unit))], class_lists)


def alloc(state, request):
    """Place a block in the free block freed last of the first list that is sure to fit; return its payload's address.

    Return NOTHING for a request of 0 bytes, NOWHERE if no list has one.
    """
    if request.size == 0:
        return NOTHING
    unit = state.rules.align
    if request.size > state.rules.capacity:
        return NOWHERE
    size = next_power(max(request.size + unit, 2 * unit))
    state.ledger[BLOCK_SIZE] = size
    x = find(state, size)
    if x == 0:
        return NOWHERE
    state.ledger[INSPECTED] = 1
    return take(state, x, size, 1, request.block, class_lists) + unit


def free(state, request, address):
    """Free the block with the handle ``request.block`` and merge it with its free neighbours; ``address`` is not used."""
    heap.release(state, state.node_of[request.block], class_lists)
