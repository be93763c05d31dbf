"""Sizes: how a request is rounded to a block size, and how much the device is asked for. All in bytes."""

import numpy as np

from memtrace.structures.bits import align_up, highest_set

MIN_BLOCK = 512  # every block size and every address is a multiple of this
SMALL_SIZE = 1 << 20  # rounded requests up to this size go to the small pool, larger ones to the large pool
SMALL_BUFFER = 2 << 20  # segment size of the small pool, and page size of small expandable segments
MIN_LARGE_ALLOC = 10 << 20  # from this size on, a segment is made to measure for its request ...
ROUND_LARGE = 2 << 20  # ... and rounded up to a multiple of this
DIVISIONS = 16  # entries of the table of divisions, which count steps, not bytes


def rounded(size, divisions):
    """Return the block size for a request of ``size`` bytes, at least 1.

    ``divisions`` is the table's entry for this size (a power of two, or 0): if it is above 1, a doubling is divided into so many
    steps, and the request is rounded up to one; otherwise to a multiple of 512.
    """
    if size < MIN_BLOCK:
        return np.int64(MIN_BLOCK)
    if divisions > 1 and size > MIN_BLOCK * divisions:
        # size > 512 * divisions, so a step is at least 512.
        step = (1 << highest_set(size)) >> highest_set(divisions)
        return align_up(size, step)
    return align_up(size, MIN_BLOCK)


def doubling_of(size):
    """Return the index into the table of divisions for a size in bytes.

    Entry k is for [2^k MiB, 2^(k+1) MiB); the first entry is also for all smaller sizes and the last for all larger ones.
    """
    return min(max(highest_set(size) - 20, 0), DIVISIONS - 1)


def device_size(rules, size):
    """Return how many bytes the device is asked for when a block of ``size`` bytes (rounded) is needed."""
    if size <= SMALL_SIZE:
        return np.int64(SMALL_BUFFER)
    if size < MIN_LARGE_ALLOC:
        return np.int64(rules.large_buffer)
    return align_up(size, ROUND_LARGE)
