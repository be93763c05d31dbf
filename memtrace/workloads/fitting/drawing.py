"""A learned model -> blocks, for as long and as large as one likes."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from memtrace.workloads.classical.churn import Births
from memtrace.workloads.fitting.learning import STAYS, Model

NEVER = 1 << 62
BIRTHS = 1 << 17


def births(model: Model, rng: np.random.Generator, scale: float, repeat: int) -> Iterator[Births]:
    """The phases in order, `repeat` times, each with `scale` times the births, which live `scale` times as long.

    So there are `scale` times as many blocks live. A block that stays in the recording stays until its repetition ends.
    """
    counts = np.maximum(1, np.round(model.births * scale)).astype(np.int64)
    length, clock = int(counts.sum()), 0
    for round in range(repeat):
        end = NEVER if round == repeat - 1 else (round + 1) * length
        for phase, count in enumerate(counts.tolist()):
            for chosen in _chosen(int(model.count[phase]), count, rng):
                life = model.life[phase, chosen]
                due = clock + np.arange(chosen.size) + np.maximum(1, np.round(life * scale)).astype(np.int64)
                stays = life == STAYS
                tag = model.tag[phase, chosen].astype(np.int32)
                yield Births(model.size[phase, chosen], np.where(stays, end, due), tag)
                clock += chosen.size


def _chosen(samples: int, count: int, rng: np.random.Generator) -> Iterator[np.ndarray]:
    """Each sample as often as the others, in random order: large blocks are rare, and must not be missed by chance."""
    while count > 0:
        parts, size = [], 0
        while size < min(count, BIRTHS):
            parts.append(rng.permutation(samples))
            size += samples
        found = np.concatenate(parts)[: min(count, BIRTHS)]
        count -= found.size
        yield found
