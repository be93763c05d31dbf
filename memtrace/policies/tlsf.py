"""Two-level segregated fit: the hole freed last in the first class whose holes are all large enough. Constant time.

A size's class is its power of two (first level) and which of 2^sl equal parts of it the size lies in (second level);
below `small` bytes all classes have one width. A hole is classed by its size less one header. A request is rounded up
to the next class, so the head of any list from there on fits and no list is searched; a hole of the request's own class
is passed over, though it may be large enough. Lists are last in, first out; holes coalesce at once; a hole that changes
its size becomes the head of its class.

A request that no list serves makes the heap grow until the search would find its tail; with a fixed pool
(`initial` as large as the capacity) it fails, as a pool's does. An aligned request looks for a hole that is sure to fit:
larger by its alignment, less the alignment that all holes have.

`cut=request` gives a block the size that was asked for; `cut=class` the size that it was rounded up to, so blocks of a
class are alike (realloc in place cuts to the request). `sl`: log2 of the classes of a power of two, 0 to 6. `small`: a
power of two; 0 stands for `align` times 2^sl. `fl`: log2 of the size above which no request is served.

Cost: constant: two bit scans find a list, its head is taken; a free merges with two neighbours.
Source: Masmano, Ripoll, Crespo and Real 2004, "TLSF: a new dynamic memory allocator for real-time systems", section 4.
"""

from typing import Literal

from memtrace.contract.bits import align_up, highest_set
from memtrace.contract.ledger import BLOCK_SIZE, INSPECTED
from memtrace.contract.request import NOTHING
from memtrace.structures import class_lists, heap
from memtrace.structures.class_lists import State, find, grow, largest_hole, new_state, rounded, wanted_hole
from memtrace.structures.free_tail import releasable
from memtrace.structures.heap import expect, expect_soon, request_block_size, take
from memtrace.structures.rules import alignment

ORDER = 8
GROUPS = ("default",)
COALESCES = True


def init(capacity, max_live, sl=5, small=0, fl=62, cut: Literal["request", "class"] = "request", **options):
    small = small or max(options.get("align", 16), 1) << sl
    if not 0 <= sl <= 6:
        raise ValueError(f"sl={sl} is not from 0 to 6")
    if small & (small - 1) or small < 1 << sl:
        raise ValueError(f"small={small} is not a power of two from {1 << sl} (2^sl) on")
    small = int(highest_set(small))
    if not small < fl <= 62:
        raise ValueError(f"fl={fl} is not from {small + 1} to 62")
    return new_state(capacity, max_live, sl, small, fl, cut == "class", **options)


def alloc(state, request):
    """Place a block in the hole freed last of the first size class whose holes all fit; return its address in bytes.

    Return NOTHING if a request of 0 bytes gets no block (`zero=null`). If no list has a hole that is sure to fit, the heap
    grows; return NOWHERE if it cannot within the capacity. With `cut=class` the block's size is rounded up to its class.
    """
    size = request_block_size(state, request)
    if size == NOTHING:
        return NOTHING
    if state.classes.whole:
        size = class_size(state, size)
    align = alignment(state.rules, request)
    wanted = wanted_hole(state, size, align)
    x = find(state, wanted)
    if x == 0:
        return grow(state, size, wanted, align, request.block, class_lists)
    state.ledger[INSPECTED] = 1
    return take(state, x, size, align, request.block, class_lists)


def class_size(state, size):
    """Return the block size ``size`` (bytes, header included) rounded up to the least size of its class and the alignment.

    The ledger's BLOCK_SIZE is set to the result if that is larger.
    """
    header = state.rules.header
    least = rounded(state.classes, max(size - header, 1)) + header
    if least > size:
        size = align_up(least, state.rules.align)
        state.ledger[BLOCK_SIZE] = size
    return size


def free(state, request, address):
    """Free the block with the handle ``request.block``; its range coalesces with the holes beside it.

    With the option `trim` the free tail of the heap then goes back to the system. ``address`` is not used.
    """
    heap.free_block(state, request.block, class_lists)


def resize(state, request, address, old_size):
    """Resize a block in place: return ``address``, or NOWHERE if the block has to move.

    ``request`` has the block's handle, its new size and alignment; ``address`` is where the block starts. A block grows
    into the hole behind it, or at the top of the heap. ``old_size`` is not used.
    """
    return heap.resize_block(state, request, address, class_lists)


def trim(state):
    """Give the free tail of the heap back to the system, in whole chunks above what the heap reserved at the start."""
    heap.trim_top(state, class_lists)
