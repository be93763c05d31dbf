"""Bump: each block goes above all blocks so far, and nothing is used again. The upper bound.

A freed block stays a hole for good, and is counted as one; no hole serves a request. Only the highest block grows in
place. Cost: constant.
Source: arena or region allocation without its reset; Hanson 1990, "Fast allocation and deallocation of memory based on
object lifetimes".
"""

from memtrace.contract.bits import align_up
from memtrace.contract.ledger import RESERVED
from memtrace.contract.request import NOTHING, NOWHERE
from memtrace.structures import heap, hole_list
from memtrace.structures.heap import expect, expect_soon, request_block_size
from memtrace.structures.hole_list import State, init, largest_hole
from memtrace.structures.rules import alignment, block_size

ORDER = 90

NEXT = 0  # place in State.rover: the address at which the highest block so far ended


def alloc(state, request):
    """Place a block above all blocks placed so far, at the request's alignment; return its address in bytes.

    Return NOTHING if a request of 0 bytes gets no block (`zero=null`), NOWHERE if the heap cannot grow within the capacity.
    """
    size = request_block_size(state, request)
    if size == NOTHING:
        return NOTHING
    align = alignment(state.rules, request)
    address = align_up(state.rover[NEXT], align)
    return place_at_end(state, address, size, request.block)


def place_at_end(state, address, size, handle):
    """Place a block of ``size`` bytes at ``address``, which lies at or above the end of all blocks; return the address.

    The block takes the free tail of the heap if it fits in what is reserved, else the heap grows. Return NOWHERE if the
    heap cannot grow within the capacity.
    """
    tail = state.nodes[0].prev
    if address + size <= state.ledger[RESERVED]:
        placed = heap.place(state, tail, address, size, handle, hole_list)
    else:
        placed = heap.grow(state, address, size, handle, hole_list)
    if placed != NOWHERE:
        note_end(state, handle)
    return placed


def note_end(state, handle):
    """Raise the end of the highest block so far to the end of the block with this handle, if that is higher."""
    node = state.nodes[state.node_of[handle]]
    state.rover[NEXT] = max(state.rover[NEXT], node.addr + node.extent)


def free(state, request, address):
    """Free the block with the handle ``request.block``; its range coalesces with the holes beside it.

    With the option `trim` the free tail of the heap then goes back to the system. ``address`` is not used. Later requests
    never use the hole.
    """
    heap.free_block(state, request.block, hole_list)


def resize(state, request, address, old_size):
    """Resize a block in place if it shrinks, or if it is the highest block; return ``address``, else NOWHERE.

    ``request`` has the block's handle, its new size and alignment; ``address`` is where the block starts. ``old_size`` is
    not used.
    """
    x = state.node_of[request.block]
    size = state.nodes[x].extent
    if block_size(state.rules, request.size) > size and address + size != state.rover[NEXT]:
        return NOWHERE
    address = heap.resize_block(state, request, address, hole_list)
    if address >= 0:
        note_end(state, request.block)
    return address


def trim(state):
    """Give the free tail of the heap back to the system, in whole chunks above what the heap reserved at the start."""
    heap.trim_top(state, hole_list)
