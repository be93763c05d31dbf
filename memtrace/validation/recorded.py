"""Compare where a policy places the blocks of a trace with where its file says that they lay."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from memtrace.trace import Op

if TYPE_CHECKING:
    from memtrace.engine.replay import Placement


@dataclass(frozen=True)
class Agreement:
    """How many requests of a trace got the address that the file has for them."""

    judged: int  # requests that the file has an address for
    met: int  # those placed at that very address
    first_other: int | None  # number of the first request placed elsewhere, or failed; None: all were met


def as_recorded(placement: Placement, start: int = 0) -> Agreement:
    """Return how far a placement agrees with the plan of its trace, whose offsets count from ``start`` bytes.

    The trace has to be read with keep_plan=True, and replayed with keep=True; raises ValueError if it was not, or has no plan.
    """
    plan = placement.trace.plan
    if plan is None or placement.addresses is None:
        raise ValueError("the trace has no plan, or addresses were not kept: read it with keep_plan=True, replay with keep=True")
    ops = np.concatenate([events.op for events in placement.trace.batches()])
    requests = (ops == Op.ALLOC) | (ops == Op.REALLOC)
    placed = placement.addresses[requests]
    known = plan.offset >= 0
    other = np.flatnonzero(known & (placed + start != plan.offset))
    judged = int(known.sum())
    return Agreement(judged, judged - other.size, int(other[0]) if other.size else None)
