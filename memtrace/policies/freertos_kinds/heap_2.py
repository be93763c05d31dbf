"""FreeRTOS's heap_2: the first free block of a list by size, the newest of equals; nothing is ever merged.

A block is the request and a header of two words, rounded up to 8 bytes. It is split, the block in front, if the rest is
larger than two headers; the rest goes into the list by its size, in front of its equals, and so does a freed block. Each
free block is a hole: no request can get two. So the pool wears into pieces of the sizes that were asked for.

Cost: O(log n) in the number of free blocks; the search reported is the number of blocks that the real list walks.
Source: FreeRTOS-Kernel 4269c69 (July 2026), portable/MemMang/heap_2.c.
"""

from memtrace.contract.ledger import ALLOCATED, COUNT_INSPECTED, HOLE_TAKEN, HOLES, INSPECTED, SPLITS, close_hole, open_hole
from memtrace.contract.request import ENLARGE, NOTHING, NOWHERE
from memtrace.structures import ordered_holes
from memtrace.structures.free_tail import releasable
from memtrace.structures.heap import expect, expect_soon, link, new_node, request_block_size
from memtrace.structures.ordered_holes import (
    State,
    first_of_size,
    has_room,
    holes_before,
    insert,
    largest_hole,
    leave_alone,
    new_state,
    remove,
)
from memtrace.structures.ordered_holes import with_more_nodes as enlarge
from memtrace.structures.whole_pool import open_pool, pool_bytes

GROUPS = ("embedded",)
UNUSABLE = True
TAKES_POOL = True
MAX_ALIGN = 8


def init(capacity, max_live, heap="2", regions="", bits="32", pool=0):
    if regions:
        raise ValueError("only heap_5 has regions\ntry: heap=5")
    header = int(bits) // 4
    size = pool_bytes(capacity, pool, least=3 * header)
    state = new_state(size, max_live, True, align=8, min_block=header + 8, split=2 * header + 1, header=header, zero="null")
    return open_pool(state, size, [(0, size - 8)], ordered_holes)


def alloc(state, request):
    """Place a block at the front of the smallest free block that it fits, the newest of equals; return its payload's address.

    Return NOTHING for a request of 0 bytes, NOWHERE if no free block is large enough, ENLARGE if the arrays have no room for
    another block.
    """
    if not has_room(state, 1):
        return ENLARGE
    size = request_block_size(state, request)
    if size == NOTHING:
        return NOTHING
    nodes, ledger = state.nodes, state.ledger
    x = first_of_size(state, size)
    if ledger[COUNT_INSPECTED] != 0:
        ledger[INSPECTED] = holes_before(state, x) + 1 if x != 0 else ledger[HOLES]
    if x == 0:
        return NOWHERE
    extent = nodes[x].extent
    ledger[HOLE_TAKEN] = extent
    remove(state, x)
    close_hole(ledger, extent)
    nodes[x].free = 0
    if extent - size >= state.rules.split:
        nodes[x].extent = size
        rest = new_node(state, nodes[x].addr + size, extent - size)
        link(nodes, rest, x, nodes[x].next)
        nodes[rest].free = 1
        insert(state, rest)
        open_hole(ledger, extent - size)
        ledger[SPLITS] += 1
    state.node_of[request.block] = x
    ledger[ALLOCATED] += nodes[x].extent
    return nodes[x].addr + state.rules.header


def free(state, request, address):
    """Put the block with the handle ``request.block`` into the list of free blocks, unmerged; ``address`` is not used."""
    leave_alone(state, state.node_of[request.block])
