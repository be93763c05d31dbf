"""Free blocks of a buddy system: per order, which of its aligned blocks are free, as a 64-ary tree of bitmaps.

Block i of order o covers [i 2^o, (i + 1) 2^o). Level 0 of an order has a bit per block; a bit of level k + 1 says that a
word of level k is not 0. The window is the part [0, 2^top) of the address space for which there are bits. The trees of
all orders are equally high, though a large order's upper levels are one word each: a walk whose length is always the
same is predicted by the processor, and blocks are placed in orders at random. Bits of an address range that was never
in use cost address space alone: their pages are never touched.
"""

import mmap
import sys
from typing import NamedTuple

import numpy as np

from memtrace.structures.bits import lowest_set

ORDERS = 64
LEVELS = 16  # room for each order's levels in starts; at most 11 are used
MASK = 0  # in shape: bit o is set if a block of order o is free
TOP = 1  # log2 of the window
DEPTH = 2  # levels of each tree
NORESERVE = 0x4000  # Linux's MAP_NORESERVE, which older Pythons do not name
LAZY_WORDS = 1 << 20  # from which on the system's own way of not touching memory is asked for
WIDEST = 46  # log2 of the lowest order's blocks in the largest window: 16 TiB of address space for its bits


class Bitmaps(NamedTuple):
    words: np.ndarray
    starts: np.ndarray  # starts[order * LEVELS + level]: where the level begins in words
    shape: np.ndarray


def new_bitmaps(unit, top):
    """Nothing is free yet. ``unit`` is the lowest order."""
    depth = max(1, -(-(top - unit) // 6))
    starts = np.zeros(ORDERS * LEVELS, np.int64)
    length = 0
    for order in range(unit, top + 1):
        for level in range(depth):
            starts[order * LEVELS + level] = length
            length += -(-(1 << (top - order)) // 64 ** (level + 1))
    return Bitmaps(untouched(length), starts, np.array([0, top, depth], np.int64))


def untouched(length):
    """Zeros of which only what is written takes memory, in an amount that may be far above what the machine has."""
    if length < LAZY_WORDS:
        return np.zeros(length, np.int64)
    flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | (NORESERVE if sys.platform == "linux" else 0)
    return np.frombuffer(mmap.mmap(-1, 8 * length, flags=flags), np.int64)


def free_blocks(bitmaps, order):
    """Indices of all free blocks of an order, ascending. Follows the tree, so it looks at words that have a bit only."""
    found = np.zeros(1, np.int64)
    for level in range(int(bitmaps.shape[DEPTH]) - 1, -1, -1):
        words = bitmaps.words[bitmaps.starts[order * LEVELS + level] + found]
        rows, bits = np.nonzero(words[:, None].view(np.uint64) >> np.arange(64, dtype=np.uint64) & np.uint64(1))
        found = found[rows] * 64 + bits
    return found


def word_of(bitmaps, order, level, i):
    """Where the word of a level is that has bit i; unsigned, so that compiled code need not ask whether it is negative."""
    return np.uint64(bitmaps.starts[np.uint64(order * LEVELS + level)] + (i >> 6))


def is_free(bitmaps, order, i):
    return (bitmaps.words[word_of(bitmaps, order, 0, i)] >> (i & 63)) & 1 == 1


def set_free(bitmaps, order, i):
    words = bitmaps.words
    for level in range(bitmaps.shape[DEPTH]):
        words[word_of(bitmaps, order, level, i)] |= 1 << (i & 63)
        i >>= 6
    bitmaps.shape[MASK] |= 1 << order


def set_used(bitmaps, order, i):
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
    """The lowest free block of an order that has one."""
    i = np.int64(0)
    level = bitmaps.shape[DEPTH] - 1
    while level >= 0:
        i = (i << 6) + lowest_set(bitmaps.words[word_of(bitmaps, order, level, i << 6)])
        level -= 1
    return i


def smallest_order(bitmaps, order):
    """The smallest order from ``order`` on that has a free block; -1 if there is none."""
    mask = bitmaps.shape[MASK] & (-1 << order)
    return lowest_set(mask) if mask != 0 else np.int64(-1)


def free_block_at(bitmaps, unit, address):
    """The order of the free block that contains an address; -1 if it is in none."""
    for order in range(unit, bitmaps.shape[TOP] + 1):
        i = address >> order
        if i < 1 << (bitmaps.shape[TOP] - order) and is_free(bitmaps, order, i):
            return order
    return -1
