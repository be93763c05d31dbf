"""First fit: the lowest hole in which the request fits.

Blocks take the low end of a hole and coalesce at once. Cost: O(log n) in the number of holes; the search length that
is reported is the one a linear list in address order would have.
Source: Knuth, The Art of Computer Programming 1, 2.5; Wilson, Johnstone, Neely and Boles 1995, section 3.4.
"""

from memtrace.engine.request import NOTHING
from memtrace.structures import address_tree, heap
from memtrace.structures.address_tree import State, expect_soon, first_fit, init, largest_hole, rank
from memtrace.structures.free_tail import releasable
from memtrace.structures.heap import expect, open_request, take_or_grow
from memtrace.structures.ledger import HOLES, INSPECTED, SEARCHES
from memtrace.structures.rules import alignment

ORDER = 1
GROUPS = ("classic", "default")
COALESCES = True


def alloc(state, request):
    size = open_request(state, request)
    if size == NOTHING:
        return NOTHING
    align = alignment(state.rules, request)
    x = first_fit(state, 0, size, align)
    if state.ledger[SEARCHES] != 0:
        state.ledger[INSPECTED] = rank(state, x) + 1 if x != 0 else state.ledger[HOLES]
    return take_or_grow(state, x, size, align, request, address_tree)


def free(state, request, address):
    heap.free_block(state, request.block, address_tree)


def resize(state, request, address, old_size):
    return heap.resize_block(state, request, address, address_tree)


def trim(state):
    heap.trim_top(state, address_tree)
