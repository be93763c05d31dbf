"""Size classes: 2^steps of them to a doubling, and below the first doubling the multiples of the alignment.

With an alignment of 16 bytes and 4 to a doubling:

    16 32 48 64 | 80 96 112 128 | 160 192 224 256 | 320 384 448 512 | 640 ...

A class is at most delta - 1 bytes larger than the request, where delta is the step to the class below. With s classes to
a doubling delta is at most 1 / (s + 1) of the class, above s times the alignment. A multiple of some power of two is given
a class that is a multiple of it too.
"""

from typing import NamedTuple

from memtrace.structures.bits import highest_set


class Spacing(NamedTuple):
    quantum: int  # log2 of the alignment
    steps: int  # log2 of the classes to a doubling


def new_spacing(align, spacing):
    if spacing not in (1, 2, 4, 8):
        raise ValueError(f"spacing={spacing} is none of 1, 2, 4, 8 classes per doubling")
    return Spacing(int(highest_set(align)), int(highest_set(spacing)))


def class_of(spacing, size):
    """The number of the smallest class that holds ``size`` bytes, at least 1."""
    units = (size - 1) >> spacing.quantum
    shift = highest_set(units | (1 << spacing.steps)) - spacing.steps
    return (shift << spacing.steps) + (units >> shift)


def class_size(spacing, number):
    """The bytes of a class."""
    shift = max((number >> spacing.steps) - 1, 0)
    return (number - (shift << spacing.steps) + 1) << (shift + spacing.quantum)
