"""umm_malloc: units of 8 bytes, best fit among the blocks of one list; `fit=first`: the first of the list that is large enough.

A block of c units holds 8 c - 4 bytes behind its header of 4. Best fit takes the smallest block that is large enough, of
equals the first of the list. The block is split, the request in front, and what is left takes the old block's place in the
list. A freed block takes in a free block behind it; a free block before it swallows it and keeps its place; else it becomes
the head of the list. So `fit=first` is last in, first out, and not by address. Unit 0 and the last unit are the heap's own.

realloc stays if the block suffices, and cuts it; else it takes the block behind if that fits exactly or no free block lies
before; else it moves down into the block before, with or without the one behind; else alloc, copy, free.

The pool (UMM_MALLOC_CFG_HEAP_SIZE) is the capacity, or `pool`: at most 32,767 units, which is 262,136 bytes; of a larger
capacity it takes as many. A request of 0 bytes gets no block. Blocks lie 4 bytes behind multiples of 8; no request is
aligned to more.

Cost: O(log n) in the number of free blocks; the search reported is that of the real list, of which best fit walks all.
Source: umm_malloc 1.1.2 and 23 commits (ed68d0b), src/umm_malloc.c.
"""

from typing import Literal

import numpy as np

from memtrace.contract.calls import out_of_line
from memtrace.contract.ledger import ALLOCATED, BLOCK_SIZE, COUNT_INSPECTED, HOLES, INSPECTED, MERGES, MOVED, SPLITS
from memtrace.contract.request import NOTHING, NOWHERE
from memtrace.structures import ordered_holes
from memtrace.structures.free_tail import releasable
from memtrace.structures.heap import drop_hole, expect, expect_soon, link, new_node, take
from memtrace.structures.ordered_holes import State, first_of_size, holes_before, largest_hole, new_state, release_to_head
from memtrace.structures.whole_pool import open_pool, pool_bytes

ORDER = 92
GROUPS = ("embedded",)
KNOWN_AS = {"umm_malloc": "", "esp8266": ""}
ALSO_WITH = ("fit=first",)
UNUSABLE = True
TAKES_POOL = True
MAX_ALIGN = 4
CONTROL = "8 bytes at the start and 8 at the end of the pool"
VERSION = "umm_malloc 1.1.2 and 23 commits (ed68d0b)"

UNIT, HEADER = 8, 4
MOST_UNITS = 32767


def init(capacity, max_live, fit: Literal["best", "first"] = "best", pool=0):
    if pool > MOST_UNITS * UNIT:
        raise ValueError(f"umm_malloc's pools have at most {MOST_UNITS * UNIT} bytes, not {pool}")
    size = min(pool_bytes(capacity, pool, least=3 * UNIT), MOST_UNITS * UNIT)
    state = new_state(size, max_live, fit == "best", align=UNIT, min_block=UNIT, header=HEADER)
    return open_pool(state, size, [(UNIT, size // UNIT * UNIT - UNIT)], ordered_holes)


def block_bytes(size):
    """Return the bytes of the units that a request of ``size`` bytes takes."""
    return UNIT if size <= HEADER else (2 + (size - HEADER - 1) // UNIT) * UNIT


def alloc(state, request):
    """Place a block at the front of the free block that the fit chooses; return the address behind its header.

    Return NOTHING for a request of 0 bytes, NOWHERE if no free block is large enough.
    """
    if request.size == 0:
        return NOTHING
    size, ledger = block_bytes(request.size), state.ledger
    ledger[BLOCK_SIZE] = size
    x = first_of_size(state, size)
    if ledger[COUNT_INSPECTED] != 0:
        ledger[INSPECTED] = holes_before(state, x) + 1 if x != 0 and not state.by_size else ledger[HOLES]
    if x == 0:
        return NOWHERE
    return take(state, x, size, 1, request.block, ordered_holes) + HEADER


def free(state, request, address):
    """Free the block with the handle ``request.block``; ``address`` is not used."""
    release_to_head(state, state.node_of[request.block], ordered_holes)


@out_of_line
def resize(state, request, address, old_size):
    """Resize a block in place or down into the free block before it; return its address, or NOWHERE if it has to move.

    ``request`` has the block's handle and its new size; ``old_size`` bytes are copied where the block moves down.
    """
    nodes = state.nodes
    x = state.node_of[request.block]
    before, after = nodes[x].prev, nodes[x].next
    own, size = nodes[x].extent, block_bytes(request.size)
    lower = nodes[before].extent if nodes[before].free == 1 else 0
    upper = nodes[after].extent if nodes[after].free == 1 else 0
    if own < size:
        exact = own + upper == size
        if exact or (lower == 0 and own + upper >= size):
            take_in(state, x, after)
        elif lower + own + upper >= size:
            if lower + own < size:
                take_in(state, x, after)
            start = nodes[before].addr
            take_in(state, x, before)
            nodes[x].addr = start
            state.ledger[MOVED] += old_size
        else:
            return np.int64(NOWHERE)
    if nodes[x].extent > size:
        cut(state, x, size)
    return nodes[x].addr + HEADER


def take_in(state, x, hole):
    """Add the bytes of a hole beside block x to the block; the hole goes."""
    size = state.nodes[hole].extent
    drop_hole(state, hole, ordered_holes)
    state.nodes[x].extent += size
    state.ledger[ALLOCATED] += size
    state.ledger[MERGES] += 1


def cut(state, x, size):
    """Cut block x to ``size`` bytes, and free the rest."""
    nodes = state.nodes
    rest = nodes[x].extent - size
    nodes[x].extent = size
    tail = new_node(state, nodes[x].addr + size, rest)
    link(nodes, tail, x, nodes[x].next)
    state.ledger[SPLITS] += 1
    release_to_head(state, tail, ordered_holes)
