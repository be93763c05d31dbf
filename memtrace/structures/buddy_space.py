"""The free space of a binary buddy system: marks free blocks in bitmaps, and counts them as holes in the ledger.

The functions work on a state with the fields `bitmaps` (see ``order_bitmaps``), `ledger` and `unit` (log2 of the smallest
block's bytes). Block i of order o covers the bytes [i 2^o, (i + 1) 2^o). Every free block below the reserved end is a hole of
its own; of a free block that the reserved end cuts, the reserved part is a hole.
"""

import numpy as np

from memtrace.structures.bits import highest_set, lowest_set
from memtrace.structures.calls import apart
from memtrace.structures.ledger import RESERVED, close_hole, open_hole, resize_hole
from memtrace.structures.order_bitmaps import MASK, free_block_at, lowest_free, set_free, set_used


def give_space(state, start, end):
    """Make the addresses [start, end) free blocks: the fewest powers of two that are aligned to their size.

    ``start`` is rounded up to a multiple of the smallest block, 2^unit bytes; a rest at the end that is smaller than this
    block is not used.
    """
    address = -(-start // (1 << state.unit)) << state.unit
    while address + (1 << state.unit) <= end:
        order = int(highest_set(end - address))
        if address > 0:
            order = min(order, int(lowest_set(np.int64(address))))
        add_free(state, np.int64(order), np.int64(address >> order))
        address += 1 << order


def visible(start, size, reserved):
    """Return how many of the ``size`` bytes from address ``start`` on lie below the reserved end ``reserved``."""
    return max(min(start + size, reserved) - start, 0)


def add_free(state, order, i):
    """Mark block ``i`` of ``order`` as free, and count the reserved part of it as a hole."""
    set_free(state.bitmaps, order, i)
    size = visible(i << order, 1 << order, state.ledger[RESERVED])
    if size > 0:
        open_hole(state.ledger, size)


def take_free(state, order, i):
    """Mark the free block ``i`` of ``order`` as used, and stop counting the reserved part of it as a hole."""
    set_used(state.bitmaps, order, i)
    size = visible(i << order, 1 << order, state.ledger[RESERVED])
    if size > 0:
        close_hole(state.ledger, size)


@apart
def change_reserved(state, reserved):
    """Set the reserved end to the address ``reserved``, and count the free blocks between the old and the new end anew."""
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


def largest_hole(state):
    """Return the bytes of the largest hole, which is the reserved part of a free block; 0 if there is none."""
    bitmaps = state.bitmaps
    reserved = state.ledger[RESERVED]
    mask = bitmaps.shape[MASK]
    most = np.int64(0)
    while mask != 0:
        order = highest_set(mask)
        mask &= ~(1 << order)
        # Of an order's free blocks, the lowest has the largest reserved part.
        most = max(most, visible(lowest_free(bitmaps, order) << order, 1 << order, reserved))
        if most >= 1 << order >> 1:  # the blocks of lower orders are at most half as large
            break
    return most
