"""FreeRTOS's heap_4 and heap_5, and by `heap=2` and `heap=1` its heap_2 and heap_1.

heap_4: a block is the request and a header of two words, rounded up to 8 bytes. The lowest free block that is large enough
serves the request. It is split, the block in front, if the rest is larger than two headers; else the block takes all of it.
A freed block merges with its free neighbours at once. heap_5 is the same over several regions, `regions=[32KiB,16KiB]`,
which lie one behind the other here. One header at the end of the pool, and of each region, is the heap's own. heap_2 keeps
its free blocks in a list by size, takes the first that is large enough, the newest of equals, and never merges. heap_1 never
frees.

The pool (configTOTAL_HEAP_SIZE) is the capacity, or `pool`. `bits=64`: headers of 16 bytes. A request of 0 bytes gets no
block. There is no realloc: it is an alloc, a copy and a free. No request is aligned to more than 8 bytes. The heap protector
(configENABLE_HEAP_PROTECTOR) changes no placement.

Cost: heap_1 constant, else O(log n) in the number of free blocks; the search reported is that of the real list.
Source: FreeRTOS-Kernel 4269c69 (July 2026), portable/MemMang/heap_1.c, heap_2.c, heap_4.c and heap_5.c.
"""

from typing import Literal

from memtrace.policies.freertos_kinds import heap_1, heap_2
from memtrace.structures import address_tree, heap
from memtrace.structures.address_tree import State, expect_soon, largest_hole
from memtrace.structures.free_tail import releasable
from memtrace.structures.heap import expect
from memtrace.structures.lowest_hole import place_lowest
from memtrace.structures.whole_pool import hole_sizes as first_holes
from memtrace.structures.whole_pool import open_pool, pool_bytes
from memtrace.units import parse_size

ORDER = 92
GROUPS = ("embedded",)
KNOWN_AS = {"heap_4": "", "heap_5": "heap=5", "heap_2": "heap=2", "heap_1": "heap=1", "freertos4": "", "pvPortMalloc": ""}
ALSO_WITH = ("heap=2", "heap=1")
UNUSABLE = True
TAKES_POOL = True
MAX_ALIGN = 8
VARIANTS = {"heap": {"1": heap_1, "2": heap_2}}
CONTROL = "8 bytes at the end of the pool, and of each region (16 with bits=64)"
VERSION = "FreeRTOS-Kernel 4269c69"


def init(
    capacity,
    max_live,
    heap: Literal["4", "5", "2", "1"] = "4",
    regions="",
    bits: Literal["32", "64"] = "32",
    pool=0,
):
    header = int(bits) // 4
    sizes = [parse_size(text) for text in regions.strip("[]").split(",") if text]
    if sizes and heap != "5":
        raise ValueError("only heap_5 has regions\ntry: heap=5")
    size = pool_bytes(capacity, pool or sum(sizes), least=3 * header)
    ranges, start = [], 0
    for region in sizes or [size]:
        end = start + region
        ranges.append((start, end - header & -8))
        start = end + 7 & -8
    state = address_tree.init(
        size, max_live + len(ranges), align=8, min_block=header + 8, split=2 * header + 8, header=header, zero="null"
    )
    return open_pool(state, size, ranges, address_tree)


def alloc(state, request):
    """Place a block at the front of the lowest free block that it fits; return the address behind its header.

    Return NOTHING for a request of 0 bytes, NOWHERE if no free block is large enough.
    """
    return place_lowest(state, request)


def free(state, request, address):
    """Free the block with the handle ``request.block`` and merge it with its free neighbours; ``address`` is not used."""
    heap.release(state, state.node_of[request.block], address_tree)
