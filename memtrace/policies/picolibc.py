"""picolibc's malloc: first fit by address, the block in front; the heap grows by `sbrk` of just what is missing.

A block is a word and the request, rounded up to `align`, that of max_align_t: 8 bytes on ARM, 16 on x86 and with `bits=64`.
The lowest free block that is large enough serves the request; it is split if the rest is a block. A freed block merges with
its free neighbours at once, and nothing is given back. If no free block is large enough, the heap grows by the whole block:
the code means to grow the last free block, but looks for its end at a size that has the mark of a free block in it, so it
never does.

realloc cuts the block, or grows the last one by `sbrk`; else alloc, copy, free. The code means to take in a free block
behind, but compares the addresses of a header and of a payload, so it never does.

Reserved is what sbrk has given; the capacity, or `pool`, bounds it. The first block lies so that its address is a multiple
of `align`. 0 bytes get the smallest block. The option malloc-small-bucket, off by default, is not modelled.

Cost: O(log n) in the number of free blocks; the search reported is that of the real list.
Source: picolibc 1.8.12 and later (630c45e), libc/stdlib/malloc.c, free.c and realloc.c.
"""

from typing import Literal

import numpy as np

from memtrace.contract.bits import align_up
from memtrace.contract.calls import out_of_line
from memtrace.contract.ledger import ALLOCATED, RESERVE_CALLS, RESERVED
from memtrace.contract.request import NOWHERE
from memtrace.structures import address_tree, heap
from memtrace.structures.address_tree import State, expect_soon, largest_hole
from memtrace.structures.free_tail import releasable
from memtrace.structures.heap import expect, request_block_size, take
from memtrace.structures.lowest_hole import find_lowest
from memtrace.structures.program_break import break_limit, move_break
from memtrace.structures.whole_pool import cut_block

ORDER = 92
GROUPS = ("embedded",)
UNUSABLE = True
MAX_ALIGN = 8
CONTROL = "align - 4 bytes below the first block (align - 8 with bits=64)"
VERSION = "picolibc 1.8.12 and later (630c45e)"


def init(capacity, max_live, align=8, bits: Literal["32", "64"] = "32", pool=0):
    header = int(bits) // 8
    if align < 8 or align & (align - 1):
        raise ValueError(f"align={align} is not a power of two from 8 on")
    align = max(align, 2 * header)
    least = align_up(2 * header, align)
    return address_tree.init(break_limit(capacity, pool), max_live, align=align, min_block=least, header=header)


def alloc(state, request):
    """Place a block at the front of the lowest free block that it fits, or above the break; return its payload's address.

    Return NOWHERE if the break cannot go that far.
    """
    size, header = request_block_size(state, request), state.rules.header
    x = find_lowest(state, size)
    if x != 0:
        return take(state, x, size, 1, request.block, address_tree) + header
    top = state.ledger[RESERVED]
    start = align_up(top + header, state.rules.align) - header
    placed = move_break(state, start, size, request.block)
    if placed != NOWHERE:
        return placed + header
    if start > top and top + size <= state.rules.limit[0]:
        state.ledger[RESERVED] = top + size  # the first of two calls of sbrk succeeds, and what it gave is lost
    return np.int64(NOWHERE)


def free(state, request, address):
    """Free the block with the handle ``request.block`` and merge it with its free neighbours; ``address`` is not used."""
    heap.release(state, state.node_of[request.block], address_tree)


@out_of_line
def resize(state, request, address, old_size):
    """Cut a block, or grow it if it is the last below the break; return ``address``, or NOWHERE if it has to move.

    ``request`` has the block's handle and its new size; ``old_size`` is not used.
    """
    nodes, ledger = state.nodes, state.ledger
    x = state.node_of[request.block]
    size, end = request_block_size(state, request), nodes[x].addr + nodes[x].extent
    if size > nodes[x].extent:
        more = size - nodes[x].extent
        if end != ledger[RESERVED] or end + more > state.rules.limit[0]:
            return NOWHERE
        ledger[RESERVED] += more
        ledger[RESERVE_CALLS] += 1
        ledger[ALLOCATED] += more
        nodes[x].extent = size
    if nodes[x].extent - size >= state.rules.split:
        cut_block(state, x, size, address_tree)
    return address
