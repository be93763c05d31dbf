"""Next fit: as first fit, but the search goes on where the last one succeeded, and wraps round once.

The rover is the address of the block that the last successful search placed; a request that makes the heap grow does
not move it. A hole that contains the rover is looked at first.

         rover
    |AA|...|BB|..|CC|.....|      if BB is freed, the hole `...BB..` contains the rover and comes first

Cost: O(log n) in the number of holes; the search length is the one of a linear list in address order.
Source: Knuth, The Art of Computer Programming 1, 2.5, exercise 6; Bryant and O'Hallaron, CS:APP 9.9.
"""

from memtrace.contract.calls import out_of_line
from memtrace.contract.ledger import COUNT_INSPECTED, HOLES, INSPECTED
from memtrace.contract.request import NOTHING
from memtrace.structures import address_tree, heap
from memtrace.structures.address_tree import (
    State,
    expect_soon,
    first_fit,
    hole_at,
    holes_below,
    init,
    largest_hole,
    lowest_from,
)
from memtrace.structures.free_tail import releasable
from memtrace.structures.heap import expect, request_block_size, take_or_grow
from memtrace.structures.rules import alignment

ORDER = 2
GROUPS = ("classic", "default")
COALESCES = True

# places in State.rover, both addresses in bytes
ROVER = 0  # the block that the last successful search placed
SEARCH_START = 1  # where the next search starts: the hole that contains the rover, or the rover itself


def alloc(state, request):
    """Place a block in the first hole from the rover on that the request fits; return its address in bytes.

    The search wraps round once, then the heap grows, which does not move the rover. Return NOTHING if a request of 0 bytes
    gets no block (`zero=null`), NOWHERE if the heap cannot grow within the capacity.
    """
    size = request_block_size(state, request)
    if size == NOTHING:
        return NOTHING
    align = alignment(state.rules, request)
    rover = state.rover
    low = rover[SEARCH_START]
    x = first_fit(state, low, size, align)
    wrapped = x == 0
    if wrapped:
        x = first_fit(state, 0, size, align)
    if state.ledger[COUNT_INSPECTED] != 0:
        state.ledger[INSPECTED] = holes_inspected(state, low, x, wrapped)
    address = take_or_grow(state, x, size, align, request, address_tree)
    if x == 0:
        update_search_start(state)
    else:
        rover[ROVER] = address
        rover[SEARCH_START] = address
    return address


def holes_inspected(state, low, x, wrapped):
    """Return how many holes a search from address ``low`` looks at up to and with hole x.

    ``x`` is the node index of the hole found; 0 means that none fits, so all holes were looked at. ``wrapped``: the search
    passed the highest hole and went on from the lowest.
    """
    holes = state.ledger[HOLES]
    if x == 0:
        return holes
    start = lowest_from(state, low, 1)
    skipped = holes_below(state, start) if start != 0 else holes
    return holes_below(state, x) + 1 - skipped + (holes if wrapped else 0)


@out_of_line
def update_search_start(state):
    """Set the address at which the next search starts: that of the hole that contains the rover, else the rover itself.

    Called after a growth, a resize or a trim, since each of them may change that hole.
    """
    hole = hole_at(state, state.rover[ROVER])
    state.rover[SEARCH_START] = state.nodes[hole].addr if hole != 0 else state.rover[ROVER]


def free(state, request, address):
    """Free the block with the handle ``request.block``; its range coalesces with the holes beside it.

    If the resulting hole contains the rover, the next search starts at that hole. With the option `trim` the free tail of
    the heap then goes back to the system. ``address`` is not used.
    """
    hole = heap.free_block(state, request.block, address_tree)
    if state.rules.trim:
        update_search_start(state)  # the trim may have shortened or removed the hole
        return
    start, rover = state.nodes[hole].addr, state.rover
    if start < rover[ROVER] and rover[ROVER] < start + state.nodes[hole].extent:
        rover[SEARCH_START] = start


def resize(state, request, address, old_size):
    """Resize a block in place: return ``address``, or NOWHERE if the block has to move.

    ``request`` has the block's handle, its new size and alignment; ``address`` is where the block starts. A block grows
    into the hole behind it, or at the top of the heap. ``old_size`` is not used. The start of the next search is set anew.
    """
    address = heap.resize_block(state, request, address, address_tree)
    if address >= 0:
        update_search_start(state)
    return address


def trim(state):
    """Give the free tail of the heap back to the system, in whole chunks above what the heap reserved at the start.

    The start of the next search is set anew.
    """
    heap.trim_top(state, address_tree)
    update_search_start(state)
