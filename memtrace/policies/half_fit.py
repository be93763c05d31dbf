"""Half fit: the hole freed last in the first power-of-two class whose holes are all large enough. Constant time.

A hole of 2^i to 2^(i+1) - 1 bytes (less one header) is in list i; a request of r bytes begins at list ceil(log2(r)) and
takes the head of the first list that is not empty. So a hole of less than twice the request may be passed over, though
it is large enough. Blocks are cut to the request and take the low end of the hole; holes coalesce at once; lists are
last in, first out (the paper leaves the order open): the head is the hole that was freed or cut last. It is two-level segregated
fit without the second level.

A request that no list serves makes the heap grow until the search would find its tail. It fails if that is above the capacity,
even where the request itself would fit; so it does in a fixed pool. An aligned request looks for a hole that is sure to fit:
larger by its alignment, less the alignment that all holes have.

Cost: constant: one bit scan finds the list.
Source: Ogasawara 1995, "An algorithm with constant execution time for dynamic storage allocation", section 3.
"""

from memtrace.contract.ledger import INSPECTED
from memtrace.contract.request import NOTHING
from memtrace.structures import class_lists, heap
from memtrace.structures.class_lists import State, find, grow, largest_hole, new_state, wanted_hole
from memtrace.structures.free_tail import releasable
from memtrace.structures.heap import expect, expect_soon, request_block_size, take
from memtrace.structures.rules import alignment

ORDER = 9
COALESCES = True


def init(capacity, max_live, **options):
    return new_state(capacity, max_live, 0, 0, 62, False, **options)


def alloc(state, request):
    """Place a block in the hole freed last of the first size class whose holes all fit; return its address in bytes.

    Return NOTHING if a request of 0 bytes gets no block (`zero=null`). If no list has a hole that is sure to fit, the heap
    grows; return NOWHERE if it cannot within the capacity.
    """
    size = request_block_size(state, request)
    if size == NOTHING:
        return NOTHING
    align = alignment(state.rules, request)
    wanted = wanted_hole(state, size, align)
    x = find(state, wanted)
    if x == 0:
        return grow(state, size, wanted, align, request.block, class_lists)
    state.ledger[INSPECTED] = 1
    return take(state, x, size, align, request.block, class_lists)


def free(state, request, address):
    """Free the block with the handle ``request.block``; its range coalesces with the holes beside it.

    With the option `trim` the free tail of the heap then goes back to the system. ``address`` is not used.
    """
    heap.free_block(state, request.block, class_lists)


def resize(state, request, address, old_size):
    """Resize a block in place: return ``address``, or NOWHERE if the block has to move.

    ``request`` has the block's handle, its new size and alignment; ``address`` is where the block starts. A block grows
    into the hole behind it, or at the top of the heap. ``old_size`` is not used.
    """
    return heap.resize_block(state, request, address, class_lists)


def trim(state):
    """Give the free tail of the heap back to the system, in whole chunks above what the heap reserved at the start."""
    heap.trim_top(state, class_lists)
