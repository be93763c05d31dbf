"""Free blocks of a buddy system: per order, which of its aligned blocks are free, as a 64-ary tree of bitmaps.

Block i of order o covers [i 2^o, (i + 1) 2^o). Level 0 of an order has a bit per block; a bit of level k + 1 says that a
word of level k is not 0. The window is the part [0, 2^top) of the address space for which there are bits.
"""

from typing import NamedTuple

import numpy as np

from memtrace.structures.bits import lowest_set

ORDERS = 64
LEVELS = 11
MASK = 0  # in shape: bit o is set if a block of order o is free
TOP = 1  # log2 of the window


class Bitmaps(NamedTuple):
    words: np.ndarray
    starts: np.ndarray  # [order, level]: where the level begins in words
    depths: np.ndarray  # [order]: how many levels
    shape: np.ndarray


def new_bitmaps(unit, top):
    """Nothing is free yet. ``unit`` is the lowest order."""
    starts = np.zeros((ORDERS, LEVELS), np.int64)
    depths = np.zeros(ORDERS, np.int64)
    length = 0
    for order in range(unit, top + 1):
        bits = 1 << (top - order)
        while True:
            words = -(-bits // 64)
            starts[order, depths[order]] = length
            depths[order] += 1
            length += words
            bits = words
            if words == 1:
                break
    return Bitmaps(np.zeros(length, np.int64), starts, depths, np.array([0, top], np.int64))


def is_free(bitmaps, order, i):
    return (bitmaps.words[bitmaps.starts[order, 0] + (i >> 6)] >> (i & 63)) & 1 == 1


def set_free(bitmaps, order, i):
    words, starts = bitmaps.words, bitmaps.starts
    for level in range(bitmaps.depths[order]):
        at = starts[order, level] + (i >> 6)
        word = words[at]
        words[at] = word | (1 << (i & 63))
        if word != 0:
            return
        i >>= 6
    bitmaps.shape[MASK] |= 1 << order


def set_used(bitmaps, order, i):
    words, starts = bitmaps.words, bitmaps.starts
    for level in range(bitmaps.depths[order]):
        at = starts[order, level] + (i >> 6)
        word = words[at] & ~(1 << (i & 63))
        words[at] = word
        if word != 0:
            return
        i >>= 6
    bitmaps.shape[MASK] &= ~(1 << order)


def lowest_free(bitmaps, order):
    """The lowest free block of an order that has one."""
    i = np.int64(0)
    level = bitmaps.depths[order] - 1
    while level >= 0:
        i = (i << 6) + lowest_set(bitmaps.words[bitmaps.starts[order, level] + i])
        level -= 1
    return i


def smallest_order(bitmaps, order):
    """The smallest order from ``order`` on that has a free block; -1 if there is none."""
    if order > 62:
        return -1
    mask = bitmaps.shape[MASK] & (-1 << order)
    return lowest_set(mask) if mask != 0 else np.int64(-1)


def free_block_at(bitmaps, unit, address):
    """The order of the free block that contains an address; -1 if it is in none."""
    for order in range(unit, bitmaps.shape[TOP] + 1):
        i = address >> order
        if i < 1 << (bitmaps.shape[TOP] - order) and is_free(bitmaps, order, i):
            return order
    return -1
