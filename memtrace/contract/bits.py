"""Bit scans over 64-bit words, and rounding to multiples and powers of two.

``lowest_set`` and ``highest_set`` are compiled to one machine instruction each.
"""

import numpy as np

from memtrace.kernels import compiled_as

WORD = (1 << 64) - 1  # mask that makes a negative number its 64-bit pattern


def count_trailing_zeros():
    """Have ``lowest_set`` compiled to an instruction."""
    from numba.cpython.unsafe.numbers import trailing_zeros
    from numba.extending import overload

    # Numba compares the two signatures, annotations included, so neither has any.
    @overload(lowest_set, inline="always")
    def scan(word):
        return lambda word: np.int64(trailing_zeros(np.uint64(word)))


def count_leading_zeros():
    """Have ``highest_set`` compiled to an instruction."""
    from numba.cpython.unsafe.numbers import leading_zeros
    from numba.extending import overload

    @overload(highest_set, inline="always")
    def scan(word):
        return lambda word: np.int64(63) - np.int64(leading_zeros(np.uint64(word)))


@compiled_as(count_trailing_zeros)
def lowest_set(word):
    """Return the index (0 to 63) of the lowest set bit of ``word``, which must not be 0."""
    bits = int(word) & WORD
    return np.int64((bits & -bits).bit_length() - 1)


@compiled_as(count_leading_zeros)
def highest_set(word):
    """Return the index (0 to 63) of the highest set bit of ``word``, which must not be 0."""
    return np.int64((int(word) & WORD).bit_length() - 1)


def round_up(value, step):
    """Return the smallest multiple of ``step`` that is not below ``value``; ``step`` is any number above 0."""
    return -(-value // step) * step


def align_up(address, align):
    """Return the smallest multiple of ``align``, a power of two, that is not below ``address``."""
    return (address + align - 1) & -align


def next_power(value):
    """Return the smallest power of two that is not below ``value``, which is at least 1."""
    return 1 if value <= 1 else 1 << (highest_set(value - 1) + 1)
