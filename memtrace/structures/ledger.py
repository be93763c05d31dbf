"""What a policy counts while it works: one array, which the engine reads and no policy needs to explain.

A policy that keeps a ledger in its state (field ``ledger``) gets every measure; each entry is exact at all times.
"""

import numpy as np

from memtrace.structures.bits import highest_set
from memtrace.structures.calls import apart

RESERVED = 0  # bytes held from the system
ALLOCATED = 1  # bytes of live blocks with rounding, headers and padding
HOLES = 2  # holes: reserved, free, maximal
FREE = 3  # bytes in holes
SQUARES = 4  # sum of the squares of the hole sizes, below 2^62 ...
SQUARES_HIGH = 5  # ... and in units of 2^62
BELOW_MEDIAN = 6  # bytes in holes smaller than the trace's median request
BELOW_P99 = 7  # bytes in holes smaller than its 99th percentile
MEDIAN = 8  # the two requests themselves
P99 = 9
SPLITS = 10
MERGES = 11
MOVED = 12  # bytes the policy itself moved
RESERVE_CALLS = 13
RELEASE_CALLS = 14
INSPECTED = 15  # holes a linear free list would have looked at for this request
HOLE_TAKEN = 16  # size of the hole this request was served from; 0 if from none
BLOCK_SIZE = 17  # block size of this request
CENSUS = 18  # 1: the sizes of holes are counted
SEARCHES = 19  # 1: INSPECTED is counted
LARGEST = 20  # largest hole, where a policy tells it with every call
TOLD = 21  # 1: the trace tells when recorded stream work is done
CLASS_HOLES = 32  # + floor(log2(size)): holes in the class
CLASS_BYTES = 96  # + floor(log2(size)): their bytes
LENGTH = 160

HALF = 31
SQUARE_UNIT = 1 << 62


def new_ledger(reserved):
    ledger = np.zeros(LENGTH, np.int64)
    ledger[RESERVED] = reserved
    ledger[CENSUS] = 1
    ledger[SEARCHES] = 1
    return ledger


def set_detail(ledger, median, p99, census, searches, holes=None):
    """Say what to count, before the first event. ``holes``: the sizes of those there are, if ``first_holes`` cannot tell."""
    sizes = list(first_holes(ledger)) if holes is None else holes
    ledger[MEDIAN] = median
    ledger[P99] = p99
    ledger[BELOW_MEDIAN] = sum(size for size in sizes if size < median)
    ledger[BELOW_P99] = sum(size for size in sizes if size < p99)
    ledger[CENSUS] = census
    ledger[SEARCHES] = searches


def first_holes(ledger):
    """Sizes of the holes that there are at the start, of which one at most is no power of two."""
    for size_class in range(64):
        count, size = int(ledger[CLASS_HOLES + size_class]), int(ledger[CLASS_BYTES + size_class])
        if count > 0:
            yield from [1 << size_class] * (count - 1)
            yield size - (count - 1) * (1 << size_class)


def open_hole(ledger, size):
    ledger[HOLES] += 1
    if ledger[CENSUS] != 0:
        count_hole(ledger, size, 1)


def close_hole(ledger, size):
    ledger[HOLES] -= 1
    if ledger[CENSUS] != 0:
        count_hole(ledger, size, -1)


def resize_hole(ledger, size, new_size):
    if ledger[CENSUS] != 0:
        count_hole(ledger, size, -1)
        count_hole(ledger, new_size, 1)


def count_hole(ledger, size, sign):
    size_class = highest_set(size)
    change = sign * size
    ledger[CLASS_HOLES + size_class] += sign
    ledger[CLASS_BYTES + size_class] += change
    ledger[FREE] += change
    # No branches: which side a hole is on cannot be predicted.
    ledger[BELOW_MEDIAN] += change * (size < ledger[MEDIAN])
    ledger[BELOW_P99] += change * (size < ledger[P99])
    add_squares(ledger, sign * square_low(size), sign * square_high(size))


def open_holes(ledger, size, count):
    """``count`` holes of one size, in constant time; fewer than 2^31."""
    ledger[HOLES] += count
    if ledger[CENSUS] != 0:
        count_holes(ledger, size, count, 1)


def close_holes(ledger, size, count):
    ledger[HOLES] -= count
    if ledger[CENSUS] != 0:
        count_holes(ledger, size, count, -1)


@apart
def count_holes(ledger, size, count, sign):
    bytes = count * size
    size_class = highest_set(size)
    ledger[CLASS_HOLES + size_class] += sign * count
    ledger[CLASS_BYTES + size_class] += sign * bytes
    ledger[FREE] += sign * bytes
    if size < ledger[MEDIAN]:
        ledger[BELOW_MEDIAN] += sign * bytes
    if size < ledger[P99]:
        ledger[BELOW_P99] += sign * bytes
    # count * square_low(size), in two digits of 31 bits and what is above them.
    square = square_low(size)
    lower = count * (square & ((1 << HALF) - 1))
    upper = count * (square >> HALF) + (lower >> HALF)
    high = count * square_high(size) + (upper >> HALF)
    low = ((upper & ((1 << HALF) - 1)) << HALF) + (lower & ((1 << HALF) - 1))
    add_squares(ledger, sign * low, sign * high)


def add_squares(ledger, low, high):
    """Both below 2^62 in size, so one carry or borrow is enough and nothing overflows."""
    low += ledger[SQUARES]
    high += ledger[SQUARES_HIGH]
    if low >= SQUARE_UNIT:
        low -= SQUARE_UNIT
        high += 1
    elif low < 0:
        low += SQUARE_UNIT
        high -= 1
    ledger[SQUARES] = low
    ledger[SQUARES_HIGH] = high


def square_low(size):
    """size^2 modulo 2^62, for sizes up to 2^62, in 64-bit arithmetic."""
    if size < 1 << HALF:
        return size * size
    upper, lower = size >> HALF, size & ((1 << HALF) - 1)
    cross = ((upper * lower) & ((1 << 30) - 1)) << 32
    return (cross + lower * lower) & (SQUARE_UNIT - 1)


def square_high(size):
    """size^2 divided by 2^62, rounded down."""
    if size < 1 << HALF:
        return 0
    upper, lower = size >> HALF, size & ((1 << HALF) - 1)
    product = upper * lower
    cross = (product & ((1 << 30) - 1)) << 32
    return upper * upper + (product >> 30) + ((cross + lower * lower) >> 62)


def sum_of_squares(ledger):
    return int(ledger[SQUARES_HIGH]) * SQUARE_UNIT + int(ledger[SQUARES])
