"""Zephyr's sys_heap (k_malloc, k_heap): rings by powers of two, three tries in the request's own, then a larger one.

Chunks are counted in units of 8 bytes, header included: 4 bytes in a small heap, of up to 32,767 units on a device of 32
bits; 8 in a big one and with `bits=64`. Free chunks are in rings by powers of two, to whose ends they are freed. A request
looks at up to `tries` chunks of its own ring; each that is too small moves the ring's head on for good. Then the head of the
first larger ring that is not empty serves it. All that is left is split off, behind the request. A freed chunk merges with
its free neighbours at once.

realloc cuts the chunk, or grows it into the free chunk behind; else alloc, copy, free.

The pool is the capacity, or `pool`. In front lies the control structure, 16 bytes and 4 for each ring; at the end a header.
A request of 0 bytes gets no chunk. `tries=3`: CONFIG_SYS_HEAP_ALLOC_LOOPS. Requests with an alignment of their own get 4
bytes: the real sys_heap_aligned_alloc is not modelled.

Cost: constant.
Source: Zephyr 01b8849, lib/heap/heap.c and heap.h.
"""

from typing import Literal

from memtrace.contract.bits import highest_set
from memtrace.contract.calls import out_of_line
from memtrace.contract.ledger import BLOCK_SIZE
from memtrace.contract.request import NOTHING, NOWHERE
from memtrace.structures import bucket_rings, heap
from memtrace.structures.bucket_rings import UNIT, State, find, largest_hole, new_state
from memtrace.structures.free_tail import releasable
from memtrace.structures.heap import expect, expect_soon, grow_into_hole, take
from memtrace.structures.whole_pool import cut_block, open_pool, pool_bytes

ORDER = 92
GROUPS = ("embedded",)
KNOWN_AS = {"sys_heap": "", "k_heap": "", "k_malloc": "", "nrf": ""}
UNUSABLE = True
TAKES_POOL = True
MAX_ALIGN = 4
CONTROL = "16 bytes and 4 for each ring, in units of 8, at the start: 56 in 4 KiB, 72 in 64 KiB; a header at the end"
VERSION = "Zephyr 01b8849"

SMALL_UNITS = 0x7FFF  # units up to which a heap is small


def init(capacity, max_live, bits: Literal["32", "64"] = "32", tries=3, pool=0):
    if tries < 1:
        raise ValueError(f"tries={tries} is below 1")
    size = pool_bytes(capacity, pool, least=64)
    footer = 8 if bits == "64" or size // UNIT > SMALL_UNITS else 4
    end = (size - footer) // UNIT
    header = 8 if bits == "64" or end > SMALL_UNITS else 4
    least = 1 + header // UNIT
    rings = int(highest_set(end - least + 1)) + 1
    first = -(-(16 + 4 * rings) // UNIT)
    size = pool_bytes(capacity, pool, least=(first + least) * UNIT + footer)
    state = new_state(size, max_live, least, tries, align=UNIT, min_block=UNIT, header=header)
    return open_pool(state, size, [(first * UNIT, end * UNIT)], bucket_rings)


def chunk_bytes(state, request):
    """Return the bytes of the chunk for a request, in whole units."""
    return (request.size + state.rules.header + UNIT - 1) // UNIT * UNIT


def alloc(state, request):
    """Place a chunk at the front of the free chunk that the search finds; return the address behind its header.

    Return NOTHING for a request of 0 bytes, NOWHERE if the search finds none.
    """
    if request.size == 0:
        return NOTHING
    if request.size >= state.rules.capacity:
        return NOWHERE
    size = chunk_bytes(state, request)
    state.ledger[BLOCK_SIZE] = size
    x = find(state, size)
    if x == 0:
        return NOWHERE
    return take(state, x, size, 1, request.block, bucket_rings) + state.rules.header


def free(state, request, address):
    """Free the chunk with the handle ``request.block`` and merge it with its free neighbours; ``address`` is not used."""
    heap.release(state, state.node_of[request.block], bucket_rings)


@out_of_line
def resize(state, request, address, old_size):
    """Resize a chunk in place, into the free chunk behind if need be; return ``address``, or NOWHERE if it has to move.

    ``request`` has the chunk's handle and its new size; ``old_size`` is not used.
    """
    nodes, x, size = state.nodes, state.node_of[request.block], chunk_bytes(state, request)
    if size < nodes[x].extent:
        cut_block(state, x, size, bucket_rings)
    elif size > nodes[x].extent:
        hole = nodes[x].next
        if nodes[hole].free == 0 or nodes[x].extent + nodes[hole].extent < size:
            return NOWHERE
        grow_into_hole(state, x, hole, size, bucket_rings)
    return address
