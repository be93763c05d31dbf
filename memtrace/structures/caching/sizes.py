"""Requests -> block sizes, and how much is asked of the device for them. All in bytes."""

import numpy as np

from memtrace.structures.bits import align_up, highest_set

MIN_BLOCK = 512  # every block is a multiple of this, and so is every address
SMALL_SIZE = 1 << 20  # rounded requests up to this go to the small pool
SMALL_BUFFER = 2 << 20  # what the device is asked for a small request, and the page of small expandable segments
MIN_LARGE_ALLOC = 10 << 20  # from here on the device is asked for what is needed
ROUND_LARGE = 2 << 20  # in multiples of this
DIVISIONS = 16


def rounded(size, divisions):
    """The block size of a request of at least 1 byte; a doubling is rounded in ``divisions`` steps, if that is above 1."""
    if size < MIN_BLOCK:
        return np.int64(MIN_BLOCK)
    if divisions > 1 and size > MIN_BLOCK * divisions:
        # size > 512 divisions, so a step is 512 at least.
        step = (1 << highest_set(size)) >> highest_set(divisions)
        return align_up(size, step)
    return align_up(size, MIN_BLOCK)


def doubling_of(size):
    """Which of the divisions is for a size: number k for [2^k MiB, 2^(k+1) MiB), the first and last for all beyond."""
    return min(max(highest_set(size) - 20, 0), DIVISIONS - 1)


def device_size(rules, size):
    """What the device is asked for when a block of ``size`` bytes is wanted."""
    if size <= SMALL_SIZE:
        return np.int64(SMALL_BUFFER)
    if size < MIN_LARGE_ALLOC:
        return np.int64(rules.large_buffer)
    return align_up(size, ROUND_LARGE)
