"""FreeRTOS's heap_1: blocks one behind the other, without headers, and nothing is freed.

What was freed counts as a hole, though no request can get it.

Cost: constant.
Source: FreeRTOS-Kernel 4269c69 (July 2026), portable/MemMang/heap_1.c.
"""

from memtrace.contract.bits import align_up
from memtrace.contract.ledger import BLOCK_SIZE, RESERVED
from memtrace.contract.request import NOTHING, NOWHERE
from memtrace.policies.bump import NEXT, place_at_end
from memtrace.structures import heap, hole_list
from memtrace.structures.free_tail import releasable
from memtrace.structures.heap import expect, expect_soon
from memtrace.structures.hole_list import State, largest_hole
from memtrace.structures.whole_pool import open_pool, pool_bytes

GROUPS = ("embedded",)
UNUSABLE = True
TAKES_POOL = True
MAX_ALIGN = 8

ALIGN = 8  # portBYTE_ALIGNMENT


def init(capacity, max_live, heap="1", regions="", bits="32", pool=0):
    if regions:
        raise ValueError("only heap_5 has regions\ntry: heap=5")
    size = pool_bytes(capacity, pool, least=2 * ALIGN + 1)
    state = hole_list.init(size, max_live, align=ALIGN, min_block=1)
    return open_pool(state, size, [(0, size - ALIGN)], hole_list)


def alloc(state, request):
    """Place a block above all blocks so far; return its address.

    Return NOTHING for a request of 0 bytes, NOWHERE if it would not end below the pool's last 8 bytes.
    """
    if request.size == 0:
        return NOTHING
    size, top = align_up(request.size, ALIGN), state.rover[NEXT]
    state.ledger[BLOCK_SIZE] = size
    if top + size >= state.ledger[RESERVED] - ALIGN:
        return NOWHERE
    return place_at_end(state, top, size, request.block)


def free(state, request, address):
    """Count the block with the handle ``request.block`` as a hole, which is never used again; ``address`` is not used."""
    heap.free_block(state, request.block, hole_list)
