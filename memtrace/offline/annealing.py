"""Simulated annealing over the order in which buffers are stacked, each upon the highest neighbour placed before it.

Some order of that kind is optimal: take an optimal packing, let everything fall, and stack from below. A step takes a
buffer on a chain from the top to the ground, each touching the next, and moves it to another place in the order; cost is
the height, and a little of what stands out above the lower bound. The steps are counted, not timed, and the chance is
seeded, so the result is the same on every machine.
Source: Kirkpatrick, Gelatt and Vecchi 1983, "Optimization by simulated annealing"; the move along critical chains is that
of job-shop scheduling, van Laarhoven, Aarts and Lenstra 1992.
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

HOT, COLD = 0.02, 0.0005  # temperature at the start and at the end, of the lower bound


def anneal(addresses: Ints, buffers: Buffers, overlaps: Overlaps, steps: int, seed: int = 0) -> Ints:
    """The best packing met in so many steps from a given one; never higher than that."""
    order = np.argsort(addresses, kind="stable")
    found: Ints = _anneal(order, overlaps.first, overlaps.others, buffers.size, buffers.align, buffers.bound, steps, seed)
    return found


@njit(cache=True, nogil=True)
def _stack(position: Any, order: Any, first: Any, others: Any, size: Any, align: Any, bound: Any, at: Any) -> Any:
    """Stack all buffers in order; the height, and the mean of what stands out above the bound."""
    at[:] = 0
    height, above = 0, 0
    for p in range(order.size):
        b = order[p]
        at[b] = (at[b] + align[b] - 1) & -align[b]
        end = at[b] + size[b]
        height = max(height, end)
        above += max(end - bound, 0)
        for q in range(first[b], first[b + 1]):
            other = others[q]
            if at[other] < end and position[other] > p:
                at[other] = end
    return height, above / order.size


@njit(cache=True, nogil=True)
def _chain(position: Any, first: Any, others: Any, size: Any, align: Any, at: Any, height: Any, chain: Any) -> Any:
    """A chain of buffers that hold the height up, from the top to the ground; its length. Ties fall by chance."""
    b, met = -1, 0
    for i in range(size.size):
        if at[i] + size[i] == height:
            met += 1
            if np.random.randint(met) == 0:
                b = i
    length = 0
    while b >= 0:
        chain[length] = b
        length += 1
        below, met = -1, 0
        for q in range(first[b], first[b + 1]):
            other = others[q]
            touches = at[b] - at[other] - size[other]
            if position[other] < position[b] and 0 <= touches < align[b]:
                met += 1
                if np.random.randint(met) == 0:
                    below = other
        b = below
    return length


@njit(cache=True, nogil=True)
def _shift(order: Any, position: Any, i: Any, j: Any) -> None:
    """Move the buffer at place i of the order to place j."""
    b = order[i]
    way = 1 if j > i else -1
    while i != j:
        order[i] = order[i + way]
        position[order[i]] = i
        i += way
    order[j] = b
    position[b] = j


@njit(cache=True, nogil=True)
def _anneal(order: Any, first: Any, others: Any, size: Any, align: Any, bound: Any, steps: Any, seed: Any) -> Any:
    np.random.seed(seed)
    n = order.size
    position, at, chain = np.empty(n, np.int64), np.empty(n, np.int64), np.empty(n, np.int64)
    for p in range(n):
        position[order[p]] = p
    height, above = _stack(position, order, first, others, size, align, bound, at)
    cost, best, found = height + above, height, at.copy()
    for step in range(steps):
        if best <= bound:
            break
        b = chain[np.random.randint(_chain(position, first, others, size, align, at, height, chain))]
        i, j = position[b], np.random.randint(n)
        chance = np.random.random()
        if chance < 0.4 and first[b + 1] > first[b]:
            j = position[others[np.random.randint(first[b], first[b + 1])]]
        elif chance < 0.7:
            j = np.random.randint(i + 1)
        if i == j:
            continue
        _shift(order, position, i, j)
        new_height, above = _stack(position, order, first, others, size, align, bound, at)
        change = new_height + above - cost
        heat = bound * HOT * (COLD / HOT) ** (step / steps)
        if change <= 0 or np.random.random() < np.exp(-change / heat):
            cost += change
            height = new_height
            if height < best:
                best = height
                found[:] = at
        else:
            _shift(order, position, j, i)
            _stack(position, order, first, others, size, align, bound, at)
    return found
