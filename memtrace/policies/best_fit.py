"""Best fit: the smallest hole in which the request fits; the lowest of equal ones.

Blocks take the low end of a hole and coalesce at once. Cost: a bitmap finds the size, a pairing heap the address;
near constant, O(log n) amortised in the number of equal holes.
Source: Knuth, The Art of Computer Programming 1, 2.5; Wilson, Johnstone, Neely and Boles 1995, section 3.4.
"""

from memtrace.engine.request import NOTHING
from memtrace.structures import heap, size_bins
from memtrace.structures.free_tail import releasable
from memtrace.structures.heap import expect, expect_soon, open_request, take_or_grow
from memtrace.structures.ledger import HOLES, INSPECTED
from memtrace.structures.rules import alignment
from memtrace.structures.size_bins import State, best, init, largest_hole

ORDER = 3
GROUPS = ("classic", "default")
COALESCES = True


def alloc(state, request):
    size = open_request(state, request)
    if size == NOTHING:
        return NOTHING
    align = alignment(state.rules, request)
    state.ledger[INSPECTED] = state.ledger[HOLES]
    return take_or_grow(state, best(state, size, align), size, align, request, size_bins)


def free(state, request, address):
    heap.free_block(state, request.block, size_bins)


def resize(state, request, address, old_size):
    return heap.resize_block(state, request, address, size_bins)


def trim(state):
    heap.trim_top(state, size_bins)
