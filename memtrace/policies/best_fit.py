"""Best fit: the smallest hole in which the request fits; the lowest of equal ones.

Blocks take the low end of a hole and coalesce at once, unless `place`, `coalesce` or `order` says otherwise.

Cost: a bitmap finds the size, a pairing heap the address;
near constant, O(log n) amortised in the number of equal holes.
Source: Knuth, The Art of Computer Programming 1, 2.5; Wilson, Johnstone, Neely and Boles 1995, section 3.4.
"""

from typing import Literal

from memtrace.contract.ledger import HOLES, INSPECTED
from memtrace.contract.request import NOTHING
from memtrace.policies.free_list_kinds import best_fit as listed
from memtrace.structures import heap, size_bins
from memtrace.structures.free_tail import releasable
from memtrace.structures.heap import expect, expect_soon, request_block_size, take_or_grow
from memtrace.structures.rules import alignment
from memtrace.structures.size_bins import State, best, largest_hole

ORDER = 3
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
    return size_bins.init(capacity, max_live, **options)


def alloc(state, request):
    """Place a block in the smallest hole that the request fits, the lowest of equals; return its address in bytes.

    If no hole fits, the heap grows. Return NOTHING if a request of 0 bytes gets no block (`zero=null`), NOWHERE if the heap
    cannot grow within the capacity. The number of holes inspected goes to the ledger.
    """
    size = request_block_size(state, request)
    if size == NOTHING:
        return NOTHING
    align = alignment(state.rules, request)
    state.ledger[INSPECTED] = state.ledger[HOLES]
    return take_or_grow(state, best(state, size, align), size, align, request, size_bins)


def free(state, request, address):
    """Free the block with the handle ``request.block``; its range coalesces with the holes beside it.

    With the option `trim` the free tail of the heap then goes back to the system. ``address`` is not used.
    """
    heap.free_block(state, request.block, size_bins)


def resize(state, request, address, old_size):
    """Resize a block in place: return ``address``, or NOWHERE if the block has to move.

    ``request`` has the block's handle, its new size and alignment; ``address`` is where the block starts. A block grows
    into the hole behind it, or at the top of the heap. ``old_size`` is not used.
    """
    return heap.resize_block(state, request, address, size_bins)


def trim(state):
    """Give the free tail of the heap back to the system, in whole chunks above what the heap reserved at the start."""
    heap.trim_top(state, size_bins)
