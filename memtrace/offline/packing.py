"""All methods over one trace's buffers, and the lowest packing of them."""

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

MOST_PAIRS = 40_000_000  # of buffers that live at the same time: 8 bytes each
STEPS_OF_ONE = 1_000_000_000  # of annealing times the pairs and buffers, at an effort of 1: some half a second


@dataclass(frozen=True)
class Packing:
    """Where a method puts every buffer: bytes, by request."""

    method: str
    addresses: NDArray[np.int64]
    height: int
    seconds: float
    proven: bool = False  # that no packing is lower


def height(addresses: NDArray[np.int64], buffers: Buffers) -> int:
    return int((addresses + buffers.size).max(initial=0))


def packings(buffers: Buffers, effort: int = 1, solver_seconds: float = 0) -> Iterator[Packing]:
    """Each method's packing, as it is found; none if too many buffers live at the same time for any method.

    ``effort`` scales the steps of annealing. ``solver_seconds`` is how long the solver may look for a better one
    (0: it is not asked; otherwise extra `offline` is needed).
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
