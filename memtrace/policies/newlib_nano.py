"""newlib's nano malloc: first fit by address, the block at the tail or the front of the hole; `sbrk` of what is missing.

A block is a word, the request rounded up to words, and padding so that its address can be made a multiple of 8: at least 12
bytes with `bits=32`, in multiples of 4. The lowest free block that is large enough serves the request. If there is none, the
heap grows by the whole block, whatever is free at its end. A freed block merges with its free neighbours at once, and
nothing is given back. 0 bytes get the smallest block.

`version=3.3`: the block is the tail of the free one, whose front stays free if it has 12 bytes; realloc stays if what the
block holds is enough, and cuts nothing. `version=4.1`: realloc also moves a block that would be half empty. `version=4.3`,
and later: the block is the front of the free one; and where sbrk refuses the whole block, the last free block grows by what
is missing, if it touches the end of the heap. 4.2 is not modelled: it leaves that block in the list of free ones.

Reserved is what sbrk has given; the capacity, or `pool`, bounds it. The heap's start is a multiple of 8.

Cost: O(log n) in the number of free blocks; the search reported is that of the real list.
Source: newlib 3.3.0, 4.1.0 and 4.4.0 (pspdev a4b1ea4), newlib/libc/stdlib/nano-mallocr.c.
"""

from typing import Literal

import numpy as np

from memtrace.contract.bits import align_up
from memtrace.contract.calls import out_of_line
from memtrace.contract.ledger import ALLOCATED, BLOCK_SIZE, HOLE_TAKEN, RESERVE_CALLS, RESERVED, close_hole
from memtrace.contract.request import NOWHERE
from memtrace.structures import address_tree, heap
from memtrace.structures.address_tree import State, expect_soon, largest_hole
from memtrace.structures.free_tail import releasable
from memtrace.structures.heap import expect, take
from memtrace.structures.lowest_hole import find_lowest
from memtrace.structures.program_break import break_limit, move_break, place_behind

ORDER = 92
GROUPS = ("embedded",)
KNOWN_AS = {"newlib": "", "nano": "", "nano-malloc": "", "arm-none-eabi": "version=4.3", "stm32": "version=4.3", "mbed": ""}
ALSO_WITH = ("version=4.3",)
UNUSABLE = True
MAX_ALIGN = 8
CONTROL = "none"
VERSION = "newlib 3.3.0, 4.1, 4.3 and later"

ALIGN = 8  # MALLOC_ALIGN
LEAVES_HALF, NEW = 0, 1  # places in State.rover: 1 if realloc moves a block that would be half empty; if it is 4.3 or later


def init(
    capacity,
    max_live,
    version: Literal["3.3", "4.1", "4.3"] = "3.3",
    bits: Literal["32", "64"] = "32",
    pool=0,
):
    word = int(bits) // 8
    state = address_tree.init(break_limit(capacity, pool), max_live, align=word, min_block=8 + word, header=8)
    state.rover[LEAVES_HALF] = version != "3.3"
    state.rover[NEW] = version == "4.3"
    return state


def alloc(state, request):
    """Place a block in the lowest free block that it fits, or above the break; return its payload's address.

    Return NOWHERE if the break cannot go that far.
    """
    rules = state.rules
    size = max(align_up(request.size, rules.align) + rules.header, rules.min_block)
    state.ledger[BLOCK_SIZE] = size
    x = find_lowest(state, size)
    if x != 0 and state.rover[NEW] != 0:
        start = take(state, x, size, 1, request.block, address_tree)
    elif x != 0:
        start = place_behind(state, x, size, request.block, address_tree)
    else:
        start = move_break(state, state.ledger[RESERVED], size, request.block)
        if start == NOWHERE and state.rover[NEW] != 0:
            start = extend_last(state, size, request.block)
        if start == NOWHERE:
            return NOWHERE
    return align_up(start + rules.align, ALIGN)


@out_of_line
def extend_last(state, size, handle):
    """Give the block ``handle`` the last free block, if that touches the break, and move the break by what is missing.

    Return its start, or NOWHERE if there is no such block or the break cannot go that far.
    """
    nodes, ledger = state.nodes, state.ledger
    last = nodes[0].prev
    start, extent = nodes[last].addr, nodes[last].extent
    if nodes[last].free == 0 or start + size > state.rules.limit[0]:
        return np.int64(NOWHERE)
    ledger[RESERVED] = start + size
    ledger[RESERVE_CALLS] += 1
    close_hole(ledger, extent)
    address_tree.remove(state, last)
    nodes[last].free = 0
    nodes[last].extent = size
    state.node_of[handle] = last
    ledger[ALLOCATED] += size
    return start


def free(state, request, address):
    """Free the block with the handle ``request.block`` and merge it with its free neighbours; ``address`` is not used."""
    heap.release(state, state.node_of[request.block], address_tree)


@out_of_line
def resize(state, request, address, old_size):
    """Return ``address`` if the block holds ``request.size`` bytes, and not twice as many; else NOWHERE.

    ``old_size`` is not used. In version 3.3 it may hold any more.
    """
    x = state.node_of[request.block]
    usable = state.nodes[x].addr + state.nodes[x].extent - address
    stays = request.size <= usable and (state.rover[LEAVES_HALF] == 0 or usable >> 1 < request.size)
    return address if stays else NOWHERE
