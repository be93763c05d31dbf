"""Bit scans over 64-bit words, and rounding to multiples and powers of two.

The engine compiles ``lowest_set`` and ``highest_set`` to one machine instruction each.
"""

import numpy as np

WORD = (1 << 64) - 1  # mask that makes a negative number its 64-bit pattern


def lowest_set(word):
    """Return the index (0 to 63) of the lowest set bit of ``word``, which must not be 0."""
    bits = int(word) & WORD
    return np.int64((bits & -bits).bit_length() - 1)


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
