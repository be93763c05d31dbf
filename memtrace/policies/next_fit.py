"""Next fit: as first fit, but the search goes on where the last one succeeded, and wraps round once.

The rover is the address of the block that the last successful search placed; a request that makes the heap grow leaves
it. A hole that contains the rover is looked at first.

         rover
    |AA|...|BB|..|CC|.....|      if BB is freed, the hole `...BB..` contains the rover and comes first

Cost: O(log n) in the number of holes; the search length is the one of a linear list in address order.
Source: Knuth, The Art of Computer Programming 1, 2.5, exercise 6; Bryant and O'Hallaron, CS:APP 9.9.
"""

from memtrace.engine.request import NOTHING
from memtrace.structures import address_tree, heap
from memtrace.structures.address_tree import (
    State,
    expect_soon,
    first_fit,
    hole_at,
    init,
    largest_hole,
    lowest_from,
    rank,
)
from memtrace.structures.calls import apart
from memtrace.structures.free_tail import releasable
from memtrace.structures.heap import expect, open_request, take_or_grow
from memtrace.structures.ledger import HOLES, INSPECTED, SEARCHES
from memtrace.structures.rules import alignment

ORDER = 2
GROUPS = ("classic", "default")
COALESCES = True

ROVER = 0
FROM = 1  # where the search starts: the hole that contains the rover, or the rover itself


def alloc(state, request):
    size = open_request(state, request)
    if size == NOTHING:
        return NOTHING
    align = alignment(state.rules, request)
    rover = state.rover
    low = rover[FROM]
    x = first_fit(state, low, size, align)
    wrapped = x == 0
    if wrapped:
        x = first_fit(state, 0, size, align)
    if state.ledger[SEARCHES] != 0:
        state.ledger[INSPECTED] = inspected(state, low, x, wrapped)
    address = take_or_grow(state, x, size, align, request, address_tree)
    if x == 0:
        settle_rover(state)
    else:
        rover[ROVER] = address
        rover[FROM] = address
    return address


def inspected(state, low, x, wrapped):
    """Holes looked at from ``low`` on, round to and with hole x (0: all)."""
    holes = state.ledger[HOLES]
    if x == 0:
        return holes
    start = lowest_from(state, low, 1)
    skipped = rank(state, start) if start != 0 else holes
    return rank(state, x) + 1 - skipped + (holes if wrapped else 0)


@apart
def settle_rover(state):
    """Find the hole that contains the rover, after a change that was no search."""
    hole = hole_at(state, state.rover[ROVER])
    state.rover[FROM] = state.nodes[hole].addr if hole != 0 else state.rover[ROVER]


def free(state, request, address):
    hole = heap.free_block(state, request.block, address_tree)
    if state.rules.trim:
        settle_rover(state)  # the hole may be cut or gone
        return
    start, rover = state.nodes[hole].addr, state.rover
    if start < rover[ROVER] and rover[ROVER] < start + state.nodes[hole].extent:
        rover[FROM] = start


def resize(state, request, address, old_size):
    address = heap.resize_block(state, request, address, address_tree)
    if address >= 0:
        settle_rover(state)
    return address


def trim(state):
    heap.trim_top(state, address_tree)
    settle_rover(state)
