"""Pack a trace's buffers by each method: greedy packing, annealing, and the solver if it is asked for.

`packings` yields a packing of each method; `plan` makes of the lowest one what policy ``optimum`` follows. `fit_within` decides
whether a trace fits in a capacity: by a packing, or a proof that there is none; both may fail. The constraint solver CP-SAT of
OR-tools, which needs extra `offline`, finds better packings where greedy packing and annealing leave a gap, and proofs that
there are none.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from memtrace.errors import UsageError
from memtrace.packing import heuristics, search
from memtrace.packing.buffers import buffers_of, count_pairs, overlaps
from memtrace.units import format_size

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from memtrace.packing.buffers import Buffers
    from memtrace.trace import Trace

MOST_PAIRS = 40_000_000  # pairs of buffers that live at the same time: 8 bytes each
# Steps of annealing x (neighbours + buffers) at an effort of 1: some half a second.
STEPS_OF_ONE = 1_000_000_000
PLACEMENTS_OF_ONE = 5_000_000  # placements tried at an effort of 1


@dataclass(frozen=True)
class Packing:
    """A packing of all buffers, and the method that found it."""

    method: str
    addresses: NDArray[np.int64]  # [request] bytes
    height: int  # bytes
    seconds: float
    proven: bool = False  # it is proven that no packing is lower


@dataclass(frozen=True)
class Outcome:
    """The outcome of a search for a packing within a capacity: the packing, or a proof that there is none, or neither."""

    packing: Packing | None
    impossible: bool  # it is proven that there is no packing
    method: str  # "search" or "CP-SAT", whichever found or proved it, or gave up last
    steps: int  # placements that the search tried
    seconds: float
    nearest: Packing | None = None  # where there are too many buffers to search: the lowest packing known, if it does not fit

    def says(self, buffers: Buffers, capacity: int) -> str:
        """Return the outcome as a sentence; ``buffers`` and ``capacity`` (bytes) are those that were searched for."""
        if self.packing is not None:
            return f"{self.method} packs {len(buffers):,} blocks in {format_size(self.packing.height)}"
        if buffers.bound > capacity:
            return f"does not fit in {format_size(capacity)}: {format_size(buffers.bound)} live at once"
        if self.impossible:
            return f"does not fit in {format_size(capacity)}: {self.method} proves that no packing does"
        if self.nearest is not None:
            return (
                f"no packing in {capacity:,} B found: {self.method} needs {self.nearest.height:,} B, and "
                f"{len(buffers):,} blocks are too many to search for a lower one (at most {search.MOST_BUFFERS:,})"
            )
        return f"no packing in {format_size(capacity)} found, nor a proof that there is none; try a larger --effort, or --solver"


class Plan(NamedTuple):
    """The addresses of a packing, by request of the trace, in order."""

    addresses: NDArray[np.int64]  # [request] bytes
    follows: NDArray[np.int64]  # [request] the next request of the same block, -1 if there is none
    seconds: None = None  # the replay's time is the loop's own


def plan(trace: Trace, align: int, effort: int, online: Iterable[NDArray[np.int64]]) -> Plan:
    """Return the lowest packing of ``trace`` as a plan, with sizes and addresses aligned to ``align`` bytes.

    ``effort`` scales the steps of annealing. ``online`` are the addresses, by request, that policies give which do not know
    the future. One of them is taken where no packing is lower, as a block that grows in place may be worth more than a better
    address.
    """
    buffers = buffers_of(trace, align)
    found = [(packing.height, packing.addresses) for packing in packings(buffers, effort)]
    found += [(height(addresses, buffers), addresses) for addresses in online]
    return Plan(min(found, key=lambda pair: pair[0])[1], buffers.follows)


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
    for method, order in heuristics.orders(buffers).items():
        addresses = heuristics.place(order, buffers, neighbours)
        found = packed(method, addresses, buffers, time.perf_counter() - started)
        best = found if best is None or found.height < best.height else best
        yield found
        started = time.perf_counter()
    assert best is not None
    steps = effort * STEPS_OF_ONE // (neighbours.others.size + len(buffers))
    addresses = heuristics.anneal(best.addresses, buffers, neighbours, steps)
    found = packed("annealing", addresses, buffers, time.perf_counter() - started)
    yield found
    if solver_seconds > 0:
        yield solve(min(best, found, key=lambda packing: packing.height), buffers, solver_seconds)


def fit_within(
    buffers: Buffers, capacity: int, effort: int = 1, solver_seconds: float = 0, lasts: NDArray[np.int64] | None = None
) -> Outcome:
    """Look for a packing no higher than ``capacity`` bytes by search, then by the solver if ``solver_seconds`` is more than 0.

    ``effort`` scales the steps of the search. ``lasts`` is how long each buffer lives by the program's clock, if that is known.
    There are at most `search.MOST_BUFFERS` buffers, or they exceed the capacity by their bound alone (`is_searched`). Raises
    UsageError where the solver is not installed.
    """
    started = time.perf_counter()
    neighbours = overlaps(buffers.lower, buffers.upper)
    found = search.fit(buffers, neighbours, capacity, effort * PLACEMENTS_OF_ONE, lasts)
    addresses, impossible, method = found.addresses, found.impossible, "search"
    if addresses is None and not impossible and solver_seconds > 0:
        addresses, impossible = decide(buffers, capacity, solver_seconds)
        method = "CP-SAT"
    seconds = time.perf_counter() - started
    packing = None if addresses is None else packed(method, addresses, buffers, seconds)
    return Outcome(packing=packing, impossible=impossible, method=method, steps=found.steps, seconds=seconds)


def is_searched(buffers: Buffers, capacity: int) -> bool:
    """Return whether `fit_within` can answer: there are few buffers, or more live at once than the capacity."""
    return len(buffers) <= search.MOST_BUFFERS or buffers.bound > capacity


def within(known: Sequence[Packing], capacity: int) -> Outcome:
    """Return the outcome of a search that is none: the lowest of the packings that are ``known``, at least one."""
    lowest = min(known, key=lambda packing: packing.height)
    fits, seconds = lowest.height <= capacity, sum(packing.seconds for packing in known)
    return Outcome(
        packing=lowest if fits else None,
        impossible=False,
        method=lowest.method,
        steps=0,
        seconds=seconds,
        nearest=None if fits else lowest,
    )


def packed(method: str, addresses: NDArray[np.int64], buffers: Buffers, seconds: float) -> Packing:
    """Return the packing that a method found in ``seconds`` seconds."""
    return Packing(method=method, addresses=addresses, height=height(addresses, buffers), seconds=seconds)


def height(addresses: NDArray[np.int64], buffers: Buffers) -> int:
    """Return the height of a packing in bytes: the end of the buffer that reaches highest."""
    return int((addresses + buffers.size).max(initial=0))


def solve(known: Packing, buffers: Buffers, seconds: float) -> Packing:
    """Return the lowest packing found in ``seconds`` seconds, starting from the packing ``known``, and never higher than that.

    Raises UsageError if OR-tools is not installed.
    """
    started = time.perf_counter()
    model, at, ends, unit = _model(buffers, known.height)
    top = model.new_int_var(-(-buffers.bound // unit), known.height // unit, "height")
    for variable, end, address in zip(at, ends, known.addresses // buffers.align, strict=True):
        model.add(end <= top)
        model.add_hint(variable, int(address))
    model.minimize(top)
    found, optimal = _run(model, at, buffers, seconds)
    addresses = known.addresses if found is None else found
    lowest = packed("CP-SAT", addresses, buffers, time.perf_counter() - started)
    return replace(lowest, proven=found is not None and optimal)


def decide(buffers: Buffers, capacity: int, seconds: float) -> tuple[NDArray[np.int64] | None, bool]:
    """Look for a packing no higher than ``capacity`` bytes for ``seconds`` seconds.

    Return its addresses in bytes, or None; and whether it is proven that there is none. Raises UsageError without OR-tools.
    """
    if (buffers.size > capacity).any():
        return None, True
    model, at, _, _ = _model(buffers, capacity)
    found, proven = _run(model, at, buffers, seconds)
    return found, found is None and proven


def _model(buffers: Buffers, top: int) -> tuple[Any, list[Any], list[Any], int]:
    """Return a model of buffers that do not overlap within ``top`` bytes: (model, addresses, ends, unit).

    Addresses are variables, each in multiples of the buffer's alignment; ends are expressions in units; ``unit`` is the bytes of
    a unit, the greatest common divisor of all sizes and alignments. Raises UsageError if OR-tools is not installed.
    """
    try:
        from ortools.sat.python import cp_model
    except ImportError:
        raise UsageError("the solver needs OR-tools; try: pip install 'memtrace-replay[offline]'") from None
    model = cp_model.CpModel()
    unit = int(np.gcd.reduce(np.concatenate((buffers.size, buffers.align))))
    sizes, steps = buffers.size // unit, buffers.align // unit
    at, ends, across, up = [], [], [], []
    for i in range(len(buffers)):
        at.append(model.new_int_var(0, int((top // unit - sizes[i]) // steps[i]), f"at{i}"))
        start, size = at[i] * int(steps[i]), int(sizes[i])
        ends.append(start + size)
        up.append(model.new_fixed_size_interval_var(start, size, f"up{i}"))
        length = int(buffers.upper[i] - buffers.lower[i])
        across.append(model.new_fixed_size_interval_var(int(buffers.lower[i]), length, f"across{i}"))
    model.add_no_overlap_2d(across, up)
    return model, at, ends, unit


def _run(model: Any, at: list[Any], buffers: Buffers, seconds: float) -> tuple[NDArray[np.int64] | None, bool]:
    """Solve ``model`` for at most ``seconds`` seconds; ``at`` are its variables for the addresses.

    Return the addresses in bytes, None if none were found; and whether the answer is final: optimal, or proven impossible.
    """
    from ortools.sat.python import cp_model

    solver = cp_model.CpSolver()
    solver.parameters.max_time_in_seconds = seconds
    solver.parameters.num_workers = max(8, os.cpu_count() or 1)
    status = solver.solve(model)
    final = status in (cp_model.OPTIMAL, cp_model.INFEASIBLE)
    if status in (cp_model.OPTIMAL, cp_model.FEASIBLE):
        return np.array([solver.value(variable) for variable in at], np.int64) * buffers.align, final
    return None, final
