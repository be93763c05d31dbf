"""Packing by OR-tools' CP-SAT: better ones where greedy and annealing leave a gap, and proofs. Needs extra `offline`."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

import numpy as np

from memtrace.errors import UsageError

if TYPE_CHECKING:
    from memtrace.offline.buffers import Buffers
    from memtrace.offline.overlaps import Overlaps
    from memtrace.offline.packing import Packing


def solve(known: Packing, buffers: Buffers, overlaps: Overlaps, seconds: float) -> Packing:
    """The lowest packing found in so many seconds, starting from a known one. Raises UsageError without the extra."""
    from memtrace.offline.packing import Packing

    try:
        from ortools.sat.python import cp_model
    except ImportError:
        raise UsageError("the solver needs OR-tools; try: pip install 'memtrace-replay[offline]'") from None
    started = time.perf_counter()
    model = cp_model.CpModel()
    unit = int(np.gcd.reduce(np.concatenate((buffers.size, buffers.align))))
    sizes, top = buffers.size // unit, known.height // unit
    height = model.new_int_var(-(-buffers.bound // unit), top, "height")
    steps = buffers.align // unit
    at = [model.new_int_var(0, int((top - sizes[i]) // steps[i]), f"at{i}") for i in range(len(buffers))]
    across, up = [], []
    for i, variable in enumerate(at):
        start, size = variable * int(steps[i]), int(sizes[i])
        up.append(model.new_fixed_size_interval_var(start, size, f"up{i}"))
        length = int(buffers.upper[i] - buffers.lower[i])
        across.append(model.new_fixed_size_interval_var(int(buffers.lower[i]), length, f"across{i}"))
        model.add(start + size <= height)
        model.add_hint(variable, int(known.addresses[i] // buffers.align[i]))
    model.add_no_overlap_2d(across, up)
    model.minimize(height)
    solver = cp_model.CpSolver()
    solver.parameters.max_time_in_seconds = seconds
    solver.parameters.num_workers = max(8, os.cpu_count() or 1)
    status = solver.solve(model)
    addresses = known.addresses
    if status in (cp_model.OPTIMAL, cp_model.FEASIBLE):
        addresses = np.array([solver.value(variable) for variable in at], np.int64) * buffers.align
    lowest = int((addresses + buffers.size).max(initial=0))
    return Packing("CP-SAT", addresses, lowest, time.perf_counter() - started, status == cp_model.OPTIMAL)
