"""Find which buffers live at the same time: only those must not overlap in addresses."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray


class Overlaps(NamedTuple):
    """For each buffer the buffers that live at the same time, its neighbours.

    Those of buffer i are ``others[first[i]:first[i + 1]]``.
    """

    first: NDArray[np.int64]
    others: NDArray[np.int32]


@njit(cache=True, nogil=True)
def count_pairs(lower: Any, upper: Any) -> Any:
    """Return the number of pairs of buffers that live at the same time; buffer i lives over the events [lower[i], upper[i])."""
    starts, ends = np.sort(lower), np.sort(upper)
    pairs, ended = 0, 0
    for i in range(starts.size):
        while ends[ended] <= starts[i]:
            ended += 1
        pairs += i - ended
    return pairs


@njit(cache=True, nogil=True)
def find(lower: Any, upper: Any) -> Any:
    """Return the arrays of Overlaps: each pair of buffers that live at the same time, both ways; that takes 8 bytes per pair.

    Buffer i lives over the events [lower[i], upper[i]).
    """
    first = np.zeros(lower.size + 1, np.int64)
    order = np.argsort(lower)
    _sweep(order, lower, upper, first, np.zeros(0, np.int32), False)
    first = np.concatenate((np.zeros(1, np.int64), np.cumsum(first[:-1])))
    others = np.empty(first[-1], np.int32)
    _sweep(order, lower, upper, first.copy(), others, True)
    return first, others


@njit(cache=True, nogil=True)
def _sweep(order: Any, lower: Any, upper: Any, at: Any, others: Any, fill: Any) -> None:
    """Go through the buffers by begin (``order``), with a list of those that live, and count each one's neighbours in ``at``.

    If ``fill``, ``at[i]`` is where the next neighbour of buffer i goes in ``others``, and the neighbours are written there.
    """
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
    """Return the neighbours of each buffer; buffer i lives over the events [lower[i], upper[i])."""
    return Overlaps(*find(lower, upper))
