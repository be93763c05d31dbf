"""Decide whether a trace fits in a capacity: by a packing, or a proof that there is none; both may fail."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from memtrace.errors import UsageError
from memtrace.offline import search, solver
from memtrace.offline.overlaps import overlaps
from memtrace.offline.packing import Packing, height
from memtrace.units import format_size

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from memtrace.offline.buffers import Buffers

STEPS_OF_ONE = 5_000_000  # placements tried at an effort of 1


@dataclass(frozen=True)
class Outcome:
    """The outcome of a search for a packing within a capacity: the packing, or a proof that there is none, or neither."""

    packing: Packing | None
    impossible: bool  # it is proven that there is no packing
    method: str  # "search" or "CP-SAT", whichever found or proved it, or gave up last
    steps: int  # placements that the search tried
    seconds: float

    def says(self, buffers: Buffers, capacity: int) -> str:
        """Return the outcome as a sentence; ``buffers`` and ``capacity`` (bytes) are those that were searched for."""
        if self.packing is not None:
            return f"{self.method} packs {len(buffers):,} blocks in {format_size(self.packing.height)}"
        if buffers.bound > capacity:
            return f"does not fit in {format_size(capacity)}: {format_size(buffers.bound)} live at once"
        if self.impossible:
            return f"does not fit in {format_size(capacity)}: {self.method} proves that no packing does"
        return f"no packing in {format_size(capacity)} found, nor a proof that there is none; try a larger --effort, or --solver"


def within(
    buffers: Buffers, capacity: int, effort: int = 1, solver_seconds: float = 0, lasts: NDArray[np.int64] | None = None
) -> Outcome:
    """Look for a packing no higher than ``capacity`` bytes by search, then by the solver if ``solver_seconds`` is more than 0.

    ``effort`` scales the steps of the search. ``lasts`` is how long each buffer lives by the program's clock, if that is known.
    Raises UsageError where there are too many buffers for the search, or where the solver is not installed.
    """
    if len(buffers) > search.MOST_BUFFERS and buffers.bound <= capacity:
        raise UsageError(
            f"{len(buffers):,} blocks are too many to search for a packing: at most {search.MOST_BUFFERS:,}; "
            "try it without --capacity"
        )
    started = time.perf_counter()
    neighbours = overlaps(buffers.lower, buffers.upper)
    found = search.fit(buffers, neighbours, capacity, effort * STEPS_OF_ONE, lasts)
    addresses, impossible, method = found.addresses, found.impossible, "search"
    if addresses is None and not impossible and solver_seconds > 0:
        addresses, impossible = solver.decide(buffers, capacity, solver_seconds)
        method = "CP-SAT"
    seconds = time.perf_counter() - started
    packing = None if addresses is None else Packing(method, addresses, height(addresses, buffers), seconds)
    return Outcome(packing, impossible, method, found.steps, seconds)
