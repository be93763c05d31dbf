"""Bump: each block goes above all blocks so far, and nothing is used again. The upper bound.

What is freed stays a hole for good, and is counted as one. Cost: constant, plus O(log n) to keep count of the holes.
Source: arena or region allocation without its reset; Hanson 1990, "Fast allocation and deallocation of memory based on
object lifetimes".
"""

from memtrace.engine.request import NOTHING, NOWHERE
from memtrace.structures import address_tree, heap
from memtrace.structures.address_tree import State, expect_soon, init, largest_hole
from memtrace.structures.bits import align_up
from memtrace.structures.heap import expect, open_request
from memtrace.structures.ledger import RESERVED
from memtrace.structures.rules import alignment, block_size

ORDER = 90

NEXT = 0  # in rover: the end of the highest block so far


def alloc(state, request):
    size = open_request(state, request)
    if size == NOTHING:
        return NOTHING
    align = alignment(state.rules, request)
    address = align_up(state.rover[NEXT], align)
    return put(state, address, size, request.block)


def put(state, address, size, handle):
    """Place a block at the end, in what the heap has above or what it grows by."""
    tail = state.nodes[0].prev
    if address + size <= state.ledger[RESERVED]:
        placed = heap.place(state, tail, address, size, handle, address_tree)
    else:
        placed = heap.grow(state, address, size, handle, address_tree)
    if placed != NOWHERE:
        note_end(state, handle)
    return placed


def note_end(state, handle):
    node = state.nodes[state.node_of[handle]]
    state.rover[NEXT] = max(state.rover[NEXT], node.addr + node.extent)


def free(state, request, address):
    heap.free_block(state, request.block, address_tree)


def resize(state, request, address, old_size):
    """In place: a smaller block, or the last one."""
    x = state.node_of[request.block]
    size = state.nodes[x].extent
    if block_size(state.rules, request.size) > size and address + size != state.rover[NEXT]:
        return NOWHERE
    address = heap.resize_block(state, request, address, address_tree)
    if address >= 0:
        note_end(state, request.block)
    return address


def trim(state):
    heap.trim_top(state, address_tree)
