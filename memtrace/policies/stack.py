"""Stack: each block goes on top of the last; a block freed below the top waits until all above it is free.

A block's address is the mark to which the stack falls back when the block and everything above it are free. What waits
is a hole, and is counted as one, though nothing is placed in it; `waiting_bytes` in the timeline says how much does.

    |AAAA|....|CC|......      B was freed, and waits for C; when C is freed, the top falls to the end of A

Only the block on top grows in place. Without alignments and with blocks freed in the reverse order of their allocation
nothing is wasted. Reserved is the highest top so far, unless `trim` gives back what is above.

Cost: constant; a free joins what waits on both sides, so no free ever pops more than one piece.
Source: Knuth, The Art of Computer Programming 1, 2.2.2 (a stack in sequential memory); Gregory 2014, "Game Engine
Architecture", 5.2.1 (stack-based allocators, markers).
"""

from memtrace.engine.request import NOTHING, NOWHERE
from memtrace.structures import census, heap
from memtrace.structures.census import largest_hole
from memtrace.structures.class_lists import State, new_state
from memtrace.structures.heap import expect, open_request, tail_address
from memtrace.structures.ledger import FREE, RESERVED
from memtrace.structures.rules import alignment, block_size

ORDER = 80
COALESCES = True
COUNTERS = ("waiting_bytes",)


def init(capacity, max_live, **options):
    return new_state(capacity, max_live, 5, 9, 62, False, **options)


def alloc(state, request):
    size = open_request(state, request)
    if size == NOTHING:
        return NOTHING
    address = tail_address(state, alignment(state.rules, request))
    if address + size <= state.ledger[RESERVED]:
        return heap.place(state, state.nodes[0].prev, address, size, request.block, census)
    return heap.grow(state, address, size, request.block, census)


def free(state, request, address):
    heap.free_block(state, request, census)


def resize(state, request, address, old_size):
    """In place: a smaller block, or the one on top."""
    nodes = state.nodes
    x = state.node_of[request.block]
    if block_size(state.rules, request.size) > nodes[x].extent:
        above = nodes[x].next
        if above != 0 and (nodes[above].free == 0 or nodes[above].next != 0):
            return NOWHERE
    return heap.resize_block(state, request, address, census)


def trim(state):
    heap.trim_top(state, census)


def write_counters(state, row):
    tail = state.nodes[0].prev
    row[0] = state.ledger[FREE] - (state.nodes[tail].extent if state.nodes[tail].free == 1 else 0)
