"""Pack a trace's buffers by each method: greedy packing, annealing, and the solver if it is asked for."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from memtrace.offline import annealing, greedy, solver
from memtrace.offline.overlaps import count_pairs, overlaps

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from memtrace.offline.buffers import Buffers

MOST_PAIRS = 40_000_000  # pairs of buffers that live at the same time: 8 bytes each
# Steps of annealing x (neighbours + buffers) at an effort of 1: some half a second.
STEPS_OF_ONE = 1_000_000_000


@dataclass(frozen=True)
class Packing:
    """A packing of all buffers, and the method that found it."""

    method: str
    addresses: NDArray[np.int64]  # [request] bytes
    height: int  # bytes
    seconds: float
    proven: bool = False  # it is proven that no packing is lower


def height(addresses: NDArray[np.int64], buffers: Buffers) -> int:
    """Return the height of a packing in bytes: the end of the buffer that reaches highest."""
    return int((addresses + buffers.size).max(initial=0))


def packings(buffers: Buffers, effort: int = 1, solver_seconds: float = 0) -> Iterator[Packing]:
    """Yield each method's packing as it is found; none if more than MOST_PAIRS pairs of buffers live at the same time.

    ``effort`` scales the steps of annealing. ``solver_seconds`` is how long the solver may look for a better packing (0: the
    solver is not called; otherwise extra `offline` is needed).
    """
    if len(buffers) == 0 or count_pairs(buffers.lower, buffers.upper) > MOST_PAIRS:
        return
    started = time.perf_counter()
    neighbours = overlaps(buffers.lower, buffers.upper)
    best = None
    for method, order in greedy.orders(buffers).items():
        addresses = greedy.place(order, buffers, neighbours)
        found = Packing(method, addresses, height(addresses, buffers), time.perf_counter() - started)
        best = found if best is None or found.height < best.height else best
        yield found
        started = time.perf_counter()
    assert best is not None
    steps = effort * STEPS_OF_ONE // (neighbours.others.size + len(buffers))
    addresses = annealing.anneal(best.addresses, buffers, neighbours, steps)
    found = Packing("annealing", addresses, height(addresses, buffers), time.perf_counter() - started)
    yield found
    if solver_seconds > 0:
        yield solver.solve(min(best, found, key=lambda packing: packing.height), buffers, solver_seconds)
