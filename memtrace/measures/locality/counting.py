"""Counts the cache and TLB misses of a placement: watches its replay, batch by batch, and runs the addresses through a model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from memtrace.contract.policy import function_of
from memtrace.errors import InputError
from memtrace.measures.locality import lookups
from memtrace.measures.locality.lookups import Blocks, Levels, Placed, Rules

if TYPE_CHECKING:
    from memtrace.engine.registry import Policy
    from memtrace.measures.locality.caches import Model
    from memtrace.trace import Events, Trace

Ints = NDArray[np.int64]


@dataclass(frozen=True)
class LevelCount:
    """The counts of one level: lines (of TLBs: pages) looked up in it, and those of them that it did not hold."""

    level: str
    lookups: int
    misses: int


@dataclass(frozen=True)
class Locality:
    """The counts of one placement in all levels of a model."""

    touches: int  # ranges of blocks touched
    touched_bytes: int
    derived: bool  # touches are derived from lifetimes; False: they are the trace's own accesses
    levels: tuple[LevelCount, ...]

    def columns(self) -> dict[str, Any]:
        """Return the columns of locality.parquet by name, with a row for each level."""
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
    """Run the addresses of a replay through the caches and TLBs of a model, batch by batch.

    A watcher is the argument `watch` of `engine.replay.replay`; ``found`` returns the counts so far. Its memory grows with the
    number of blocks live at once, and not with the trace.
    """

    def __init__(self, trace: Trace, policy: Policy, model: Model) -> None:
        """Prepare to watch a replay of ``trace`` through ``policy``, with all levels of ``model`` empty."""
        self.model = model
        self.derived = uses_lifetimes(trace, model)
        in_pieces = function_of(policy.module, "first_piece") is not None
        self.rules = Rules(in_pieces=in_pieces, reach=model.reach, lifetimes=self.derived)
        self.levels = new_levels(model)
        self.blocks = new_blocks(trace.facts.max_live + 1)
        self.event = 0

    def __call__(self, events: Events, addresses: Ints, rows: Ints) -> None:
        """Count the touches of one batch of events.

        ``addresses[i]`` is what event i of the batch got, if it is an alloc or realloc; ``rows`` are (event, block,
        address, bytes) of blocks that move or come in pieces (`engine.places`).
        """
        if self.rules.in_pieces:
            self.blocks = with_spare(self.blocks, rows.shape[0])
        lookups.run(events, Placed(self.event, addresses, rows), self.rules, self.levels, self.blocks)
        self.event += addresses.size

    def found(self) -> Locality:
        """Return the counts of all batches so far."""
        touches, touched = self.levels.touched.tolist()
        counts = zip(self.model.level_names(), self.levels.counts.tolist(), strict=True)
        return Locality(touches, touched, self.derived, tuple(LevelCount(name, *pair) for name, pair in counts))


def uses_lifetimes(trace: Trace, model: Model) -> bool:
    """Return whether the touches are derived from lifetimes, instead of taken from the trace's accesses.

    Raise InputError if the model asks for accesses and the trace has none.
    """
    if model.touches == "accesses" and trace.facts.accesses == 0:
        raise InputError(f"{trace.name} has no access events; try: touches=lifetimes, derived from allocs and frees")
    return model.touches == "lifetimes" or (model.touches == "auto" and trace.facts.accesses == 0)


def new_levels(model: Model) -> Levels:
    """Return the levels of a model, all empty and with all counts 0."""
    chains: list[int] = []
    rows: list[tuple[int, ...]] = []
    first = 0
    for _, line, levels in model.chains():
        chains.append(len(rows))
        for number, level in enumerate(levels, 1):
            behind = len(rows) + 1 if number < len(levels) else -1
            rows.append((first, level.sets, level.ways, line.bit_length() - 1, behind))
            first += level.lines
    return Levels(
        chains=np.array(chains),
        levels=np.array(rows, np.int64),
        lines=np.full(first, -1, np.int64),
        counts=np.zeros((len(rows), 2), np.int64),
        touched=np.zeros(2, np.int64),
    )


def new_blocks(slots: int) -> Blocks:
    """Return the table of live blocks for ``slots`` slots, none of which has a block."""
    pieces = np.tile(np.array([lookups.NOTHING, 0, -1], np.int64), (slots, 1))
    return Blocks(pieces, np.zeros(slots, np.int64), np.array([-1, 0], np.int64))


def with_spare(blocks: Blocks, needed: int) -> Blocks:
    """Return ``blocks`` with at least ``needed`` unused pieces, in larger arrays if there are fewer."""
    first, unused = blocks.spare.tolist()
    if unused >= needed:
        return blocks
    count = blocks.pieces.shape[0]
    more = np.zeros((max(needed - unused, count), 3), np.int64)
    more[:, lookups.AFTER] = np.arange(count + 1, count + more.shape[0] + 1)
    more[-1, lookups.AFTER] = first
    spare = np.array([count, unused + more.shape[0]], np.int64)
    return Blocks(np.concatenate((blocks.pieces, more)), blocks.sizes, spare)
