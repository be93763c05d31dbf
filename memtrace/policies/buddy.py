"""Binary buddy: blocks are powers of two, aligned to their size; a block and its buddy merge as soon as both are free.

The free block of the smallest sufficient order serves a request, the lowest of equals; it is halved, keeping the low
half, until it fits. An aligned request gets a block of at least its alignment. The space [base, capacity) is cut into
the fewest aligned powers of two; what is smaller than min_block is never used. Reserved is the highest block end so
far, in chunks. Holes are the free blocks below it, each by itself: two that are neighbours but no buddies are two holes.
A search inspects 1 hole if the free block lies below the reserved bytes, else none. Splits and merges are each halving and
each join, above the reserved bytes too.

       order 6 |                64                |      a request of 16 bytes
       order 5 |       32       |       32        |      leaves one hole each
       order 4 | AAAA  |  16    |                 |      of order 4 and 5

`kind=fibonacci` is another system: block sizes are Fibonacci numbers, 1, 2, 3, 5, 8, ... units of min_block rounded up to
the alignment. A block is split into the two sizes before its own, the larger one low, which merge as soon as both are
free. The space is cut into the largest that fit, the smaller ones low; the rest is as above. Blocks are not aligned to
their size: for a larger alignment than the unit's a block with room for it is taken. For sizes uniform up to any bound 19
to 24 % of the blocks' bytes are lost inside them, against 25 to 33 %.

Cost: a bitmap per order, 64 children to a word, finds the lowest free block in a few loads; splits and merges are at
most the number of orders. The bitmaps cover a window that grows with the highest address in use; above it all is free,
up to 2^46 blocks of the lowest order (1 PiB at 16 bytes), where the address space ends.
Source: Knowlton 1965, "A fast storage allocator"; Knuth, The Art of Computer Programming 1, 2.5, algorithms R and S. Fibonacci:
Hirschberg 1973, "A class of dynamic memory allocation algorithms"; Cranston and Thomas 1975, "A simplified recombination
scheme for the Fibonacci buddy system", whose place a tree of splits takes here; a pairing heap per order has the free blocks.
"""

from typing import Literal, NamedTuple

import numpy as np

from memtrace.contract.bits import highest_set, lowest_set, next_power
from memtrace.contract.calls import out_of_line
from memtrace.contract.ledger import (
    ALLOCATED,
    BLOCK_SIZE,
    HOLE_TAKEN,
    HOLES,
    INSPECTED,
    MERGES,
    RELEASE_CALLS,
    RESERVED,
    SPLITS,
    close_hole,
    new_ledger,
    open_hole,
    resize_hole,
)
from memtrace.contract.request import ENLARGE, NOTHING, NOWHERE
from memtrace.policies.buddy_kinds import fibonacci
from memtrace.structures.buddy_space import (
    MASK,
    TOP,
    WIDEST,
    Bitmaps,
    add_free,
    add_free_space,
    change_reserved,
    free_block_at,
    free_blocks,
    is_free,
    largest_hole,
    lowest_free,
    new_bitmaps,
    set_free,
    set_used,
    smallest_order,
    take_free,
)
from memtrace.structures.heap import request_block_size, reserve
from memtrace.structures.rules import Rules, alignment, block_size, growth, heap_rules, trimmed

ORDER = 5
GROUPS = ("default",)
COALESCES = True
UNUSABLE = True  # what lies between the end of `base` and the first block that is aligned to its size
VARIANTS = {"kind": {"fibonacci": fibonacci}}
UNBOUNDED = 1 << 62  # capacity in bytes that stands for none
FIRST_WINDOW = 16  # log2 of the number of smallest blocks that the bitmaps cover at first


class State(NamedTuple):
    """The free blocks by order, the orders of the live blocks, and the counts of a binary buddy system."""

    bitmaps: Bitmaps  # the free blocks of every order within the window
    order_of: np.ndarray  # order_of[handle]: the block's order, log2 of its bytes
    ledger: np.ndarray
    rules: Rules
    unit: int  # the lowest order
    base: int  # address at which the space starts
    root: int  # order of the block at address 0 when all of an unbounded space is free; -1: it is bounded or has a base


def init(capacity, max_live, kind: Literal["binary", "fibonacci"] = "binary", **options):
    rules = heap_rules(capacity, **options)
    base = options.get("base", 0)
    unit = int(highest_set(next_power(rules.min_block)))
    bounded = capacity < UNBOUNDED
    top = int(highest_set(next_power(max(capacity, 1)))) if bounded else unit + FIRST_WINDOW
    while not bounded and 1 << top <= rules.floor:
        top += 1
    if top > widest(unit):
        raise ValueError(f"min_block={rules.min_block} is too small for a space of 2^{top} bytes; try {1 << (top - WIDEST)}")
    state = State(
        new_bitmaps(unit, max(top, unit)),
        np.zeros(max_live + 1, np.int64),
        new_ledger(rules.floor),
        rules,
        unit,
        base,
        -1 if bounded or base > 0 else 62,
    )
    add_free_space(state, base, min(capacity, 1 << state.bitmaps.shape[TOP]))
    return state


def enlarge(state):
    """Return a state whose window is four times as large, but not larger than the bitmaps can be.

    The new part of the window is free. If the whole old window was free, old and new part become one free block.
    """
    old, old_top = state.bitmaps, int(state.bitmaps.shape[TOP])
    top = min(old_top + 2, widest(state.unit))
    state = state._replace(bitmaps=new_bitmaps(state.unit, top))
    for order in range(state.unit, old_top):
        for i in free_blocks(old, order):
            set_free(state.bitmaps, np.int64(order), i)
    if is_free(old, np.int64(old_top), np.int64(0)):
        set_free(state.bitmaps, np.int64(top), np.int64(0))
    else:
        for order in range(old_top, top):
            set_free(state.bitmaps, np.int64(order), np.int64(1))
    return state


def widest(unit):
    """Return log2 of the largest window that the bitmaps can cover, for smallest blocks of 2^``unit`` bytes."""
    return min(unit + WIDEST, 62)


def outside_window(state, reserved):
    """Return whether the address ``reserved`` lies above the window, in an unbounded space, where the window can grow."""
    return state.rules.capacity == UNBOUNDED and reserved > 1 << state.bitmaps.shape[TOP]


def order_for(size, align):
    """Return the order (log2 of bytes) of the block for a request.

    ``size`` is in bytes, at least min_block; the order is large enough for the alignment ``align`` too.
    """
    return highest_set(2 * max(size, align) - 1)


def levels_above_window(state):
    """Return how many splits lead from the block of the whole space to the window, or merges back, while the window is free.

    The result is 0 if the window covers the whole space. These splits and merges are counted, and never carried out.
    """
    return max(state.root - state.bitmaps.shape[TOP], 0)


def alloc(state, request):
    """Place a block in the lowest free block of the smallest sufficient order; return its address in bytes.

    The free block is halved until it has the order of the request; the upper halves become free. Return NOTHING if a
    request of 0 bytes gets no block (`zero=null`), ENLARGE if the window has to grow, NOWHERE if no free block is large
    enough or the capacity does not allow it.
    """
    size = request_block_size(state, request)
    if size == NOTHING:
        return NOTHING
    ledger, bitmaps = state.ledger, state.bitmaps
    order = order_for(size, alignment(state.rules, request))
    ledger[BLOCK_SIZE] = 1 << order
    found = smallest_order(bitmaps, order)
    if found < 0:
        return ENLARGE if state.rules.capacity == UNBOUNDED and bitmaps.shape[TOP] < widest(state.unit) else NOWHERE
    i = lowest_free(bitmaps, found)
    address = i << found
    if address + (1 << found) <= ledger[RESERVED]:
        ledger[HOLE_TAKEN] = 1 << found
        ledger[INSPECTED] = 1
    elif address + (1 << order) > ledger[RESERVED]:
        more = reserve_up_to(state, address + (1 << order), 1 << order)
        if more < 0:
            return more
    take_free(state, found, i)
    if found > order:
        halve(state, found, order, address)
    state.order_of[request.block] = order
    ledger[ALLOCATED] += 1 << order
    return address


@out_of_line
def reserve_up_to(state, end, size):
    """Raise the reserved bytes so that a block of ``size`` bytes may end at address ``end``; return 0.

    Return ENLARGE if the window has to grow first, NOWHERE if the capacity does not allow it; nothing changes then.
    """
    reserved = state.ledger[RESERVED]
    more = growth(state.rules, reserved, end - reserved, size)
    if more == 0:
        return NOWHERE
    if outside_window(state, reserved + more):
        return ENLARGE
    change_reserved(state, reserved + more)
    reserve(state, 0)
    return 0


@out_of_line
def halve(state, found, order, address):
    """Free the upper halves of a block at ``address``, from order ``found`` down, so that a block of ``order`` is left.

    The block is used already. One split is counted per half, and those of ``levels_above_window`` if it is the whole window.
    """
    if found == state.bitmaps.shape[TOP]:
        state.ledger[SPLITS] += levels_above_window(state)
    state.ledger[SPLITS] += found - order
    while found > order:
        found -= 1
        add_free(state, found, (address >> found) + 1)


def free(state, request, address):
    """Free the block of order `order_of[request.block]` at ``address``; it merges with its buddy as often as that is free.

    With the option `trim` the free top of the heap then goes back to the system.
    """
    release(state, state.order_of[request.block], address)
    if state.rules.trim:
        trim(state)


def release(state, order, address):
    """Free the block of ``order`` at ``address``, and merge it with its buddy as often as the buddy is free.

    The common case, a buddy in use, needs no call of ``merge``.
    """
    ledger, bitmaps, top = state.ledger, state.bitmaps, state.bitmaps.shape[TOP]
    ledger[ALLOCATED] -= 1 << order
    i = address >> order
    if order < top and is_free(bitmaps, order, i ^ 1):
        merge(state, order, i)
    elif order < top:
        set_free(bitmaps, order, i)
        open_hole(ledger, 1 << order)
    else:
        merge(state, order, i)


@out_of_line
def merge(state, order, i):
    """Merge block i of ``order`` with its buddy, the result with its own buddy, and so on; mark the last result free.

    ``i`` is the block's address divided by its size.
    """
    ledger, bitmaps, top = state.ledger, state.bitmaps, state.bitmaps.shape[TOP]
    while order < top and is_free(bitmaps, order, i ^ 1):
        take_free(state, order, i ^ 1)
        ledger[MERGES] += 1
        i >>= 1
        order += 1
    if order == top:
        ledger[MERGES] += levels_above_window(state)
    add_free(state, order, i)


@out_of_line
def resize(state, request, address, old_size):
    """Resize a block in place: return ``address``, or NOWHERE if the block has to move.

    A block shrinks by halving, and grows if it is the lower half at each order and the upper halves are free. ENLARGE: the
    window has to grow first. ``request`` has the handle, the new size and alignment; ``old_size`` is not used.
    """
    if not state.rules.inplace or address & (max(request.align, 1) - 1):
        return NOWHERE
    ledger = state.ledger
    now = state.order_of[request.block]
    wanted = order_for(block_size(state.rules, request.size), alignment(state.rules, request))
    if wanted > now:
        grown = grow_in_place(state, address, now, wanted)
        if grown < 0:
            return grown
    else:
        ledger[SPLITS] += now - wanted
        for order in range(wanted, now):
            add_free(state, order, (address >> order) + 1)
    ledger[ALLOCATED] += (1 << wanted) - (1 << now)
    state.order_of[request.block] = wanted
    if state.rules.trim and wanted < now:
        trim(state)
    return address


def grow_in_place(state, address, now, wanted):
    """Merge a block at ``address`` with its free upper buddies, from order ``now`` up to order ``wanted``; return 0.

    Return NOWHERE if an upper buddy is not free or the capacity does not allow it, ENLARGE if the window has to grow first;
    nothing changes then.
    """
    ledger, bitmaps = state.ledger, state.bitmaps
    for order in range(now, wanted):
        if order >= bitmaps.shape[TOP] and state.rules.capacity == UNBOUNDED and address == 0 and state.base == 0:
            return ENLARGE
        i = address >> order
        if i & 1 == 1 or order >= bitmaps.shape[TOP] or not is_free(bitmaps, order, i ^ 1):
            return NOWHERE
    end = address + (1 << wanted)
    if end > ledger[RESERVED]:
        more = reserve_up_to(state, end, 1 << wanted)
        if more < 0:
            return more
    for order in range(now, wanted):
        take_free(state, order, (address >> order) + 1)
    ledger[MERGES] += wanted - now
    return 0


@out_of_line
def trim(state):
    """Lower the reserved bytes to the end of the highest block, in whole chunks above what was reserved at the start."""
    used = state.ledger[RESERVED]
    unit = state.unit
    while used > state.rules.floor:
        last = used - 1
        order = free_block_at(state.bitmaps, unit, last)
        if order >= 0:
            used = (last >> order) << order
        elif last < usable_from(state) or last >= usable_to(state):
            used = (last >> unit) << unit
        else:
            break
    reserved = trimmed(state.rules, used)
    if reserved < state.ledger[RESERVED]:
        change_reserved(state, reserved)
        state.ledger[RELEASE_CALLS] += 1


def usable_from(state):
    """Return the lowest address at which a block of the lowest order can start: the base, rounded up to such a block."""
    return ((state.base + (1 << state.unit) - 1) >> state.unit) << state.unit


def usable_to(state):
    """Return the highest address at which a block of the lowest order can end: the capacity, rounded down to such a block."""
    return (state.rules.capacity >> state.unit) << state.unit
