"""Draw the sizes and lifetimes of random blocks: in a steady state, or in phases (Wilson et al. 1995, section 2.4).

Wilson's three shapes: a ramp keeps what it allocates; peaks build up many blocks and drop them; plateaus build up many blocks,
use them for long, and drop them. A phase has sizes of its own, and part of its blocks die young.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np

from memtrace.trace.model import Int64s
from memtrace.workloads.chance import Distribution, draw, whole
from memtrace.workloads.classical.churn import Births

Shape = Literal["steady", "ramp", "peaks", "plateaus"]

BIRTHS = 1 << 17  # blocks of a batch
NEVER = 1 << 62  # time of death of a block that is never freed
YOUNG_SHARE = 0.5  # share of the blocks of a peak that die young
YOUNG_PART = 0.02  # the mean lifetime of these, as a share of `live`
SURVIVORS = 0.03  # share of a phase's other blocks that live for some more phases
USE = 8  # a plateau is used USE times as long as its rise takes
MOST_FACTOR = 4.0  # a phase's mean size is between a quarter of the mean and four times the mean
TAGS = ("steady", "young", "kept", "survivor")
STEADY, YOUNG, KEPT, SURVIVOR = range(4)


@dataclass(frozen=True)
class Blocks:
    """Describe how the blocks of a workload are drawn."""

    shape: Shape
    events: int  # length of the trace, which determines how fast a ramp grows
    sizes: Distribution
    mean: int  # bytes
    spread: float  # coefficient of variation of sizes and lifetimes
    least: int  # bytes; smaller sizes are raised to it
    most: int  # bytes; larger sizes are cut to it
    lifetimes: Distribution
    live: int  # about the number of live blocks, or its maximum

    def births(self, rng: np.random.Generator) -> Iterator[Births]:
        """Yield blocks in batches, without end."""
        first = 0
        phases = Phases(self, rng)
        while True:
            clock = np.arange(first, first + BIRTHS)
            factor, due, tag = phases.of(clock)
            size = whole(draw(self.sizes, rng, BIRTHS, self.mean, self.spread) * factor, self.least, self.most)
            yield Births(size, due, tag.astype(np.int32))
            first += BIRTHS


class Phases:
    """Draw for each block the phase in which it is born, how large it is, and when it dies."""

    def __init__(self, blocks: Blocks, rng: np.random.Generator) -> None:
        """Start before the first phase."""
        self.blocks, self.rng = blocks, rng
        self.factors = np.empty(0)

    def of(self, clock: Int64s) -> tuple[np.ndarray, Int64s, np.ndarray]:
        """Return size factors, times of death and tags of the blocks that are born at these times (all in births)."""
        blocks, rng, count = self.blocks, self.rng, clock.size
        if blocks.shape == "steady":
            life = whole(draw(blocks.lifetimes, rng, count, blocks.live, blocks.spread), 1, NEVER)
            return np.ones(count), clock + life, np.full(count, STEADY)
        young = whole(draw(blocks.lifetimes, rng, count, max(1.0, YOUNG_PART * blocks.live), blocks.spread), 1, NEVER)
        dies_young = rng.random(count) < self._young_share(clock)
        length = self._length()
        phase = clock // length
        end = (phase + 1) * length + (rng.random(count) * length * 0.1).astype(np.int64)
        survives = ~dies_young & (rng.random(count) < SURVIVORS)
        if blocks.shape == "ramp":
            end, survives = np.full(count, NEVER), np.zeros(count, np.bool_)
        end = end + survives * length * (1 + (rng.random(count) * 4).astype(np.int64))
        tag = np.where(dies_young, YOUNG, np.where(survives, SURVIVOR, KEPT))
        return self._factor(phase), np.where(dies_young, clock + young, end), tag

    def _length(self) -> int:
        """Return the number of births in a phase."""
        live = self.blocks.live
        if self.blocks.shape == "plateaus":
            return live * (1 + USE)
        return int(live / (1 - YOUNG_SHARE))

    def _young_share(self, clock: Int64s) -> np.ndarray:
        """Return the probability that a block dies young, for blocks born at these times."""
        blocks = self.blocks
        if blocks.shape == "peaks":
            return np.full(clock.size, YOUNG_SHARE)
        if blocks.shape == "plateaus":
            return (clock % self._length() >= blocks.live).astype(np.float64)
        births = max(1, (blocks.events + blocks.live) // 2)  # all but `live` blocks are freed
        return np.full(clock.size, max(0.0, 1 - blocks.live / births))

    def _factor(self, phase: Int64s) -> np.ndarray:
        """Return the factor of the mean size for these phases, ascending.

        Each phase has one factor, drawn when the first block of the phase is born.
        """
        if self.blocks.shape == "ramp":
            return np.ones(phase.size)
        while self.factors.size <= phase[-1]:
            drawn = MOST_FACTOR ** (2 * self.rng.random(64) - 1)
            self.factors = np.concatenate([self.factors, drawn])
        found: np.ndarray = self.factors[phase]
        return found
