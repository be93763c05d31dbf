"""Packing by the constraint solver CP-SAT of OR-tools, which needs extra `offline`.

It finds better packings where greedy packing and annealing leave a gap, and proofs that there are none.
"""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Any

import numpy as np

from memtrace.errors import UsageError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from memtrace.offline.buffers import Buffers
    from memtrace.offline.packing import Packing


def solve(known: Packing, buffers: Buffers, seconds: float) -> Packing:
    """Return the lowest packing found in ``seconds`` seconds, starting from the packing ``known``, and never higher than that.

    Raises UsageError if OR-tools is not installed.
    """
    from memtrace.offline.packing import Packing

    started = time.perf_counter()
    model, at, ends, unit = _model(buffers, known.height)
    height = model.new_int_var(-(-buffers.bound // unit), known.height // unit, "height")
    for variable, end, address in zip(at, ends, known.addresses // buffers.align, strict=True):
        model.add(end <= height)
        model.add_hint(variable, int(address))
    model.minimize(height)
    found, optimal = _run(model, at, buffers, seconds)
    addresses = known.addresses if found is None else found
    lowest = int((addresses + buffers.size).max(initial=0))
    return Packing("CP-SAT", addresses, lowest, time.perf_counter() - started, found is not None and optimal)


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
