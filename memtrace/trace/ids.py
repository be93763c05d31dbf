"""Live ids and their slots: a table of pairs with open addressing and linear probing, at most half full.

A removal shifts the pairs behind it back, so there are no tombstones. The kernel is compiled with these functions in it,
and numba's cache of it watches its own file alone: after an edit here, empty the cache.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numba.cpython.unsafe.numbers import leading_zeros
from numba.extending import overload


def log2_class(number: Any) -> Any:
    """floor(log2(number)), 0 for 0."""
    return int(number | 1).bit_length() - 1


@overload(log2_class, inline="always")
def _log2_class(number):  # type: ignore[no-untyped-def]
    zeros: Any = leading_zeros
    return lambda number: np.int64(63) - np.int64(zeros(np.uint64(number) | np.uint64(1)))


@njit(inline="always")
def home(id, mask):  # type: ignore[no-untyped-def]
    """Where an id would like to be: the top bits of its product with 2^64 / golden ratio (Knuth 3, 6.4)."""
    mixed = np.uint64(id) * np.uint64(0x9E3779B97F4A7C15)
    return np.int64(mixed >> np.uint64(63 - log2_class(mask)))


@njit(inline="always")
def find(pairs, mask, id):  # type: ignore[no-untyped-def]
    """The place of an id, or the empty place where it would go."""
    place = home(id, mask)
    while pairs[2 * place + 1] >= 0 and pairs[2 * place] != id:
        place = (place + 1) & mask
    return place


@njit(inline="always")
def take_out(pairs, mask, place):  # type: ignore[no-untyped-def]
    """Empty a place, and move the pairs behind it that would no longer be found."""
    hole = place
    following = (hole + 1) & mask
    while pairs[2 * following + 1] >= 0:
        wanted = home(pairs[2 * following], mask)
        # It may move if its home does not lie in the cyclic interval (hole, following].
        if ((following - wanted) & mask) >= ((following - hole) & mask):
            pairs[2 * hole], pairs[2 * hole + 1] = pairs[2 * following], pairs[2 * following + 1]
            hole = following
        following = (following + 1) & mask
    pairs[2 * hole + 1] = -1


@njit(cache=True, nogil=True, error_model="numpy")
def rehash(pairs, larger):  # type: ignore[no-untyped-def]
    """Move all pairs into an empty table of more places."""
    mask = larger.size // 2 - 1
    for place in range(pairs.size // 2):
        if pairs[2 * place + 1] >= 0:
            at = find(larger, mask, pairs[2 * place])
            larger[2 * at], larger[2 * at + 1] = pairs[2 * place], pairs[2 * place + 1]
