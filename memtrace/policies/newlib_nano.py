"""newlib's nano malloc: first fit by address, the block at the tail of the hole; `sbrk` of just what is missing.

A block is a word, the request rounded up to words, and padding so that its address can be made a multiple of 8: at least 12
bytes with `bits=32`, in multiples of 4. The lowest free block that is large enough serves the request: its front stays free
if it has 12 bytes, else the block takes all of it. If none is large enough, the heap grows by the whole block, whatever is
free at its end. A freed block merges with its free neighbours at once, and nothing is given back. 0 bytes get the smallest
block.

realloc stays if what the block holds is enough, and cuts nothing; else alloc, copy, free.

Reserved is what sbrk has given; the capacity, or `pool`, bounds it. The heap's start is a multiple of 8.

Cost: O(log n) in the number of free blocks; the search reported is that of the real list.
Source: newlib 3.3.0, newlib/libc/stdlib/nano-mallocr.c.
"""

from typing import Literal

from memtrace.contract.bits import align_up
from memtrace.contract.calls import out_of_line
from memtrace.contract.ledger import BLOCK_SIZE, RESERVED
from memtrace.contract.request import NOWHERE
from memtrace.structures import address_tree, heap
from memtrace.structures.address_tree import State, expect_soon, largest_hole
from memtrace.structures.free_tail import releasable
from memtrace.structures.heap import expect
from memtrace.structures.lowest_hole import find_lowest
from memtrace.structures.program_break import break_limit, move_break, place_behind

ORDER = 92
GROUPS = ("embedded",)
UNUSABLE = True
MAX_ALIGN = 8
CONTROL = "none"
VERSION = "newlib 3.3.0"

ALIGN = 8  # MALLOC_ALIGN


def init(capacity, max_live, bits: Literal["32", "64"] = "32", pool=0):
    word = int(bits) // 8
    return address_tree.init(break_limit(capacity, pool), max_live, align=word, min_block=8 + word, header=8)


def alloc(state, request):
    """Place a block at the end of the lowest free block that it fits, or above the break; return its payload's address.

    Return NOWHERE if the break cannot go that far.
    """
    rules = state.rules
    size = max(align_up(request.size, rules.align) + rules.header, rules.min_block)
    state.ledger[BLOCK_SIZE] = size
    x = find_lowest(state, size)
    if x != 0:
        start = place_behind(state, x, size, request.block, address_tree)
    else:
        start = move_break(state, state.ledger[RESERVED], size, request.block)
        if start == NOWHERE:
            return NOWHERE
    return align_up(start + rules.align, ALIGN)


def free(state, request, address):
    """Free the block with the handle ``request.block`` and merge it with its free neighbours; ``address`` is not used."""
    heap.release(state, state.node_of[request.block], address_tree)


@out_of_line
def resize(state, request, address, old_size):
    """Return ``address`` if the block holds ``request.size`` bytes, else NOWHERE; ``old_size`` is not used."""
    x = state.node_of[request.block]
    return address if address + request.size <= state.nodes[x].addr + state.nodes[x].extent else NOWHERE
