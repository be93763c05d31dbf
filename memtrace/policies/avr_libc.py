"""avr-libc's malloc: best fit, the block at the tail of the hole; nothing is rounded, and the heap's end falls again.

A block is `word` bytes (2 on AVR) for its size and the request, at least `word` bytes; addresses have any parity. A free
block of just the size serves the request, else the smallest that is large enough, of equals the lowest. It is taken whole if
less than two words would be left; else the block is its tail, and the front stays free. If none is large enough, the heap's
end rises by the block. A freed block at the end lowers the end, and so does the last free block if it then touches it; any
other merges with its free neighbours.

realloc cuts a block if two words and more become free; grows it into the free block behind, or at the end of the heap if no
free block is as large as the request; else alloc, copy, free.

Reserved is what lies below the heap's end. The capacity, or `pool`, is what it may rise to: on AVR that is the stack pointer
less __malloc_margin (32 bytes), or __malloc_heap_end.

Cost: O(log n) in the number of free blocks. The search is not counted: the real one walks the list up to a block of just the
size, or all of it.
Source: avr-libc 2.3 (b6c2bb8), libc/stdlib/malloc.c and realloc.c.
"""

from memtrace.contract.calls import out_of_line
from memtrace.contract.ledger import ALLOCATED, BLOCK_SIZE, MERGES, RESERVED, SPLITS
from memtrace.contract.request import NOWHERE
from memtrace.structures import heap, size_bins
from memtrace.structures.free_tail import releasable
from memtrace.structures.heap import change_hole_out_of_line, drop_hole, drop_node, expect, expect_soon, unlink
from memtrace.structures.program_break import break_limit, move_break, place_behind
from memtrace.structures.size_bins import State, best, largest_hole
from memtrace.structures.whole_pool import cut_block

ORDER = 92
GROUPS = ("embedded",)
KNOWN_AS = {"avr": "", "arduino": "", "atmega": ""}
UNUSABLE = True
MAX_ALIGN = 1
NOT_COUNTED = ("searches", "calls")
CONTROL = "none"
VERSION = "avr-libc 2.3 (b6c2bb8)"


def init(capacity, max_live, word=2, pool=0):
    if word not in (2, 4):
        raise ValueError(f"word={word} is neither 2 nor 4")
    return size_bins.init(break_limit(capacity, pool), max_live, align=1, min_block=2 * word, header=word)


def block_bytes(state, request):
    """Return the bytes of the block for a request."""
    word = state.rules.header
    return max(request.size, word) + word


def alloc(state, request):
    """Place a block in the smallest free block that it fits, or at the heap's end; return its payload's address.

    Return NOWHERE if the end cannot rise that far.
    """
    size = block_bytes(state, request)
    state.ledger[BLOCK_SIZE] = size
    x = best(state, size, 1)
    if x != 0:
        start = place_behind(state, x, size, request.block, size_bins)
    else:
        start = move_break(state, state.ledger[RESERVED], size, request.block)
        if start == NOWHERE:
            return NOWHERE
    return start + state.rules.header


def free(state, request, address):
    """Free the block with the handle ``request.block``: merge it with its free neighbours, or lower the heap's end to it.

    ``address`` is not used.
    """
    nodes, ledger = state.nodes, state.ledger
    x = state.node_of[request.block]
    if nodes[x].addr + nodes[x].extent != ledger[RESERVED]:
        heap.release(state, x, size_bins)
        return
    ledger[RESERVED] = nodes[x].addr
    ledger[ALLOCATED] -= nodes[x].extent
    unlink(nodes, x)
    drop_node(state, x)
    last = nodes[0].prev
    if nodes[last].free == 1:
        ledger[RESERVED] = nodes[last].addr
        drop_hole(state, last, size_bins)


@out_of_line
def resize(state, request, address, old_size):
    """Resize a block in place, into the free block behind or at the heap's end; return ``address``, NOWHERE if it has to move.

    ``request`` has the block's handle and its new size; ``old_size`` is not used.
    """
    nodes, ledger, least = state.nodes, state.ledger, state.rules.split
    x = state.node_of[request.block]
    size, own, hole = block_bytes(state, request), nodes[x].extent, nodes[x].next
    end = nodes[x].addr + own
    if size <= own:
        if own - size >= least and end != ledger[RESERVED]:
            cut_block(state, x, size, size_bins)
        elif own - size >= least:
            set_end(state, x, size)
        return address
    if nodes[hole].free == 1 and own + nodes[hole].extent >= size:
        take_in(state, x, hole, size)
        return address
    if end == ledger[RESERVED] and size > largest_hole(state) and nodes[x].addr + size < state.rules.limit[0]:
        set_end(state, x, size)
        return address
    return NOWHERE


def set_end(state, x, size):
    """Give block x, which is at the heap's end, ``size`` bytes, and move the end to where it ends then."""
    node, ledger = state.nodes[x], state.ledger
    ledger[ALLOCATED] += size - node.extent
    ledger[RESERVED] = node.addr + size
    state.nodes[x].extent = size


def take_in(state, x, hole, size):
    """Grow block x to ``size`` bytes into the hole behind it; what is left stays a hole only if it is more than two words."""
    nodes, ledger = state.nodes, state.ledger
    rest = nodes[x].extent + nodes[hole].extent - size
    if rest > state.rules.split:
        change_hole_out_of_line(state, hole, nodes[x].addr + size, rest, size_bins)
        ledger[SPLITS] += 1
    else:
        size += rest
        drop_hole(state, hole, size_bins)
        ledger[MERGES] += 1
    ledger[ALLOCATED] += size - nodes[x].extent
    nodes[x].extent = size
