"""Replays over tiers against plain replays, and on blocks of one size against textbooks and another library."""

from __future__ import annotations

import os
import random
import subprocess
from typing import Any

import pytest
from conftest import ROOT
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import random_events
from tier_cases import trace_of

from memtrace.engine.recorder import ROW
from memtrace.engine.replay import replay
from memtrace.tiers.eviction import RULES
from memtrace.tiers.replay import replay_tiers
from memtrace.tiers.tier import Plan, Tier
from memtrace.trace import Trace, from_events

# Against a plain replay


@pytest.mark.parametrize("policy", ["best-fit", "first-fit:header=8,trim=true", "buddy", "tlsf"])
@pytest.mark.parametrize("seed", range(3))
def test_a_tier_that_is_large_enough_is_a_plain_replay(policy: str, seed: int) -> None:
    trace = trace_of(random_events(seed, 400))
    tiers = [Tier("hbm", 1 << 24, 1e12, 0, policy), Tier("dram", 1 << 40, 1e9, 0, policy)]
    found = replay_tiers(trace, tiers, Plan(uses="lifetimes"), keep=True, interpret=True, samples=50)
    plain = replay(trace, policy, 1 << 24, keep=True, interpret=True, samples=50)
    assert found.addresses is not None and plain.addresses is not None
    assert (found.addresses == plain.addresses).all()
    assert (found.ledger(0) == plain.ledger).all()
    assert (found.books.samples[:, 0, : len(ROW)] == plain.recorder.samples).all()
    assert (found.books.peaks[0] == plain.recorder.peaks).all()
    assert found.total("STALL") == 0 and not found.count("BLOCKS")[1]


@pytest.mark.parametrize("on_oom", ["stop", "skip"])
def test_one_tier_is_a_plain_replay_even_where_it_fails(on_oom: Any) -> None:
    trace = trace_of(random_events(5, 400))
    found = replay_tiers(trace, [Tier("hbm", 3000, 1e12)], keep=True, interpret=True, on_oom=on_oom)
    plain = replay(trace, "best-fit", 3000, keep=True, interpret=True, on_oom=on_oom)
    assert found.addresses is not None and plain.addresses is not None and found.total("FAILED") > 0
    assert (found.addresses == plain.addresses).all() and found.oom_event == plain.oom_event


def test_a_top_without_room_sends_everything_down() -> None:
    trace = trace_of(random_events(6, 300))
    found = replay_tiers(
        trace, [Tier("hbm", 0, 1e12), Tier("dram", 1 << 40, 1e9)], Plan(uses="lifetimes"), keep=True, interpret=True
    )
    plain = replay(trace, "best-fit", 1 << 40, keep=True, interpret=True)
    assert found.addresses is not None and plain.addresses is not None and found.landed is not None
    assert (found.addresses == plain.addresses).all()
    assert (found.landed[plain.addresses >= 0] == 1).all()
    assert found.count("IN_BYTES")[0] == 0 and found.count("HITS")[0] == 0 and not found.count("EVICTIONS").any()


# Against textbooks, on blocks of one size


def accesses(seed: int, blocks: int = 20, count: int = 300) -> list[int]:
    """Numbers of blocks, some far more often than others."""
    chance = random.Random(seed)
    return [min(int(chance.expovariate(0.2)), blocks - 1) for _ in range(count)]


def unit_trace(numbers: list[int]) -> Trace:
    """All blocks first, in an order that gives nothing away, then the accesses."""
    made = sorted(set(numbers))
    return from_events([*(("alloc", n, 16) for n in made), *(("access", n) for n in numbers)])


def misses_of(numbers: list[int], capacity: int, evict: str, interpret: bool = True) -> int:
    """What a cache that is empty at first misses: the warm-up by allocs is taken off by a run without accesses."""
    tiers = [Tier("cache", 16 * capacity, 1e12), Tier("store", 1 << 40, 1e9)]
    found = replay_tiers(unit_trace(numbers), tiers, Plan(evict, "access"), interpret=interpret, samples=1)
    assert found.total("FAILED") == 0
    return int(found.count("HITS")[1])


def textbook(numbers: list[int], capacity: int, evict: str) -> int:
    """Allocs are accesses too, so a cache of the textbook is warmed by them; only the rest is counted."""
    warm = sorted(set(numbers))
    whole = [*warm, *numbers]
    held: list[int] = []
    misses = 0
    for at, number in enumerate(whole):
        if number in held:
            if evict == "lru":
                held.remove(number)
                held.append(number)
            continue
        misses += at >= len(warm)
        if len(held) == capacity:
            rest = whole[at + 1 :]
            later = {n: rest.index(n) if n in rest else len(whole) for n in held}
            held.remove(max(held, key=lambda n: later[n]) if evict == "belady" else held[0])
        held.append(number)
    return misses


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(0, 12), min_size=1, max_size=60), st.integers(1, 9))
def test_misses_are_the_textbook_s(numbers: list[int], capacity: int) -> None:
    found = {evict: misses_of(numbers, capacity, evict) for evict in ("lru", "fifo", "belady")}
    assert found == {evict: textbook(numbers, capacity, evict) for evict in found}
    assert all(found["belady"] <= misses_of(numbers, capacity, evict) for evict in RULES)


@settings(max_examples=20, deadline=None)
@given(st.lists(st.integers(0, 9), min_size=1, max_size=50))
def test_more_capacity_never_misses_more_under_lru(numbers: list[int]) -> None:
    found = [misses_of(numbers, capacity, "lru") for capacity in range(1, 11)]
    assert found == sorted(found, reverse=True)


def test_belady_moves_no_more_than_lru() -> None:
    for seed in range(5):
        trace = unit_trace(accesses(seed, count=120))
        tiers = [Tier("cache", 16 * 6, 1e12), Tier("store", 1 << 40, 1e9)]
        moved = [replay_tiers(trace, tiers, Plan(evict, "access"), interpret=True).count("UP")[1] for evict in ("belady", "lru")]
        assert moved[0] <= moved[1]


@pytest.mark.skipif(
    "MEMTRACE_LIBCACHESIM" not in os.environ, reason="MEMTRACE_LIBCACHESIM=PYTHON names a Python that has libcachesim"
)
def test_misses_are_those_of_libcachesim() -> None:
    script = ROOT / "tests" / "data" / "libcachesim_misses.py"
    for seed in range(8):
        numbers, capacity = accesses(seed, 40, 500), 4 + seed
        whole = [*sorted(set(numbers)), *numbers]
        command = [os.environ["MEMTRACE_LIBCACHESIM"], str(script), str(capacity), str(len(set(numbers)))]
        done = subprocess.run(command, input=" ".join(map(str, whole)), capture_output=True, text=True, check=True)
        theirs = dict(zip(("lru", "fifo", "clock", "belady"), map(int, done.stdout.split()), strict=True))
        assert {evict: misses_of(numbers, capacity, evict) for evict in theirs} == theirs
