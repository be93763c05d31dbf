"""Watches a replay, batch by batch, and counts what its addresses miss in the levels of a model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from memtrace.errors import InputError
from memtrace.locality import kernel
from memtrace.locality.kernel import Blocks, Levels

if TYPE_CHECKING:
    from memtrace.engine.registry import Policy
    from memtrace.locality.model import Model
    from memtrace.trace import Events, Trace

Ints = NDArray[np.int64]


@dataclass(frozen=True)
class LevelCount:
    """What one level saw: lines (of TLBs: pages) looked up in it, and those that it did not hold."""

    level: str
    lookups: int
    misses: int


@dataclass(frozen=True)
class Locality:
    """What a placement did to a model's levels."""

    touches: int
    touched_bytes: int
    derived: bool  # from lifetimes; False: of the trace's own accesses
    levels: tuple[LevelCount, ...]

    def columns(self) -> dict[str, Any]:
        """As in locality.parquet: a row per level."""
        count = len(self.levels)
        return {
            "level": [level.level for level in self.levels],
            "lookups": np.array([level.lookups for level in self.levels], np.int64),
            "misses": np.array([level.misses for level in self.levels], np.int64),
            "touches": np.full(count, self.touches),
            "touched_bytes": np.full(count, self.touched_bytes),
            "derived": np.full(count, int(self.derived)),
        }


class Watcher:
    """A `watch` of `replaying.replay`; `found` tells what was counted so far. Memory follows the live set."""

    def __init__(self, trace: Trace, policy: Policy, model: Model) -> None:
        self.model = model
        self.derived = derives(trace, model)
        self.in_pieces = hasattr(policy.module, "first_piece")
        self.levels = new_levels(model)
        self.blocks = new_blocks(trace.facts.max_live + 1)
        self.event = 0

    def __call__(self, events: Events, addresses: Ints, rows: Ints) -> None:
        if self.in_pieces:
            self.blocks = with_spare(self.blocks, rows.shape[0])
        kernel.run(
            *(events.op, events.block, events.size, events.dst, addresses, rows, self.event),
            *(self.in_pieces, self.model.reach, self.derived, self.levels, self.blocks),
        )
        self.event += addresses.size

    def found(self) -> Locality:
        touches, touched = self.levels.touched.tolist()
        counts = zip(self.model.level_names(), self.levels.counts.tolist(), strict=True)
        return Locality(touches, touched, self.derived, tuple(LevelCount(name, *pair) for name, pair in counts))


def derives(trace: Trace, model: Model) -> bool:
    """Whether the touches are derived from lifetimes. Raises InputError if the trace lacks the accesses that are asked for."""
    if model.touches == "accesses" and trace.facts.accesses == 0:
        raise InputError(f"{trace.name} has no access events; try: touches=lifetimes, derived from allocs and frees")
    return model.touches == "lifetimes" or (model.touches == "auto" and trace.facts.accesses == 0)


def new_levels(model: Model) -> Levels:
    """All levels empty."""
    chains: list[int] = []
    rows: list[tuple[int, ...]] = []
    first = 0
    for _, line, levels in model.chains():
        chains.append(len(rows))
        for number, level in enumerate(levels, 1):
            behind = len(rows) + 1 if number < len(levels) else -1
            rows.append((first, level.sets, level.ways, line.bit_length() - 1, behind))
            first += level.lines
    counts = np.zeros((len(rows), 2), np.int64)
    return Levels(np.array(chains), np.array(rows, np.int64), np.full(first, -1, np.int64), counts, np.zeros(2, np.int64))


def new_blocks(slots: int) -> Blocks:
    """No slot has a block."""
    pieces = np.tile(np.array([kernel.NOTHING, 0, -1], np.int64), (slots, 1))
    return Blocks(pieces, np.zeros(slots, np.int64), np.array([-1, 0], np.int64))


def with_spare(blocks: Blocks, needed: int) -> Blocks:
    """The same blocks with at least so many unused pieces: the arrays are made larger where there are fewer."""
    first, unused = blocks.spare.tolist()
    if unused >= needed:
        return blocks
    count = blocks.pieces.shape[0]
    more = np.zeros((max(needed - unused, count), 3), np.int64)
    more[:, kernel.AFTER] = np.arange(count + 1, count + more.shape[0] + 1)
    more[-1, kernel.AFTER] = first
    spare = np.array([count, unused + more.shape[0]], np.int64)
    return Blocks(np.concatenate((blocks.pieces, more)), blocks.sizes, spare)
