"""Size classes: 2^steps classes per doubling, and below the first doubling the multiples of the alignment.

With an alignment of 16 bytes and 4 classes per doubling:

    16 32 48 64 | 80 96 112 128 | 160 192 224 256 | 320 384 448 512 | 640 ...

A class is at most delta - 1 bytes larger than the request, where delta is the distance to the next smaller class. With s classes
per doubling, delta is at most 1 / (s + 1) of a class that is above s times the alignment. If a power of two divides the request,
it also divides the class.
"""

from typing import NamedTuple

from memtrace.structures.bits import highest_set


class Spacing(NamedTuple):
    """Parameters of the size classes."""

    quantum: int  # log2 of the alignment in bytes
    steps: int  # log2 of the number of classes per doubling


def new_spacing(align, spacing):
    """Return the parameters for ``spacing`` classes per doubling (1, 2, 4 or 8; else ValueError) and the alignment ``align``."""
    if spacing not in (1, 2, 4, 8):
        raise ValueError(f"spacing={spacing} is none of 1, 2, 4, 8 classes per doubling")
    return Spacing(int(highest_set(align)), int(highest_set(spacing)))


def class_of(spacing, size):
    """Return the number, from 0 on, of the smallest class that holds ``size`` bytes; ``size`` is at least 1."""
    units = (size - 1) >> spacing.quantum
    shift = highest_set(units | (1 << spacing.steps)) - spacing.steps
    return (shift << spacing.steps) + (units >> shift)


def class_size(spacing, number):
    """Return the bytes of the class with this number."""
    shift = max((number >> spacing.steps) - 1, 0)
    return (number - (shift << spacing.steps) + 1) << (shift + spacing.quantum)
