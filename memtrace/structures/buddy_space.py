"""The free space of a binary buddy system: free blocks are marked in bitmaps, and counted as holes in the ledger.

Block i of order o covers the addresses [i 2^o, (i + 1) 2^o). For each order, a 64-ary tree of bitmaps says which of its blocks
are free. Level 0 of an order's tree has a bit per block, which is set while the block is free; a bit of level k + 1 is set while
its word of level k is not 0. The window is the part [0, 2^top) of the address space for which there are bits. The trees of all
orders have the same height, although the upper levels of a large order are one word each: the orders of successive blocks are
random, and the processor can predict a walk only if its length is always the same. Bits of addresses that were never in use
cost address space only: their memory pages are never touched.

Functions that take a state use its fields `bitmaps`, `ledger` and `unit` (log2 of the smallest block's bytes). Every free block
below the reserved end is a hole of its own; of a free block that the reserved end cuts, the reserved part is a hole.
"""

import mmap
import sys
from typing import NamedTuple

import numpy as np

from memtrace.contract.bits import highest_set, lowest_set
from memtrace.contract.calls import out_of_line
from memtrace.contract.ledger import RESERVED, close_hole, open_hole, resize_hole

ORDERS = 64  # rows of starts, one per order
LEVELS = 16  # room for each order's levels in starts; at most 11 are used
MASK = 0  # in shape: bit o is set while a block of order o is free
TOP = 1  # in shape: log2 of the bytes of the window
DEPTH = 2  # in shape: levels of each tree
NORESERVE = 0x4000  # Linux's MAP_NORESERVE, which older Pythons do not name
LAZY_WORDS = 1 << 20  # length in words from which on untouched() maps memory that the system provides lazily
WIDEST = 46  # log2 of the lowest order's blocks in the largest window: 16 TiB of address space for its bits


class Bitmaps(NamedTuple):
    """The trees of bitmaps of all orders."""

    words: np.ndarray  # words of all levels of all orders, int64
    starts: np.ndarray  # starts[order * LEVELS + level]: index in words of the level's first word
    shape: np.ndarray  # MASK, TOP, DEPTH


def new_bitmaps(unit, top):
    """Return bitmaps without a free block; ``unit`` is the lowest order, ``top`` is log2 of the bytes of the window."""
    depth = max(1, -(-(top - unit) // 6))
    starts = np.zeros(ORDERS * LEVELS, np.int64)
    length = 0
    for order in range(unit, top + 1):
        for level in range(depth):
            starts[order * LEVELS + level] = length
            length += -(-(1 << (top - order)) // 64 ** (level + 1))
    return Bitmaps(lazy_zeros(length), starts, np.array([0, top, depth], np.int64))


def lazy_zeros(length):
    """Return ``length`` words of 0 that take memory only where they are written.

    Their size may be far above the machine's memory.
    """
    if length < LAZY_WORDS:
        return np.zeros(length, np.int64)
    flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | (NORESERVE if sys.platform == "linux" else 0)
    return np.frombuffer(mmap.mmap(-1, 8 * length, flags=flags), np.int64)


def free_blocks(bitmaps, order):
    """Return the indices of all free blocks of an order, ascending; reads only those words below the root that have a bit set."""
    found = np.zeros(1, np.int64)
    for level in range(int(bitmaps.shape[DEPTH]) - 1, -1, -1):
        words = bitmaps.words[bitmaps.starts[order * LEVELS + level] + found]
        rows, bits = np.nonzero(words[:, None].view(np.uint64) >> np.arange(64, dtype=np.uint64) & np.uint64(1))
        found = found[rows] * 64 + bits
    return found


def word_of(bitmaps, order, level, i):
    """Return the index in ``words`` of the word of ``level`` that contains bit ``i``.

    The index is unsigned, so compiled code need not check whether it is negative.
    """
    return np.uint64(bitmaps.starts[np.uint64(order * LEVELS + level)] + (i >> 6))


def is_free(bitmaps, order, i):
    """Return whether block ``i`` of ``order`` is free."""
    return (bitmaps.words[word_of(bitmaps, order, 0, i)] >> (i & 63)) & 1 == 1


def set_free(bitmaps, order, i):
    """Mark block ``i`` of ``order`` as free, in all levels of the tree and in MASK."""
    words = bitmaps.words
    for level in range(bitmaps.shape[DEPTH]):
        words[word_of(bitmaps, order, level, i)] |= np.int64(1) << (i & 63)
        i >>= 6
    bitmaps.shape[MASK] |= 1 << order


def set_used(bitmaps, order, i):
    """Mark block ``i`` of ``order`` as used, in all levels of the tree and in MASK.

    A bit of a higher level is cleared when its word becomes 0, and the order's bit in MASK when the topmost word does.
    """
    words = bitmaps.words
    emptied = np.int64(1)
    for level in range(bitmaps.shape[DEPTH]):
        at = word_of(bitmaps, order, level, i)
        word = words[at] & ~(emptied << (i & 63))
        words[at] = word
        emptied = np.int64(word == 0)
        i >>= 6
    if emptied != 0:
        bitmaps.shape[MASK] &= ~(1 << order)


def lowest_free(bitmaps, order):
    """Return the index of the free block of ``order`` that has the lowest address; there must be a free block of that order."""
    i = np.int64(0)
    level = bitmaps.shape[DEPTH] - 1
    while level >= 0:
        i = (i << 6) + lowest_set(bitmaps.words[word_of(bitmaps, order, level, i << 6)])
        level -= 1
    return i


def smallest_order(bitmaps, order):
    """Return the smallest order, not below ``order``, that has a free block; -1 if there is none."""
    mask = bitmaps.shape[MASK] & (-1 << order)
    return lowest_set(mask) if mask != 0 else np.int64(-1)


def free_block_at(bitmaps, unit, address):
    """Return the order of the free block that contains ``address``; -1 if there is none. ``unit`` is the lowest order."""
    for order in range(unit, bitmaps.shape[TOP] + 1):
        i = address >> order
        if i < 1 << (bitmaps.shape[TOP] - order) and is_free(bitmaps, order, i):
            return order
    return -1


def add_free_space(state, start, end):
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


def reserved_part(start, size, reserved):
    """Return how many of the ``size`` bytes from address ``start`` on lie below the reserved end ``reserved``."""
    return max(min(start + size, reserved) - start, 0)


def add_free(state, order, i):
    """Mark block ``i`` of ``order`` as free, and count the reserved part of it as a hole."""
    set_free(state.bitmaps, order, i)
    size = reserved_part(i << order, 1 << order, state.ledger[RESERVED])
    if size > 0:
        open_hole(state.ledger, size)


def take_free(state, order, i):
    """Mark the free block ``i`` of ``order`` as used, and stop counting the reserved part of it as a hole."""
    set_used(state.bitmaps, order, i)
    size = reserved_part(i << order, 1 << order, state.ledger[RESERVED])
    if size > 0:
        close_hole(state.ledger, size)


@out_of_line
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
        old, new = reserved_part(start, size, before), reserved_part(start, size, reserved)
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
        most = max(most, reserved_part(lowest_free(bitmaps, order) << order, 1 << order, reserved))
        if most >= 1 << order >> 1:  # the blocks of lower orders are at most half as large
            break
    return most
