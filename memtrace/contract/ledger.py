"""The ledger: the array of counts that a policy keeps while it works and that the engine reads.

A policy whose state has a field ``ledger`` gets every measure, and need not report anything else. A hole is a maximal free range
of reserved bytes, unless the policy says otherwise; all sizes are in bytes.

Each entry is exact at all times, but for one hole that a policy may call the tail: the counts of hole sizes (FREE, SQUARES,
SQUARES_HIGH, BELOW_MEDIAN, BELOW_P99, CLASS_HOLES, CLASS_BYTES) have its size as it was at the last ``settle``, which is called
before they are read.
"""

import numpy as np

from memtrace.contract.bits import highest_set
from memtrace.contract.calls import out_of_line
from memtrace.contract.largest import FLOOR, LARGE_END, OFF

RESERVED = 0  # reserved bytes; in one address range they are counted from 0, so this is also the address of the top
ALLOCATED = 1  # bytes of live blocks with rounding, headers and padding
HOLES = 2  # number of holes
FREE = 3  # bytes in holes
SQUARES = 4  # sum of the squares of the hole sizes, modulo 2^62
SQUARES_HIGH = 5  # the same sum divided by 2^62, rounded down
BELOW_MEDIAN = 6  # bytes in holes smaller than the trace's median request
BELOW_P99 = 7  # bytes in holes smaller than the 99th percentile of its requests
MEDIAN = 8  # bytes of the median request
P99 = 9  # bytes of the 99th percentile of the requests
SPLITS = 10  # splits of a block or hole so far
MERGES = 11  # joins of two neighbours so far
MOVED = 12  # bytes that the policy itself moved so far
RESERVE_CALLS = 13  # calls so far that got memory from the system
RELEASE_CALLS = 14  # calls so far that gave memory back
INSPECTED = 15  # holes that a linear free list would have looked at for the current request
HOLE_TAKEN = 16  # bytes of the hole that the current request was served from; 0 if it was served from none
BLOCK_SIZE = 17  # bytes of the block for the current request
COUNT_SIZES = 18  # 1: hole sizes are counted (FREE to BELOW_P99, CLASS_HOLES, CLASS_BYTES)
COUNT_INSPECTED = 19  # 1: the policy counts INSPECTED
LARGEST = 20  # bytes of the largest hole, for a policy that reports it after every call
HAS_COMPLETIONS = 21  # 1: the trace has events that say when recorded stream work is done
TAIL = 22  # bytes of one hole that changes with nearly every request, such as the one on top of a stack; 0: none
TAIL_COUNTED = 23  # bytes of it that are in the counts
CLASS_HOLES = 32  # + floor(log2(size)): number of holes of the class
CLASS_BYTES = 96  # + floor(log2(size)): bytes in holes of the class
CLASSES_END = 160  # where the classes end
LENGTH = LARGE_END  # entries of the ledger; those of ``largest`` come last

HALF = 31  # bits of a digit in the arithmetic of squares: half of 62
SQUARE_UNIT = 1 << 62  # weight of SQUARES_HIGH


def new_ledger(reserved):
    """Return a ledger with ``reserved`` bytes reserved and no holes, which counts hole sizes and searches."""
    ledger = np.zeros(LENGTH, np.int64)
    ledger[RESERVED] = reserved
    ledger[COUNT_SIZES] = 1
    ledger[COUNT_INSPECTED] = 1
    ledger[FLOOR] = OFF
    return ledger


def set_detail(ledger, median, p99, census, searches, holes=None):
    """Set what the ledger counts, before the first event.

    ``median`` and ``p99`` are request sizes in bytes; ``census`` and ``searches`` say whether hole sizes and inspected holes
    are counted; ``holes`` are the sizes of the holes at the start, needed where ``first_holes`` cannot derive them.
    """
    sizes = list(first_holes(ledger)) if holes is None else holes
    settle(ledger)
    ledger[MEDIAN] = median
    ledger[P99] = p99
    ledger[BELOW_MEDIAN] = sum(size for size in sizes if size < median)
    ledger[BELOW_P99] = sum(size for size in sizes if size < p99)
    ledger[COUNT_SIZES] = census
    if not census:
        ledger[FLOOR] = OFF
    ledger[COUNT_INSPECTED] = searches


def first_holes(ledger):
    """Yield the sizes of the holes at the start, from the counts per class; at most one of them may be no power of two."""
    settle(ledger)
    for size_class in range(64):
        count, size = int(ledger[CLASS_HOLES + size_class]), int(ledger[CLASS_BYTES + size_class])
        if count > 0:
            yield from [1 << size_class] * (count - 1)
            yield size - (count - 1) * (1 << size_class)


def open_hole(ledger, size):
    """Count a new hole of ``size`` bytes."""
    ledger[HOLES] += 1
    if ledger[COUNT_SIZES] != 0:
        count_hole(ledger, size, 1)


def close_hole(ledger, size):
    """Stop counting a hole of ``size`` bytes."""
    ledger[HOLES] -= 1
    if ledger[COUNT_SIZES] != 0:
        count_hole(ledger, size, -1)


def count_hole(ledger, size, sign):
    """Add a hole of ``size`` bytes to all counts of sizes (``sign`` 1), or subtract it (-1); HOLES is left to the caller."""
    count_class(ledger, size, sign)
    change = sign * size
    ledger[FREE] += change
    # No branches: the processor cannot predict on which side of the limits a hole is.
    ledger[BELOW_MEDIAN] += change if size < ledger[MEDIAN] else 0
    ledger[BELOW_P99] += change if size < ledger[P99] else 0
    if size < 1 << HALF:
        add_square(ledger, change * size)
    else:
        add_squares(ledger, sign * square_low(size), sign * square_high(size))


def resize_hole(ledger, size, new_size):
    """Count a hole of ``size`` bytes as a hole of ``new_size`` bytes."""
    if ledger[COUNT_SIZES] != 0:
        recount_hole(ledger, size, new_size)


def recount_hole(ledger, size, new_size):
    """Change the size of a hole in all counts of sizes: each sum is written once for both sizes."""
    count_class(ledger, size, -1)
    count_class(ledger, new_size, 1)
    median, p99 = ledger[MEDIAN], ledger[P99]
    ledger[FREE] += new_size - size
    ledger[BELOW_MEDIAN] += (new_size if new_size < median else 0) - (size if size < median else 0)
    ledger[BELOW_P99] += (new_size if new_size < p99 else 0) - (size if size < p99 else 0)
    if max(size, new_size) < 1 << HALF:
        add_square(ledger, new_size * new_size - size * size)
    else:
        add_squares(ledger, -square_low(size), -square_high(size))
        add_squares(ledger, square_low(new_size), square_high(new_size))


def count_class(ledger, size, sign):
    """Add a hole of ``size`` bytes to the counts of its class (``sign`` 1), or subtract it (-1)."""
    size_class = np.uint64(highest_set(size))
    ledger[np.uint64(CLASS_HOLES) + size_class] += sign
    ledger[np.uint64(CLASS_BYTES) + size_class] += sign * size


def add_square(ledger, change):
    """Add ``change``, below 2^62 in absolute value, to the sum of the squares of the hole sizes."""
    low = ledger[SQUARES] + change
    if low < 0:
        low += SQUARE_UNIT
        ledger[SQUARES_HIGH] -= 1
    elif low >= SQUARE_UNIT:
        low -= SQUARE_UNIT
        ledger[SQUARES_HIGH] += 1
    ledger[SQUARES] = low


def settle(ledger):
    """Bring the counts of sizes up to date with the tail."""
    if ledger[TAIL] != ledger[TAIL_COUNTED]:
        settle_tail(ledger)


@out_of_line
def settle_tail(ledger):
    """Count the tail with the size that it has now."""
    for size, sign in ((ledger[TAIL_COUNTED], -1), (ledger[TAIL], 1)):
        if size > 0:
            count_holes(ledger, size, 1, sign)
    ledger[TAIL_COUNTED] = ledger[TAIL]


def open_holes(ledger, size, count):
    """Count ``count`` new holes of ``size`` bytes each, in constant time; ``count`` is below 2^31."""
    ledger[HOLES] += count
    if ledger[COUNT_SIZES] != 0:
        count_holes(ledger, size, count, 1)


def close_holes(ledger, size, count):
    """Stop counting ``count`` holes of ``size`` bytes each, in constant time; ``count`` is below 2^31."""
    ledger[HOLES] -= count
    if ledger[COUNT_SIZES] != 0:
        count_holes(ledger, size, count, -1)


@out_of_line
def count_holes(ledger, size, count, sign):
    """Add ``count`` holes of ``size`` bytes each to all counts of sizes (``sign`` 1), or subtract them (-1); not to HOLES."""
    bytes = count * size
    size_class = highest_set(size)
    ledger[CLASS_HOLES + size_class] += sign * count
    ledger[CLASS_BYTES + size_class] += sign * bytes
    ledger[FREE] += sign * bytes
    if size < ledger[MEDIAN]:
        ledger[BELOW_MEDIAN] += sign * bytes
    if size < ledger[P99]:
        ledger[BELOW_P99] += sign * bytes
    # count * square_low(size), in two digits of 31 bits and the part above them, so that no product overflows.
    square = square_low(size)
    lower = count * (square & ((1 << HALF) - 1))
    upper = count * (square >> HALF) + (lower >> HALF)
    high = count * square_high(size) + (upper >> HALF)
    low = ((upper & ((1 << HALF) - 1)) << HALF) + (lower & ((1 << HALF) - 1))
    add_squares(ledger, sign * low, sign * high)


def add_squares(ledger, low, high):
    """Add high * 2^62 + low to the sum of the squares of the hole sizes; both arguments may be negative.

    Both are below 2^62 in absolute value, so one carry or borrow is enough and nothing overflows.
    """
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
    """Return size^2 modulo 2^62, for sizes up to 2^62, in 64-bit arithmetic."""
    if size < 1 << HALF:
        return size * size
    upper, lower = size >> HALF, size & ((1 << HALF) - 1)
    cross = ((upper * lower) & ((1 << 30) - 1)) << 32
    return (cross + lower * lower) & (SQUARE_UNIT - 1)


def square_high(size):
    """Return size^2 divided by 2^62, rounded down, for sizes up to 2^62, in 64-bit arithmetic."""
    if size < 1 << HALF:
        return 0
    upper, lower = size >> HALF, size & ((1 << HALF) - 1)
    product = upper * lower
    cross = (product & ((1 << 30) - 1)) << 32
    return upper * upper + (product >> 30) + ((cross + lower * lower) >> 62)


def sum_of_squares(ledger):
    """Return the sum of the squares of the hole sizes (bytes squared), as a Python integer of any length."""
    return int(ledger[SQUARES_HIGH]) * SQUARE_UNIT + int(ledger[SQUARES])
