"""RT-Thread's small memory (mem.c): first fit by address, merged at once; realloc is seldom in place.

A block is a header of 12 bytes (32 with `bits=64`), rounded up to `align`, and the request, rounded up to it too, at least
12 bytes (24). The lowest free block that is large enough serves the request; it is split, the request in front, if the rest
has room for a header and the least data.

realloc stays if the rounded size is the block's, cuts the block if more than a header and 12 bytes (24) become free, and
else always takes a new block, copies and frees, even where the next block is free, and also to shrink by less.

The pool is the capacity, or `pool`. In front lies the control structure, `control` bytes: 40 stands for a struct
rt_small_mem whose rt_object has no name; sizeof() in your build says what it is. A request of 0 bytes gets no block.

Cost: O(log n) in the number of free blocks; the search reported counts the free blocks alone, the real one walks the others
too.
Source: RT-Thread Nano 4.1.1 (44d75c7), rt-thread/src/mem.c.
"""

from typing import Literal

from memtrace.contract.bits import align_up
from memtrace.contract.calls import out_of_line
from memtrace.contract.request import NOWHERE
from memtrace.structures import address_tree, heap
from memtrace.structures.address_tree import State, expect_soon, largest_hole
from memtrace.structures.free_tail import releasable
from memtrace.structures.heap import expect
from memtrace.structures.lowest_hole import place_lowest
from memtrace.structures.whole_pool import cut_block, open_pool, pool_bytes

ORDER = 92
GROUPS = ("embedded",)
KNOWN_AS = {"rtt": "", "small-mem": "", "rt_malloc": ""}
UNUSABLE = True
TAKES_POOL = True
MAX_ALIGN = 4
CONTROL = "`control` (40) bytes at the start and one header at the end of the pool"
VERSION = "RT-Thread Nano 4.1.1 (44d75c7)"

HEADER = {"32": 12, "64": 32}  # bytes of a struct rt_small_mem_item
LEAST_DATA = {"32": 12, "64": 24}  # MIN_SIZE
LEAST = 0  # place in State.rover: MIN_SIZE, the bytes of data that realloc leaves free at least


def init(capacity, max_live, align=4, control=40, bits: Literal["32", "64"] = "32", pool=0):
    if align < 4 or align & (align - 1):
        raise ValueError(f"align={align} is not a power of two from 4 on")
    if control < 0:
        raise ValueError(f"control={control} is below 0")
    header, data = align_up(HEADER[bits], align), align_up(LEAST_DATA[bits], align)
    first = align_up(control, align)
    size = pool_bytes(capacity, pool, least=first + 2 * header + data)
    state = address_tree.init(size, max_live, align=align, min_block=header + data, header=header, zero="null")
    state.rover[LEAST] = LEAST_DATA[bits]
    return open_pool(state, size, [(first, (size & -align) - header)], address_tree)


def alloc(state, request):
    """Place a block at the front of the lowest free block that it fits; return the address behind its header.

    Return NOTHING for a request of 0 bytes, NOWHERE if no free block is large enough.
    """
    return place_lowest(state, request)


def free(state, request, address):
    """Free the block with the handle ``request.block`` and merge it with its free neighbours; ``address`` is not used."""
    heap.release(state, state.node_of[request.block], address_tree)


@out_of_line
def resize(state, request, address, old_size):
    """Return ``address`` if the block has just the new size, or can be cut by enough; else NOWHERE: the block moves.

    ``request`` has the block's handle and its new size; ``old_size`` is not used.
    """
    rules, x = state.rules, state.node_of[request.block]
    size = align_up(request.size, rules.align) + rules.header
    extent = state.nodes[x].extent
    if size == extent:
        return address
    if size + rules.header + state.rover[LEAST] < extent:
        cut_block(state, x, size, address_tree)
        return address
    return NOWHERE
