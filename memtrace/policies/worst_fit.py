"""Worst fit: the largest hole in which the request fits; the lowest of equal ones.

Blocks take the low end of a hole and coalesce at once. Cost: O(log n) in the number of holes; a request whose alignment
keeps it out of the largest holes looks at every hole of its size.
Source: Knuth, The Art of Computer Programming 1, 2.5; Wilson, Johnstone, Neely and Boles 1995, section 3.4.
"""

import numpy as np

from memtrace.engine.request import NOTHING
from memtrace.structures import address_tree, heap
from memtrace.structures.address_tree import State, expect_soon, first_fit, init, largest_hole, lowest
from memtrace.structures.calls import apart
from memtrace.structures.free_tail import releasable
from memtrace.structures.heap import expect, fits, open_request, take_or_grow
from memtrace.structures.ledger import HOLES, INSPECTED
from memtrace.structures.rules import alignment

ORDER = 4
GROUPS = ("classic", "default")
COALESCES = True


def alloc(state, request):
    size = open_request(state, request)
    if size == NOTHING:
        return NOTHING
    align = alignment(state.rules, request)
    state.ledger[INSPECTED] = state.ledger[HOLES]
    return take_or_grow(state, largest_fit(state, size, align), size, align, request, address_tree)


def largest_fit(state, size, align):
    largest = largest_hole(state)
    if largest < size:
        return np.int64(0)
    x = lowest(state, largest)
    return x if fits(state.nodes[x], size, align) else largest_aligned(state, size, align)


@apart
def largest_aligned(state, size, align):
    """The largest hole does not fit, because of the alignment: look at all that are large enough."""
    nodes = state.nodes
    found = np.int64(0)
    x = first_fit(state, 0, size, align)
    while x != 0:
        if found == 0 or nodes[x].extent > nodes[found].extent:
            found = x
        x = first_fit(state, nodes[x].addr + 1, size, align)
    return found


def free(state, request, address):
    heap.free_block(state, request.block, address_tree)


def resize(state, request, address, old_size):
    return heap.resize_block(state, request, address, address_tree)


def trim(state):
    heap.trim_top(state, address_tree)
