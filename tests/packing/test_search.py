"""The search for a packing within a capacity: it finds one if and only if there is one, by trying all orders of stacking."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
from test_packing import MINIMALLOC, meet, offences, some

from memtrace.packing.buffers import Buffers, buffers_of, lasting, overlaps, sections
from memtrace.packing.search import Fit, fit
from memtrace.reading import read


def search(buffers: Buffers, capacity: int, steps: int = 10_000_000) -> Fit:
    return fit(buffers, overlaps(buffers.lower, buffers.upper), capacity, steps)


def lowest(buffers: Buffers) -> int:
    """Of all orders of stacking one is optimal."""

    def stacked(order: tuple[int, ...]) -> int:
        ends: dict[int, int] = {}
        for i in order:
            ground = max((end for j, end in ends.items() if meet(buffers, i, j)), default=0)
            ends[i] = -(-ground // int(buffers.align[i])) * int(buffers.align[i]) + int(buffers.size[i])
        return max(ends.values())

    return min(stacked(order) for order in permutations(range(len(buffers))))


@pytest.mark.parametrize("seed", range(40))
def test_a_packing_is_found_if_and_only_if_there_is_one(seed: int) -> None:
    buffers = some(seed, 7, 16 if seed % 2 else 64)
    best = lowest(buffers)
    found = search(buffers, best)
    assert found.addresses is not None and offences(buffers, found.addresses) == []
    assert (found.addresses + buffers.size).max() <= best
    assert search(buffers, best - 1) == (None, True, search(buffers, best - 1).steps)


@pytest.mark.parametrize("seed", range(12))
def test_larger_packings_are_sound_and_the_same_again(seed: int) -> None:
    buffers = some(seed)
    for capacity in range(buffers.bound, 2 * buffers.bound, 160):
        found = search(buffers, capacity, 20_000)
        if found.addresses is not None:
            break
    assert found.addresses is not None and offences(buffers, found.addresses) == []
    assert (found.addresses + buffers.size).max() <= capacity
    assert np.array_equal(found.addresses, search(buffers, capacity, 20_000).addresses)


def test_it_gives_up_after_its_steps() -> None:
    buffers = some(1, 40, 16)
    assert search(buffers, buffers.bound, 30) == (None, False, 30)


@pytest.mark.parametrize("seed", range(12))
def test_sections_are_the_sets_that_live_at_once_and_are_part_of_no_other(seed: int) -> None:
    buffers = some(seed, 25)
    living = [frozenset(i for i in range(25) if buffers.lower[i] <= t < buffers.upper[i]) for t in range(100)]
    largest = [now for now in living if now and not any(now < other for other in living)]
    parts = sections(buffers)
    found = [frozenset(parts.members[a:b].tolist()) for a, b in zip(parts.first, parts.first[1:], strict=False)]
    assert found == list(dict.fromkeys(largest))
    for s, now in enumerate(found):
        assert now == {i for i in range(25) if parts.begin[i] <= s < parts.end[i]}
        assert parts.across[s] == len(now & (found[s + 1] if s + 1 < len(found) else frozenset()))


@pytest.mark.skipif(not MINIMALLOC.is_dir(), reason="needs the MiniMalloc benchmarks")
@pytest.mark.parametrize("letter", "ABCDEFGHIJK")
def test_minimalloc_benchmarks_are_packed_within_their_capacity(letter: str) -> None:
    trace = read(MINIMALLOC / f"{letter}.1048576.csv")
    buffers = buffers_of(trace)
    neighbours = overlaps(buffers.lower, buffers.upper)
    found = fit(buffers, neighbours, 1_048_576, 5_000_000, lasting(trace, buffers))
    assert found.addresses is not None and offences(buffers, found.addresses) == []
    assert (found.addresses + buffers.size).max() <= 1_048_576
