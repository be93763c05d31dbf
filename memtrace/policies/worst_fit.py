"""Worst fit: the largest hole in which the request fits; the lowest of equal ones.

Blocks take the low end of a hole and coalesce at once, unless `place`, `coalesce` or `order` says otherwise.

Cost: O(log n) in the number of holes; a request whose alignment
keeps it out of the largest holes looks at every hole of its size.
Source: Knuth, The Art of Computer Programming 1, 2.5; Wilson, Johnstone, Neely and Boles 1995, section 3.4.
"""

from typing import Literal

import numpy as np

from memtrace.contract.calls import out_of_line
from memtrace.contract.ledger import HOLES, INSPECTED
from memtrace.contract.request import NOTHING
from memtrace.policies.free_list_kinds import worst_fit as listed
from memtrace.structures import address_tree, heap
from memtrace.structures.address_tree import State, expect_soon, first_fit, largest_hole, lowest
from memtrace.structures.free_tail import releasable
from memtrace.structures.heap import expect, fits, request_block_size, take_or_grow
from memtrace.structures.rules import alignment

ORDER = 4
GROUPS = ("classic", "default")
COALESCES = True
VARIANTS = {
    "coalesce": {"never": listed},
    "order": {"lifo": listed, "fifo": listed},
    "place": {"tail": listed},
}


def init(
    capacity,
    max_live,
    place: Literal["front", "tail"] = "front",
    coalesce: Literal["now", "never"] = "now",
    order: Literal["address", "lifo", "fifo"] = "address",
    **options,
):
    # the values of `place`, `coalesce` and `order` have modules of their own, in VARIANTS
    return address_tree.init(capacity, max_live, **options)


def alloc(state, request):
    """Place a block in the largest hole that the request fits, the lowest of equals; return its address in bytes.

    If no hole fits, the heap grows. Return NOTHING if a request of 0 bytes gets no block (`zero=null`), NOWHERE if the heap
    cannot grow within the capacity. The number of holes inspected goes to the ledger.
    """
    size = request_block_size(state, request)
    if size == NOTHING:
        return NOTHING
    align = alignment(state.rules, request)
    state.ledger[INSPECTED] = state.ledger[HOLES]
    return take_or_grow(state, largest_fit(state, size, align), size, align, request, address_tree)


def largest_fit(state, size, align):
    """Return the node of the largest hole in which ``size`` bytes fit at the alignment, the lowest of equals; 0 if none fits.

    ``size`` and ``align`` are in bytes.
    """
    largest = largest_hole(state)
    if largest < size:
        return np.int64(0)
    x = lowest(state, largest)
    return x if fits(state.nodes[x], size, align) else largest_aligned(state, size, align)


@out_of_line
def largest_aligned(state, size, align):
    """Return the largest hole in which ``size`` bytes fit at the alignment, the lowest of equals; 0 if none fits.

    Called when the alignment keeps the request out of the lowest of the largest holes: every hole of at least ``size``
    bytes is looked at.
    """
    nodes = state.nodes
    found = np.int64(0)
    x = first_fit(state, 0, size, align)
    while x != 0:
        if found == 0 or nodes[x].extent > nodes[found].extent:
            found = x
        x = first_fit(state, nodes[x].addr + 1, size, align)
    return found


def free(state, request, address):
    """Free the block with the handle ``request.block``; its range coalesces with the holes beside it.

    With the option `trim` the free tail of the heap then goes back to the system. ``address`` is not used.
    """
    heap.free_block(state, request.block, address_tree)


def resize(state, request, address, old_size):
    """Resize a block in place: return ``address``, or NOWHERE if the block has to move.

    ``request`` has the block's handle, its new size and alignment; ``address`` is where the block starts. A block grows
    into the hole behind it, or at the top of the heap. ``old_size`` is not used.
    """
    return heap.resize_block(state, request, address, address_tree)


def trim(state):
    """Give the free tail of the heap back to the system, in whole chunks above what the heap reserved at the start."""
    heap.trim_top(state, address_tree)
