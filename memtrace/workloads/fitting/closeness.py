"""Measure how close a generated trace comes to the recorded one that its model was learned from."""

from __future__ import annotations

import numpy as np

from memtrace.trace.building import from_columns
from memtrace.trace.model import Facts, Int64s
from memtrace.workloads.classical.churn import churn
from memtrace.workloads.events import Piece
from memtrace.workloads.fitting.drawing import births
from memtrace.workloads.fitting.learning import Model

MOST_EVENTS = 20_000_000  # longer recordings are not compared


def closeness(model: Model, recorded: Facts, seed: int) -> dict[str, str]:
    """Return ratios and distances of a trace, generated at the recording's own length and scale, to the recording, as texts.

    A ratio is generated / recorded. A distance is that of Kolmogorov and Smirnov, over classes of powers of two: 0 for equal
    distributions, 1 for disjoint ones. Returns nothing for a recording of more than MOST_EVENTS events.
    """
    if recorded.events > MOST_EVENTS:
        return {}
    pieces = list(churn(births(model, np.random.default_rng(seed), 1.0, 1), 2 * MOST_EVENTS))
    joined = Piece(*(np.concatenate([getattr(p, name) for p in pieces]) for name in ("op", "id", "size", "tag")))
    made = from_columns(joined.op, joined.id, joined.size).facts
    ratios = {
        name: getattr(made, name) / max(1, getattr(recorded, name)) for name in ("peak_live_bytes", "max_live", "total_bytes")
    }
    distances = {
        name: distance(getattr(made, f"{name}_counts"), getattr(recorded, f"{name}_counts")) for name in ("size", "lifetime")
    }
    shown = {f"fit_{name}_ratio": f"{ratio:.4f}" for name, ratio in ratios.items()}
    return shown | {f"fit_{name}_distance": f"{value:.4f}" for name, value in distances.items()}


def distance(first: Int64s, second: Int64s) -> float:
    """Return the largest difference between the cumulative shares of two arrays of counts."""
    shares = [np.cumsum(counts) / max(1, counts.sum()) for counts in (first, second)]
    return float(np.abs(shares[0] - shares[1]).max())
