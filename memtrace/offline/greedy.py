"""Greedy packing: place one buffer after the other, at the lowest address at which it meets none of those placed before.

The order decides the height. Three are tried: largest first, longest-lived first, largest area (bytes x events) first.
Source: Pisarchyk and Lee 2020, "Efficient memory management for deep neural net inference", greedy by size.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

if TYPE_CHECKING:
    from memtrace.offline.buffers import Buffers
    from memtrace.offline.overlaps import Overlaps

Ints = NDArray[np.int64]


def orders(buffers: Buffers) -> dict[str, Ints]:
    """Return the orders that are tried, by name; of equals the buffer that lives first goes first."""
    lives = buffers.upper - buffers.lower
    area = buffers.size.astype(np.float64) * lives
    return {
        "greedy by size": np.lexsort((buffers.lower, -buffers.size)),
        "greedy by lifetime": np.lexsort((buffers.lower, -buffers.size, -lives)),
        "greedy by area": np.lexsort((buffers.lower, -area)),
    }


def place(order: Ints, buffers: Buffers, overlaps: Overlaps) -> Ints:
    """Return the addresses of all buffers, in bytes, by buffer, as greedy packing places them in ``order``."""
    addresses: Ints = _place(order, overlaps.first, overlaps.others, buffers.size, buffers.align)
    return addresses


@njit(cache=True, nogil=True)
def _place(order: Any, first: Any, others: Any, size: Any, align: Any) -> Any:
    """Return the addresses that `place` does; the neighbours of buffer b are ``others[first[b]:first[b + 1]]``."""
    addresses = np.full(order.size, -1, np.int64)
    starts, ends = np.empty(order.size, np.int64), np.empty(order.size, np.int64)
    for b in order:
        count = 0
        for q in range(first[b], first[b + 1]):
            other = others[q]
            if addresses[other] >= 0:
                starts[count] = addresses[other]
                ends[count] = addresses[other] + size[other]
                count += 1
        address = 0
        for q in np.argsort(starts[:count]):
            address = (address + align[b] - 1) & -align[b]
            if starts[q] - address >= size[b]:
                break
            address = max(address, ends[q])
        addresses[b] = (address + align[b] - 1) & -align[b]
    return addresses
