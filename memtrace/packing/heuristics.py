"""Packing without a proof: greedy packing, which places one buffer after the other, and annealing, which improves a packing.

Greedy packing places each buffer at the lowest address at which it meets none of those placed before. The order decides the
height. Three are tried: largest first, longest-lived first, largest area (bytes x events) first.

Simulated annealing goes over the order in which buffers are stacked, each upon the highest neighbour placed before it.
Neighbours are buffers that live at the same time. Some order of that kind is optimal: take an optimal packing, let everything
fall, and stack from below. A step takes a buffer on a chain from the top to the ground, in which each touches the next, and
moves it to another place in the order. The cost of an order is its height, and a little of what stands out above the lower
bound. A step stacks all buffers anew, with a floor for each section, until it is sure that chance refuses the change.
Steps are counted, not timed, and the random numbers are seeded, so the result is the same on every machine.

Source: Pisarchyk and Lee 2020, "Efficient memory management for deep neural net inference", greedy by size; Kirkpatrick, Gelatt
and Vecchi 1983, "Optimization by simulated annealing"; the move along critical chains is that of job-shop scheduling, van
Laarhoven, Aarts and Lenstra 1992.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from memtrace.kernels import jit
from memtrace.packing.buffers import spans

if TYPE_CHECKING:
    from memtrace.packing.buffers import Buffers, Overlaps

Ints = NDArray[np.int64]
HOT, COLD = 0.02, 0.0005  # temperature of annealing at the start and at the end, as a part of the lower bound


class Problem(NamedTuple):
    """The buffers that annealing stacks: columns of Buffers and Overlaps, and the lower bound."""

    begin: Ints  # [buffer] buffer b lives in the sections [begin[b], end[b])
    end: Ints
    first: Ints  # [buffer] the neighbours of buffer b are others[first[b] : first[b + 1]]
    others: NDArray[np.int32]
    size: Ints  # [buffer] bytes
    align: Ints  # [buffer] bytes
    bound: int  # bytes: no packing is lower


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


@jit()
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


def anneal(addresses: Ints, buffers: Buffers, overlaps: Overlaps, steps: int, seed: int = 0) -> Ints:
    """Return the lowest packing met in ``steps`` steps from the packing ``addresses``; it is never higher than that.

    Packings are addresses in bytes, by buffer. The result is the same for the same ``seed``.
    """
    order = np.argsort(addresses, kind="stable")
    begin, end, _ = spans(buffers)
    problem = Problem(
        begin=begin,
        end=end,
        first=overlaps.first,
        others=overlaps.others,
        size=buffers.size,
        align=buffers.align,
        bound=buffers.bound,
    )
    found: Ints = _anneal(order, problem, steps, seed)
    return found


@jit()
def _anneal(order: Any, problem: Any, steps: Any, seed: Any) -> Any:
    """Anneal for ``steps`` steps from the packing that stacking in ``order`` gives; return the addresses of the lowest one met.

    ``order`` is changed in place.
    """
    np.random.seed(seed)
    first, others, bound = problem.first, problem.others, problem.bound
    n, floor = order.size, np.empty(problem.end.max(), np.int64)
    position, at, new, chain = np.empty(n, np.int64), np.empty(n, np.int64), np.empty(n, np.int64), np.empty(n, np.int64)
    for p in range(n):
        position[order[p]] = p
    height, _ = _stack(order, problem, np.inf, 1.0, at, floor)
    cost, best, found = height + np.maximum(at + problem.size - bound, 0).sum() / n, height, at.copy()
    for step in range(steps):
        if best <= bound:
            break
        b = chain[np.random.randint(_chain(problem, position, at, height, chain))]
        i, j = position[b], np.random.randint(n)
        chance = np.random.random()
        if chance < 0.4 and first[b + 1] > first[b]:
            j = position[others[np.random.randint(first[b], first[b + 1])]]
        elif chance < 0.7:
            j = np.random.randint(i + 1)
        if i == j:
            continue
        _shift(order, position, i, j)
        heat = bound * HOT * (COLD / HOT) ** (step / steps)
        new_height, change = _stack(order, problem, cost, heat, new, floor)
        if new_height < 0:
            _shift(order, position, j, i)
            continue
        at, new = new, at
        height = new_height
        cost += change
        if height < best:
            best = height
            found[:] = at
    return found


@jit()
def _stack(order: Any, problem: Any, cost: Any, heat: Any, at: Any, floor: Any) -> Any:
    """Stack all buffers in ``order``; write their addresses to ``at``. Return the height, and the change from ``cost``.

    ``heat`` is the temperature in bytes; ``floor`` is scratch, by section. The height is -1 as soon as chance refuses the change,
    and ``at`` is then incomplete.
    """
    begin, end, size, align, bound = problem.begin, problem.end, problem.size, problem.align, problem.bound
    floor[:] = 0
    height, above, chance = 0, 0, -1.0
    for p in range(order.size):
        b = order[p]
        ground = np.int64(0)
        for s in range(begin[b], end[b]):
            ground = max(ground, floor[s])
        at[b] = (ground + align[b] - 1) & -align[b]
        top = at[b] + size[b]
        for s in range(begin[b], end[b]):
            floor[s] = top
        above += max(top - bound, 0)
        if top > height or p == order.size - 1:
            height = max(height, top)
            change = height + above / order.size - cost  # of the buffers so far; it only rises with more
            if change > 0:
                if chance < 0:
                    chance = np.random.random()
                if chance >= np.exp(-change / heat):
                    return -1, change
    return height, change


@jit()
def _chain(problem: Any, position: Any, at: Any, height: Any, chain: Any) -> Any:
    """Write to ``chain`` buffers that hold the height up, from the top to the ground, each touching the next; return how many.

    Ties fall by chance. ``position`` is the place of each buffer in the order, ``at`` its address.
    """
    first, others, size, align = problem.first, problem.others, problem.size, problem.align
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


@jit()
def _shift(order: Any, position: Any, i: Any, j: Any) -> None:
    """Move the buffer at place ``i`` of ``order`` to place ``j``, and update ``position``, the place of each buffer."""
    b = order[i]
    way = 1 if j > i else -1
    while i != j:
        order[i] = order[i + way]
        position[order[i]] = i
        i += way
    order[j] = b
    position[b] = j
