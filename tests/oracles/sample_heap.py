"""A small heap with a few ways to choose a hole, and a training loop for it: what sample_results replays."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache

import numpy

Hole = tuple[int, int]  # address, size
Event = tuple[int, int]  # block, size; size 0 frees

UNIT = 1 << 20


@dataclass
class Heap:
    """Live blocks and holes of one policy."""

    choose: Callable[[Sequence[Hole], int], int | None]
    rounding: int = 1
    holes: list[Hole] = field(default_factory=list)
    blocks: dict[int, tuple[int, int, int]] = field(default_factory=dict)
    top: int = 0

    def alloc(self, block: int, size: int) -> None:
        """Place a block in the chosen hole, or on top."""
        need = -(-size // self.rounding) * self.rounding
        at = self.choose(self.holes, need)
        if at is None:
            address, self.top = self.top, self.top + need
        else:
            address, room = self.holes.pop(at)
            if room > need:
                self.holes.insert(at, (address + need, room - need))
        self.blocks[block] = (address, need, size)

    def free(self, block: int) -> None:
        """Give a block back and merge it with its neighbours."""
        start, size, _ = self.blocks.pop(block)
        end = start + size
        at = bisect_left(self.holes, (start, 0))
        if at < len(self.holes) and self.holes[at][0] == end:
            end += self.holes.pop(at)[1]
        if at and sum(self.holes[at - 1]) == start:
            at -= 1
            start = self.holes.pop(at)[0]
        self.holes.insert(at, (start, end - start))


def first(holes: Sequence[Hole], need: int) -> int | None:
    """The lowest hole that is large enough."""
    return next((at for at, (_, size) in enumerate(holes) if size >= need), None)


def smallest(holes: Sequence[Hole], need: int) -> int | None:
    """The best fit."""
    return min((at for at, (_, size) in enumerate(holes) if size >= need), key=lambda at: holes[at][1], default=None)


def largest(holes: Sequence[Hole], need: int) -> int | None:
    """The worst fit."""
    return max((at for at, (_, size) in enumerate(holes) if size >= need), key=lambda at: holes[at][1], default=None)


def last(holes: Sequence[Hole], need: int) -> int | None:
    """The highest hole that is large enough."""
    return max((at for at, (_, size) in enumerate(holes) if size >= need), default=None)


def never(holes: Sequence[Hole], need: int) -> int | None:
    """No hole is used again."""
    return None


HEAPS: dict[str, tuple[Callable[[Sequence[Hole], int], int | None], int]] = {
    "first-fit": (first, 16),
    "next-fit": (last, 16),
    "best-fit": (smallest, 16),
    "worst-fit": (largest, 16),
    "buddy": (first, 4 * UNIT),
    "segregated": (last, 6 * UNIT),
    "bump": (never, 16),
}


@cache
def training_loop(steps: int = 14, seed: int = 7) -> tuple[Event, ...]:
    """Weights that stay; in each step activations pile up, gradients replace them, some buffers stay."""
    random = numpy.random.default_rng(seed)
    events: list[Event] = [(block, int(size)) for block, size in enumerate(random.integers(8, 64, 30) * UNIT)]
    block, kept = len(events), []
    for _ in range(steps):
        activations = []
        for size in random.lognormal(2.3, 1.0, 60):
            events.append((block, max(512, int(size * UNIT))))
            activations.append(block)
            block += 1
        for old in reversed(activations):
            events += [(block, int(random.integers(1, 24) * UNIT)), (old, 0)]
            if random.random() < 0.06:
                kept.append(block)
            else:
                events.append((block, 0))
            block += 1
        while len(kept) > 12:
            events.append((kept.pop(0), 0))
    return tuple(events)
