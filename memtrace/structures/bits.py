"""Bit scans over 64-bit words; the engine compiles them to one machine instruction each."""

import numpy as np

WORD = (1 << 64) - 1


def lowest_set(word):
    """Index of the lowest set bit of a word that is not 0."""
    bits = int(word) & WORD
    return np.int64((bits & -bits).bit_length() - 1)


def highest_set(word):
    """Index of the highest set bit of a word that is not 0."""
    return np.int64((int(word) & WORD).bit_length() - 1)


def round_up(value, step):
    """The smallest multiple of ``step`` that is not below ``value``; any step above 0."""
    return -(-value // step) * step


def align_up(address, align):
    """``round_up`` for a step that is a power of two."""
    return (address + align - 1) & -align


def next_power(value):
    """The smallest power of two that is not below ``value``; value at least 1."""
    return 1 if value <= 1 else 1 << (highest_set(value - 1) + 1)
