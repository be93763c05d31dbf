"""ESP-IDF's heap: two-level segregated fit with blocks of their class's size, in a pool whose control structure grows with it.

The rule is that of `tlsf` with `header=4,align=4,min_block=16,zero=null,cut=class`. Each power of two has 8 classes in a
pool of up to 16 KiB, 16 up to 256 KiB, and 32 above. The control structure has 36 bytes, 4 for each power of two, and 4 for
each class; its powers of two end at the pool's size, and no larger request is served. 4 bytes at the end are the heap's own.

realloc grows into a free block behind, and cuts to the request without rounding it to its class; else alloc, copy, free.

The pool is the capacity, or `pool`: one region of heap_caps. A device has several, and a request that one refuses goes to
the next: `regions:sizes=[92KiB,16KiB],policy=esp-idf`. Heap poisoning (CONFIG_HEAP_POISONING), which makes every request
larger, and capabilities of regions are not modelled, nor are requests with an alignment of their own: they get 4 bytes.

Cost: constant: two bit scans find a list, its head is taken.
Source: espressif/tlsf ba64d19, tlsf.c and tlsf_control_functions.h, which ESP-IDF 5 uses.
"""

from memtrace.contract.bits import highest_set
from memtrace.contract.calls import out_of_line
from memtrace.contract.ledger import INSPECTED
from memtrace.contract.request import NOTHING, NOWHERE, Request
from memtrace.policies.tlsf import class_size
from memtrace.structures import class_lists, heap
from memtrace.structures.class_lists import State, find, largest_hole, new_state, wanted_hole
from memtrace.structures.free_tail import releasable
from memtrace.structures.heap import expect, expect_soon, request_block_size, take
from memtrace.structures.whole_pool import open_pool, pool_bytes

ORDER = 92
GROUPS = ("embedded",)
KNOWN_AS = {"esp32": "", "esp32s2": "", "esp32s3": "", "esp32c3": "", "espressif": "", "multi_heap": "", "heap_caps": ""}
UNUSABLE = True
TAKES_POOL = True
MAX_ALIGN = 4
CONTROL = "360 bytes in a pool of 4 KiB, 432 in 16 KiB, 852 in 64 KiB, at the start; 4 at the end"
VERSION = "espressif/tlsf ba64d19"

ALIGN = 4  # bytes of a header, and alignment


def init(capacity, max_live, pool=0):
    size = pool_bytes(capacity, pool, least=64)
    sl = 3 if size <= 16 << 10 else 4 if size <= 256 << 10 else 5
    fl = int(highest_set(size)) + 1
    levels = fl - (sl + 2) + 1
    control = 36 + 4 * levels + (4 * levels << sl)
    size = pool_bytes(capacity, pool, least=control + ALIGN + 16)
    end = size - ALIGN & -ALIGN
    state = new_state(size, max_live, sl, sl + 2, fl, True, header=ALIGN, align=ALIGN, min_block=16, zero="null", base=control)
    return open_pool(state, size, [(control, end)], class_lists)


def alloc(state, request):
    """Place a block of its class's size in the free block freed last of the first class that is sure to fit.

    Return the address behind its header, NOTHING for a request of 0 bytes, NOWHERE if no class has one.
    """
    size = request_block_size(state, request)
    if size == NOTHING:
        return NOTHING
    size = class_size(state, size)
    x = find(state, wanted_hole(state, size, ALIGN))
    if x == 0:
        return NOWHERE
    state.ledger[INSPECTED] = 1
    return take(state, x, size, 1, request.block, class_lists) + ALIGN


def free(state, request, address):
    """Free the block with the handle ``request.block`` and merge it with its free neighbours; ``address`` is not used."""
    heap.release(state, state.node_of[request.block], class_lists)


@out_of_line
def resize(state, request, address, old_size):
    """Resize a block in place, into the free block behind if need be; return ``address``, or NOWHERE if it has to move.

    ``request`` has the block's handle and its new size; ``old_size`` is not used.
    """
    asked = Request(request.size, 0, request.stream, request.tag, request.block)
    placed = heap.resize_block(state, asked, address - ALIGN, class_lists)
    return placed + ALIGN if placed >= 0 else placed
