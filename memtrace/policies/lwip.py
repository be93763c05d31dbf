"""lwIP's mem_malloc: first fit by address over blocks that tile the pool, merged at once.

A block is a header and the request, rounded up to 4 bytes, at least 12. The header has 8 bytes in a pool (MEM_SIZE) of up to
64,000 bytes, and 12 above, where offsets need 32 bits: so each block is 4 bytes larger there. The lowest free block that is
large enough serves the request; it is split, the request in front, if the rest has room for a header and 12 bytes.

The pool is the capacity, or `pool`; lwIP's two headers at the end lie behind it. `align=8`: MEM_ALIGNMENT. A request of 0
bytes gets no block. There is no realloc that grows: it is an alloc, a copy and a free (mem_trim, which shrinks, is not
used). Addresses are offsets of 32 bits at most, so builds for 64 bits place the same.

Cost: O(log n) in the number of free blocks; the search reported counts the free blocks alone, the real one walks the others
too.
Source: lwIP 2.2.1 and 34 commits (3d896ba), src/core/mem.c.
"""

from memtrace.contract.bits import align_up
from memtrace.structures import address_tree, heap
from memtrace.structures.address_tree import State, expect_soon, largest_hole
from memtrace.structures.free_tail import releasable
from memtrace.structures.heap import expect
from memtrace.structures.lowest_hole import place_lowest
from memtrace.structures.whole_pool import open_pool, pool_bytes

ORDER = 92
GROUPS = ("embedded",)
KNOWN_AS = {"mem_malloc": ""}
UNUSABLE = True
TAKES_POOL = True
MAX_ALIGN = 4
CONTROL = "none in the pool; two headers behind it"
VERSION = "lwIP 2.2.1 and 34 commits (3d896ba)"

WIDE = 64000  # bytes of a pool above which offsets have 32 bits
LEAST = 12  # MIN_SIZE


def init(capacity, max_live, align=4, pool=0):
    if align < 4 or align & (align - 1):
        raise ValueError(f"align={align} is not a power of two from 4 on")
    size = pool_bytes(capacity, pool)
    header = align_up(12 if size > WIDE else 6, align)
    least = header + align_up(LEAST, align)
    size = pool_bytes(capacity, pool, least)
    state = address_tree.init(size, max_live, align=align, min_block=least, header=header, zero="null")
    return open_pool(state, size, [(0, size & -align)], address_tree)


def alloc(state, request):
    """Place a block at the front of the lowest free block that it fits; return the address behind its header.

    Return NOTHING for a request of 0 bytes, NOWHERE if no free block is large enough.
    """
    return place_lowest(state, request)


def free(state, request, address):
    """Free the block with the handle ``request.block`` and merge it with its free neighbours; ``address`` is not used."""
    heap.release(state, state.node_of[request.block], address_tree)
