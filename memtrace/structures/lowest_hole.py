"""First fit in a pool of fixed size, for heaps that put a header in front of each block."""

from memtrace.contract.ledger import COUNT_INSPECTED, HOLES, INSPECTED
from memtrace.contract.request import NOTHING, NOWHERE
from memtrace.structures import address_tree
from memtrace.structures.address_tree import holes_below, lowest
from memtrace.structures.heap import request_block_size, take


def find_lowest(state, size):
    """Return the lowest hole of at least ``size`` bytes, as a node, 0 if there is none, and count the holes inspected."""
    x = lowest(state, size)
    if state.ledger[COUNT_INSPECTED] != 0:
        state.ledger[INSPECTED] = holes_below(state, x) + 1 if x != 0 else state.ledger[HOLES]
    return x


def place_lowest(state, request):
    """Place a block at the front of the lowest hole that it fits; return the address behind its header.

    Return NOTHING for 0 bytes if the rules say so, NOWHERE if no hole is large enough.
    """
    size = request_block_size(state, request)
    if size == NOTHING:
        return NOTHING
    x = find_lowest(state, size)
    if x == 0:
        return NOWHERE
    return take(state, x, size, 1, request.block, address_tree) + state.rules.header
