"""Draw blocks from a learned model, for a trace of any length and scale."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from memtrace.workloads.classical.churn import Births
from memtrace.workloads.fitting.learning import STAYS, Model

NEVER = 1 << 62  # time of death of a block that is never freed
BIRTHS = 1 << 17  # upper bound of the blocks of a batch


def births(model: Model, rng: np.random.Generator, scale: float, repeat: int) -> Iterator[Births]:
    """Yield the blocks of all phases in order, `repeat` times, in batches.

    Each phase has `scale` times the births of the recording, which live `scale` times as long, so `scale` times as many blocks
    are live. A block that the recording never frees stays until its repetition ends, in the last repetition for ever.
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
    """Yield `count` indices of samples, in arrays of at most BIRTHS, each sample as often as the others, in random order.

    Large blocks are rare, so independent draws might miss them.
    """
    while count > 0:
        parts, size = [], 0
        while size < min(count, BIRTHS):
            parts.append(rng.permutation(samples))
            size += samples
        found = np.concatenate(parts)[: min(count, BIRTHS)]
        count -= found.size
        yield found
