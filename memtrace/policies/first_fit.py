"""First fit: the lowest hole in which the request fits.

Blocks take the low end of a hole and coalesce at once, unless `place`, `coalesce` or `order` says otherwise.

Cost: O(log n) in the number of holes; the search length that
is reported is the one a linear list in address order would have.
Source: Knuth, The Art of Computer Programming 1, 2.5; Wilson, Johnstone, Neely and Boles 1995, section 3.4.
"""

from typing import Literal

from memtrace.contract.ledger import COUNT_INSPECTED, HOLES, INSPECTED
from memtrace.contract.request import NOTHING
from memtrace.policies.free_list_kinds import first_fit as listed
from memtrace.policies.free_list_kinds import search_fit
from memtrace.structures import address_tree, heap
from memtrace.structures.address_tree import State, expect_soon, first_fit, holes_below, largest_hole
from memtrace.structures.free_tail import releasable
from memtrace.structures.heap import expect, request_block_size, take_or_grow
from memtrace.structures.rules import alignment

ORDER = 1
GROUPS = ("classic", "default")
COALESCES = True
VARIANTS = {
    "coalesce": {"search": search_fit, "never": listed},
    "order": {"lifo": listed, "fifo": listed, "size": listed},
    "place": {"tail": listed},
}


def init(
    capacity,
    max_live,
    place: Literal["front", "tail"] = "front",
    coalesce: Literal["now", "search", "never"] = "now",
    order: Literal["address", "lifo", "fifo", "size"] = "address",
    **options,
):
    # the values of `place`, `coalesce` and `order` have modules of their own, in VARIANTS
    return address_tree.init(capacity, max_live, **options)


def alloc(state, request):
    """Place a block in the lowest hole that the request fits; return its address in bytes.

    If no hole fits, the heap grows. Return NOTHING if a request of 0 bytes gets no block (`zero=null`), NOWHERE if the heap
    cannot grow within the capacity. The number of holes inspected goes to the ledger.
    """
    size = request_block_size(state, request)
    if size == NOTHING:
        return NOTHING
    align = alignment(state.rules, request)
    x = first_fit(state, 0, size, align)
    if state.ledger[COUNT_INSPECTED] != 0:
        state.ledger[INSPECTED] = holes_below(state, x) + 1 if x != 0 else state.ledger[HOLES]
    return take_or_grow(state, x, size, align, request, address_tree)


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
