"""The traces that are timed: seeded generators, the same events on every machine.

Ids are slots: dense, and used again after the free. Each trace begins with a ramp that builds the heap; what
follows is steady, so its cost per event does not depend on the trace's length.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray

ALLOC, FREE = 0, 1
SIZES_DRAWN = 1 << 20  # requests take their sizes from this many draws, again and again

Array8 = NDArray[np.uint8]
Array32 = NDArray[np.int32]
Array64 = NDArray[np.int64]
Rows = tuple[Array8, Array32, Array64, int]  # op, block, size, ramp


@dataclass(frozen=True)
class Columns:
    """A generated trace: one row an event; events before `ramp` build the heap."""

    op: Array8
    block: Array32
    size: Array64
    ramp: int

    @property
    def blocks(self) -> int:
        """How many slots the ids use."""
        return int(self.block.max()) + 1 if self.block.size else 0


@dataclass(frozen=True)
class Workload:
    """A named trace, its usual length, and the generator that makes any length of it."""

    name: str
    events: int
    quick_events: int
    about: str
    generate: Callable[[int, int], Columns]  # (events, seed)


def power_law(rng: np.random.Generator, low: int, high: int) -> Array64:
    """Sizes with a density of 1/size^2 between low and high: many small ones, a few large ones."""
    least, most = 1 / low, 1 / high
    return (1 / (least - rng.random(SIZES_DRAWN) * (least - most))).astype(np.int64)


def _fits(ramp: int, events: int) -> None:
    """Refuse a trace that would end within its ramp."""
    if events < ramp:
        raise ValueError(f"{events} events are too few: the ramp alone takes up to {ramp}")


@njit(cache=True)
def _holes_kernel(sizes: Array64, holes: int, events: int, seed: int) -> Rows:
    np.random.seed(seed)
    op, block, size = np.empty(events, np.uint8), np.empty(events, np.int32), np.zeros(events, np.int64)
    moving = max(8, holes // 4)
    drawn = at = 0
    for slot in range(2 * holes):
        op[at], block[at], size[at] = 0, slot, sizes[drawn % sizes.size]
        drawn += 1
        at += 1
    for slot in range(0, 2 * holes, 2):
        op[at], block[at] = 1, slot
        at += 1
    for index in range(moving):
        op[at], block[at], size[at] = 0, 2 * (holes - 1 - index), sizes[drawn % sizes.size]
        drawn += 1
        at += 1
    ramp = at
    while at + 1 < events:
        slot = 2 * (holes - 1 - np.random.randint(0, moving))
        op[at], block[at] = 1, slot
        op[at + 1], block[at + 1], size[at + 1] = 0, slot, sizes[drawn % sizes.size]
        drawn += 1
        at += 2
    return op[:at], block[:at], size[:at], ramp


@njit(cache=True)
def _uniform_kernel(sizes: Array64, live: int, events: int, seed: int) -> Rows:
    np.random.seed(seed)
    op, block, size = np.empty(events, np.uint8), np.empty(events, np.int32), np.zeros(events, np.int64)
    at = 0
    for slot in range(live):
        op[at], block[at], size[at] = 0, slot, sizes[at % sizes.size]
        at += 1
    drawn = at
    while at + 1 < events:
        slot = np.random.randint(0, live)
        op[at], block[at] = 1, slot
        op[at + 1], block[at + 1], size[at + 1] = 0, slot, sizes[drawn % sizes.size]
        drawn += 1
        at += 2
    return op[:at], block[:at], size[:at], live


@njit(cache=True)
def _stack_kernel(sizes: Array64, depth: int, events: int, seed: int) -> Rows:
    np.random.seed(seed)
    op, block, size = np.empty(events, np.uint8), np.empty(events, np.int32), np.zeros(events, np.int64)
    at = drawn = height = 0
    while at < events:
        goal = depth if at == 0 else np.random.randint(0, depth + 1)
        while at < events and height != goal:
            if height < goal:
                op[at], block[at], size[at] = 0, height, sizes[drawn % sizes.size]
                drawn += 1
                height += 1
            else:
                height -= 1
                op[at], block[at] = 1, height
            at += 1
    return op, block, size, depth


def _holes(holes: int) -> Callable[[int, int], Columns]:
    def generate(events: int, seed: int) -> Columns:
        _fits(4 * holes, events)
        sizes = power_law(np.random.default_rng(seed), 16, 1 << 16)
        return Columns(*_holes_kernel(sizes, holes, events, seed))

    return generate


def _uniform(live: int) -> Callable[[int, int], Columns]:
    def generate(events: int, seed: int) -> Columns:
        _fits(live, events)
        sizes = np.random.default_rng(seed).integers(16, 1025, SIZES_DRAWN)
        return Columns(*_uniform_kernel(sizes, live, events, seed))

    return generate


def _stack(depth: int) -> Callable[[int, int], Columns]:
    def generate(events: int, seed: int) -> Columns:
        sizes = power_law(np.random.default_rng(seed), 16, 1 << 16)
        return Columns(*_stack_kernel(sizes, depth, events, seed))

    return generate


def _small_blocks(events: int, seed: int) -> Columns:
    """10,000 small blocks of which half are freed, then steady churn: the counterpart of `skewed`."""
    _fits(20_000, events)
    sizes = np.random.default_rng(seed).integers(16, 1025, SIZES_DRAWN)
    return Columns(*_holes_kernel(sizes, 5_000, events, seed))


def _skewed(events: int, seed: int) -> Columns:
    """The same events with 64 blocks of 1 GiB round them, half below and half above.

    Nearly all of the address space is huge blocks, and all holes lie in a sliver of it.
    """
    huge = 32
    small = _small_blocks(events - 2 * huge, seed)
    middle = 10_000  # behind the allocations of the ramp, in front of its frees
    first = small.blocks
    below, above = np.arange(first, first + huge), np.arange(first + huge, first + 2 * huge)
    cuts, ids = [0] * huge + [middle] * huge, np.concatenate([below, above])
    return Columns(
        np.insert(small.op, cuts, np.uint8(ALLOC)),
        np.insert(small.block, cuts, ids),
        np.insert(small.size, cuts, np.int64(1 << 30)),
        small.ramp + 2 * huge,
    )


WORKLOADS: tuple[Workload, ...] = (
    Workload("holes-1e3", 6_000_000, 3_000_000, "steady churn among 1,000 holes, power-law sizes", _holes(1_000)),
    Workload("holes-1e4", 6_000_000, 3_000_000, "the same among 10,000", _holes(10_000)),
    Workload("holes-1e5", 6_000_000, 3_000_000, "the same among 100,000", _holes(100_000)),
    Workload("holes-1e6", 10_000_000, 6_500_000, "the same among 1,000,000", _holes(1_000_000)),
    Workload(
        "uniform",
        6_000_000,
        3_000_000,
        "100,000 live blocks of 16 to 1,024 bytes, replaced at random",
        _uniform(100_000),
    ),
    Workload("small", 4_000_000, 3_000_000, "10,000 small blocks, half of them freed, then churn", _small_blocks),
    Workload("skewed", 4_000_000, 3_000_000, "the same between 64 blocks of 1 GiB", _skewed),
    Workload(
        "stack",
        4_000_000,
        3_000_000,
        "last in, first out, up to 10,000 deep, power-law sizes",
        _stack(10_000),
    ),
)


def workload(name: str) -> Workload:
    """The workload of that name."""
    for one in WORKLOADS:
        if one.name == name:
            return one
    raise KeyError(name)
