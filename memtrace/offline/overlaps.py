"""Which buffers live at the same time: for each, a list of the others. Only those must not overlap in addresses."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray


class Overlaps(NamedTuple):
    """The neighbours of buffer i are ``others[first[i]:first[i + 1]]``."""

    first: NDArray[np.int64]
    others: NDArray[np.int32]


@njit(cache=True, nogil=True)
def count_pairs(lower: Any, upper: Any) -> Any:
    """Pairs of buffers that live at the same time."""
    starts, ends = np.sort(lower), np.sort(upper)
    pairs, ended = 0, 0
    for i in range(starts.size):
        while ends[ended] <= starts[i]:
            ended += 1
        pairs += i - ended
    return pairs


@njit(cache=True, nogil=True)
def find(lower: Any, upper: Any) -> Any:
    """All pairs, both ways; takes 8 bytes for each."""
    first = np.zeros(lower.size + 1, np.int64)
    order = np.argsort(lower)
    _sweep(order, lower, upper, first, np.zeros(0, np.int32), False)
    first = np.concatenate((np.zeros(1, np.int64), np.cumsum(first[:-1])))
    others = np.empty(first[-1], np.int32)
    _sweep(order, lower, upper, first.copy(), others, True)
    return first, others


@njit(cache=True, nogil=True)
def _sweep(order: Any, lower: Any, upper: Any, at: Any, others: Any, fill: Any) -> None:
    """Go through the buffers by their begin with those that live; count each one's neighbours, or write them down."""
    live = np.empty(lower.size, np.int64)
    count = 0
    for new in order:
        kept = 0
        for q in range(count):
            old = live[q]
            if upper[old] > lower[new]:
                live[kept] = old
                kept += 1
                if fill:
                    others[at[old]] = new
                    others[at[new]] = old
                at[old] += 1
                at[new] += 1
        live[kept] = new
        count = kept + 1


def overlaps(lower: NDArray[np.int64], upper: NDArray[np.int64]) -> Overlaps:
    return Overlaps(*find(lower, upper))
