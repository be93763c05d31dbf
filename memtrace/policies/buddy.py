"""Binary buddy: blocks are powers of two, aligned to their size; a block and its buddy merge as soon as both are free.

The free block of the smallest sufficient order serves a request, the lowest of equals; it is halved, keeping the low
half, until it fits. An aligned request gets a block of at least its alignment. The space [base, capacity) is cut into
the fewest aligned powers of two; what is smaller than min_block is never used. Reserved is the highest block end so
far, in chunks. Holes are the free blocks below it, each by itself: two that are neighbours but no buddies are two holes.

       order 6 |                64                |      a request of 16 bytes
       order 5 |       32       |       32        |      leaves one hole each
       order 4 | AAAA  |  16    |                 |      of order 4 and 5

Cost: a bitmap per order, 64 children to a word, finds the lowest free block in a few loads; splits and merges are at
most the number of orders. The bitmaps cover a window that doubles with the highest address in use; above it all is free.
Source: Knowlton 1965, "A fast storage allocator"; Knuth, The Art of Computer Programming 1, 2.5, algorithms R and S.
"""

from typing import NamedTuple

import numpy as np

from memtrace.engine.request import ENLARGE, NOTHING, NOWHERE
from memtrace.structures.bits import highest_set, lowest_set, next_power
from memtrace.structures.calls import apart
from memtrace.structures.heap import open_request, reserve
from memtrace.structures.ledger import (
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
from memtrace.structures.order_bitmaps import (
    MASK,
    TOP,
    Bitmaps,
    free_block_at,
    is_free,
    lowest_free,
    new_bitmaps,
    set_free,
    set_used,
    smallest_order,
)
from memtrace.structures.rules import Rules, block_size, growth, heap_rules, trimmed

ORDER = 5
GROUPS = ("default",)
COALESCES = True
UNBOUNDED = 1 << 62
FIRST_WINDOW = 16  # log2 of the smallest blocks that the bitmaps cover at first


class State(NamedTuple):
    bitmaps: Bitmaps
    order_of: np.ndarray  # order_of[handle]: the block's order
    ledger: np.ndarray
    rules: Rules
    unit: int  # the lowest order
    base: int
    root: int  # order of the free block at address 0 when all is free; -1 if the window covers the whole space


def init(capacity, max_live, **options):
    rules = heap_rules(capacity, **options)
    base = options.get("base", 0)
    unit = int(highest_set(next_power(rules.min_block)))
    bounded = capacity < UNBOUNDED
    top = int(highest_set(next_power(max(capacity, 1)))) if bounded else unit + FIRST_WINDOW
    while not bounded and 1 << top <= rules.floor:
        top += 1
    state = State(
        new_bitmaps(unit, max(top, unit)),
        np.zeros(max_live + 1, np.int64),
        new_ledger(rules.floor),
        rules,
        unit,
        base,
        -1 if bounded or base > 0 else 62,
    )
    give_space(state, base, min(capacity, 1 << state.bitmaps.shape[TOP]))
    return state


def give_space(state, start, end):
    """Cut [start, end) into the fewest aligned powers of two, which become free."""
    address = -(-start // (1 << state.unit)) << state.unit
    while address + (1 << state.unit) <= end:
        order = int(highest_set(end - address))
        if address > 0:
            order = min(order, int(lowest_set(np.int64(address))))
        add_free(state, np.int64(order), np.int64(address >> order))
        address += 1 << order


def enlarge(state):
    """Four times the window. The new part is free, and one with the old one if that is free as a whole."""
    old, old_top = state.bitmaps, int(state.bitmaps.shape[TOP])
    top = min(old_top + 2, 62)
    state = state._replace(bitmaps=new_bitmaps(state.unit, top))
    for order in range(state.unit, old_top):
        start = old.starts[order, 0]
        words = old.words[start : start + -(-(1 << (old_top - order)) // 64)]
        for at in np.flatnonzero(words):
            bits = int(words[at])
            for bit in range(64):
                if bits >> bit & 1:
                    set_free(state.bitmaps, np.int64(order), np.int64(at * 64 + bit))
    if is_free(old, np.int64(old_top), np.int64(0)):
        set_free(state.bitmaps, np.int64(top), np.int64(0))
    else:
        for order in range(old_top, top):
            set_free(state.bitmaps, np.int64(order), np.int64(1))
    return state


def visible(start, size, reserved):
    """Bytes of a free block that are reserved."""
    return max(min(start + size, reserved) - start, 0)


def add_free(state, order, i):
    set_free(state.bitmaps, order, i)
    size = visible(i << order, 1 << order, state.ledger[RESERVED])
    if size > 0:
        open_hole(state.ledger, size)


def take_free(state, order, i):
    set_used(state.bitmaps, order, i)
    size = visible(i << order, 1 << order, state.ledger[RESERVED])
    if size > 0:
        close_hole(state.ledger, size)


def outside_window(state, reserved):
    return state.rules.capacity == UNBOUNDED and reserved > 1 << state.bitmaps.shape[TOP]


def order_for(state, size, align):
    return highest_set(next_power(max(max(size, align), 1 << state.unit)))


def beyond_window(state):
    """Halvings, or merges, between the window and the block of the whole space, when the window is free."""
    return max(state.root - state.bitmaps.shape[TOP], 0)


def alloc(state, request):
    size = open_request(state, request)
    if size == NOTHING:
        return NOTHING
    ledger, bitmaps = state.ledger, state.bitmaps
    order = order_for(state, size, request.align)
    block = 1 << order
    ledger[BLOCK_SIZE] = block
    found = smallest_order(bitmaps, order)
    if found < 0:
        return ENLARGE if state.rules.capacity == UNBOUNDED and bitmaps.shape[TOP] < 62 else NOWHERE
    i = lowest_free(bitmaps, found)
    address = i << found
    if address + (1 << found) <= ledger[RESERVED]:
        ledger[HOLE_TAKEN] = 1 << found
        ledger[INSPECTED] = 1
    elif address + block > ledger[RESERVED]:
        more = growth(state.rules, ledger[RESERVED], address + block - ledger[RESERVED], block)
        if more == 0:
            return NOWHERE
        if outside_window(state, ledger[RESERVED] + more):
            return ENLARGE
        change_reserved(state, ledger[RESERVED] + more)
        reserve(state, 0)
    take_free(state, found, i)
    if found == bitmaps.shape[TOP]:
        ledger[SPLITS] += beyond_window(state)
    ledger[SPLITS] += found - order
    while found > order:
        found -= 1
        add_free(state, found, (address >> found) + 1)
    state.order_of[request.block] = order
    ledger[ALLOCATED] += block
    return address


@apart
def change_reserved(state, reserved):
    """Move the top; the free blocks that it uncovers or covers are counted anew."""
    ledger, bitmaps, unit = state.ledger, state.bitmaps, state.unit
    before = ledger[RESERVED]
    address, end = min(before, reserved), max(before, reserved)
    while address < end:
        order = free_block_at(bitmaps, unit, address)
        if order < 0:
            address = ((address >> unit) + 1) << unit
            continue
        start, size = (address >> order) << order, 1 << order
        old, new = visible(start, size, before), visible(start, size, reserved)
        if old == 0:
            open_hole(ledger, new)
        elif new == 0:
            close_hole(ledger, old)
        else:
            resize_hole(ledger, old, new)
        address = start + size
    ledger[RESERVED] = reserved


def free(state, request, address):
    release(state, state.order_of[request.block], address)
    if state.rules.trim:
        trim(state)


def release(state, order, address):
    """Free a block and merge it with its buddy, that with its own, and so on."""
    ledger, bitmaps, top = state.ledger, state.bitmaps, state.bitmaps.shape[TOP]
    ledger[ALLOCATED] -= 1 << order
    i = address >> order
    while order < top and is_free(bitmaps, order, i ^ 1):
        take_free(state, order, i ^ 1)
        ledger[MERGES] += 1
        i >>= 1
        order += 1
    if order == top:
        ledger[MERGES] += beyond_window(state)
    add_free(state, order, i)


@apart
def resize(state, request, address, old_size):
    if not state.rules.inplace or address & (max(request.align, 1) - 1):
        return NOWHERE
    ledger = state.ledger
    now = state.order_of[request.block]
    wanted = order_for(state, block_size(state.rules, request.size), request.align)
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
    """Take the free upper buddies up to the wanted order: 0, or NOWHERE if one of them is not free."""
    ledger, bitmaps = state.ledger, state.bitmaps
    for order in range(now, wanted):
        if order >= bitmaps.shape[TOP] and state.rules.capacity == UNBOUNDED and address == 0 and state.base == 0:
            return ENLARGE
        i = address >> order
        if i & 1 == 1 or order >= bitmaps.shape[TOP] or not is_free(bitmaps, order, i ^ 1):
            return NOWHERE
    end = address + (1 << wanted)
    if end > ledger[RESERVED]:
        more = growth(state.rules, ledger[RESERVED], end - ledger[RESERVED], 1 << wanted)
        if more == 0:
            return NOWHERE
        if outside_window(state, ledger[RESERVED] + more):
            return ENLARGE
        change_reserved(state, ledger[RESERVED] + more)
        reserve(state, 0)
    for order in range(now, wanted):
        take_free(state, order, (address >> order) + 1)
    ledger[MERGES] += wanted - now
    return 0


@apart
def trim(state):
    """Let the top fall to the highest block's end, in whole chunks above what there was at first."""
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
    return ((state.base + (1 << state.unit) - 1) >> state.unit) << state.unit


def usable_to(state):
    return (state.rules.capacity >> state.unit) << state.unit


def largest_hole(state):
    """The largest free block, as far as it is reserved."""
    bitmaps = state.bitmaps
    reserved = state.ledger[RESERVED]
    mask = bitmaps.shape[MASK]
    most = np.int64(0)
    while mask != 0:
        order = highest_set(mask)
        mask &= ~(1 << order)
        most = max(most, visible(lowest_free(bitmaps, order) << order, 1 << order, reserved))
        if most >= 1 << order >> 1:
            break
    return most
