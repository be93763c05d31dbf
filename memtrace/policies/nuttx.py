"""NuttX's heap (mm_heap): best fit in lists by size, of equals the newest; merged at once.

A chunk is the request and a header of a word, rounded up to 8 bytes, at least 16 (32 with `bits=64`). The smallest free chunk
that is large enough serves the request. It is split, the request in front, if the rest is a chunk. A freed chunk merges with
its free neighbours at once. Free chunks are in lists by powers of two, each in the order of sizes; one that is new, or has
another size, comes before its equals.

realloc cuts the chunk if the one behind it is free, by however little, or if the rest is a chunk. A chunk grows into its free
neighbours if they suffice: first into the smaller of them, the one before included, so that the block moves down, then into
the other; what is left of a neighbour stays free if it is a chunk. Else alloc, copy, free.

The pool is the capacity, or `pool`. In front lies the control structure, `control` bytes: 348 stands for a struct mm_heap_s
without procfs, with a mutex of 16 bytes (648 with `bits=64`); sizeof() in your build says what it is. A request of 0
bytes gets the least chunk. Not modelled: CONFIG_MM_SMALL, node guards, memory pools in front (CONFIG_MM_HEAP_MEMPOOL), and
frees that wait.

Cost: O(log n) in the number of free chunks; the search reported is that of the real list, without the heads of other lists.
Source: NuttX 4ebc8a7 (August 2026), mm/mm_heap/mm_malloc.c, mm_free.c, mm_realloc.c, mm_shrinkchunk.c and mm.h.
"""

from typing import Literal

import numpy as np

from memtrace.contract.bits import align_up, highest_set
from memtrace.contract.calls import out_of_line
from memtrace.contract.ledger import ALLOCATED, COUNT_INSPECTED, HOLES, INSPECTED, MERGES, MOVED, SPLITS
from memtrace.contract.request import NOWHERE
from memtrace.structures import ordered_holes
from memtrace.structures.free_tail import releasable
from memtrace.structures.heap import change_hole, drop_hole, expect, expect_soon, link, new_node, request_block_size, take
from memtrace.structures.ordered_holes import SIZE, State, first_of_size, holes_before, largest_hole, new_state, release_to_head
from memtrace.structures.whole_pool import open_pool, pool_bytes

ORDER = 92
GROUPS = ("embedded",)
KNOWN_AS = {"px4": "", "vela": "", "mm_malloc": "", "mm_heap": ""}
UNUSABLE = True
TAKES_POOL = True
MAX_ALIGN = 8
CONTROL = "`control` (348) bytes and 8 at the start of the pool, and 8 at its end (648 and 16 with bits=64)"
VERSION = "NuttX 4ebc8a7 (August 2026)"

ALIGN = 8  # MM_DEFAULT_ALIGNMENT
CONTROLS = {"32": 348, "64": 648}  # bytes of a struct mm_heap_s
MOST_CLASS = 22  # MM_MAX_SHIFT: log2 of the bytes from which on all chunks are in one list


def init(capacity, max_live, control=0, bits: Literal["32", "64"] = "32", pool=0):
    if control < 0:
        raise ValueError("control is 0 bytes (the usual size) or more")
    word = int(bits) // 8
    first = align_up(align_up(control or CONTROLS[bits], ALIGN) + 4 * word, ALIGN) - 2 * word
    size = pool_bytes(capacity, pool, least=first + 2 * word + 4 * word)
    state = new_state(size, max_live, True, SIZE, align=ALIGN, min_block=4 * word, header=word)
    return open_pool(state, size, [(first, (size & -ALIGN) - 2 * word)], ordered_holes)


def alloc(state, request):
    """Place a chunk at the front of the smallest free chunk that it fits, the newest of equals; return its payload's address.

    Return NOWHERE if no free chunk is large enough.
    """
    size, ledger = request_block_size(state, request), state.ledger
    x = first_of_size(state, size)
    if ledger[COUNT_INSPECTED] != 0:
        ledger[INSPECTED] = walked(state, x, size)
    if x == 0:
        return NOWHERE
    return take(state, x, size, 1, request.block, ordered_holes) + 2 * state.rules.header


def walked(state, x, size):
    """Return how many free chunks a search for ``size`` bytes looks at that ends with x, or, if x is 0, with the last."""
    first = first_of_size(state, np.int64(1) << min(highest_set(size), MOST_CLASS))
    before = holes_before(state, first) if first != 0 else state.ledger[HOLES]
    return (holes_before(state, x) + 1 if x != 0 else state.ledger[HOLES]) - before


def free(state, request, address):
    """Free the block with the handle ``request.block`` and merge it with its free neighbours; ``address`` is not used."""
    release_to_head(state, state.node_of[request.block], ordered_holes)


@out_of_line
def resize(state, request, address, old_size):
    """Resize a block in place, or down into the free chunk before it; return its address, or NOWHERE if it has to move.

    ``request`` has the block's handle and its new size; ``old_size`` bytes are copied where the block moves down.
    """
    nodes = state.nodes
    x = state.node_of[request.block]
    size, own = request_block_size(state, request), nodes[x].extent
    before, after = nodes[x].prev, nodes[x].next
    lower = nodes[before].extent if nodes[before].free == 1 else np.int64(0)
    upper = nodes[after].extent if nodes[after].free == 1 else np.int64(0)
    if size <= own:
        if upper != 0 and size < own:
            change_hole(state, after, nodes[x].addr + size, upper + own - size, ordered_holes)
            nodes[x].extent = size
            state.ledger[ALLOCATED] -= own - size
        elif own - size >= state.rules.min_block:
            cut(state, x, size)
        return address
    needed = size - own
    if lower + upper < needed:
        return np.int64(NOWHERE)
    from_lower = min(needed, lower) if upper > lower else max(needed - upper, 0)
    from_upper = needed - from_lower
    if from_lower > 0:
        nodes[x].addr -= take_from(state, x, before, from_lower, nodes[before].addr)
        state.ledger[MOVED] += old_size
    if from_upper > 0:
        start = nodes[after].addr
        take_from(state, x, after, from_upper, start + from_upper)
    return nodes[x].addr + 2 * state.rules.header


def take_from(state, x, hole, more, start):
    """Add ``more`` bytes of a hole beside block x to the block, or all of it if the rest is no chunk; return how many.

    ``start`` is where what is left of the hole begins.
    """
    nodes = state.nodes
    extent = nodes[hole].extent
    if extent - more < state.rules.min_block:
        more = extent
        drop_hole(state, hole, ordered_holes)
        state.ledger[MERGES] += 1
    else:
        change_hole(state, hole, start, extent - more, ordered_holes)
        state.ledger[SPLITS] += 1
    nodes[x].extent += more
    state.ledger[ALLOCATED] += more
    return more


def cut(state, x, size):
    """Cut block x to ``size`` bytes, and free the rest."""
    nodes = state.nodes
    rest = nodes[x].extent - size
    nodes[x].extent = size
    tail = new_node(state, nodes[x].addr + size, rest)
    link(nodes, tail, x, nodes[x].next)
    state.ledger[SPLITS] += 1
    release_to_head(state, tail, ordered_holes)
