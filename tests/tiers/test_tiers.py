"""Replays over tiers against a twin of lists and dicts."""

from __future__ import annotations

import os
import random
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from oracle import Event
from strategies import event_lists, random_events
from tier_cases import OPTIONS, differences, figures, hierarchies, long_case, plans, tagged, trace_of

from memtrace.tiers.eviction import RULES
from memtrace.tiers.replay import replay_tiers
from memtrace.tiers.tier import Plan, Tier
from memtrace.trace import from_events


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(event_lists().filter(bool), st.integers(0, 99), hierarchies(), OPTIONS, plans())
def test_it_does_what_the_twin_does(
    events: list[Event], seed: int, described: list[dict[str, Any]], options: dict[str, Any], how: dict[str, Any]
) -> None:
    assert differences(tagged(events, seed), described, options, how, interpret=True) == {}


@pytest.mark.parametrize("evict", RULES)
@pytest.mark.parametrize("seed", range(4))
def test_longer_traces(evict: str, seed: int) -> None:
    assert differences(*long_case(evict, seed), interpret=True) == {}


@pytest.mark.parametrize("evict", os.environ.get("MEMTRACE_TIER_RULES", "lru belady").split())
def test_compiled(evict: str) -> None:
    """Half a minute per rule for the compiler; MEMTRACE_TIER_RULES names more of them."""
    for seed in range(100, 140):
        events, described, options, how = long_case(evict, seed)
        rows = random.Random(seed).choice([11, 1 << 20])
        assert differences(events, described, options, how, batch_rows=rows) == {}, seed


def test_a_realloc_of_a_block_that_failed_lands_nowhere() -> None:
    events = [("alloc", 1, 8), ("free", 1), ("alloc", 2, 99), ("realloc", 2, 4)]
    tiers = [Tier("a", 16, 1e9), Tier("b", 16, 1e8)]
    found = replay_tiers(from_events(events), tiers, Plan(uses="lifetimes"), keep=True, interpret=True, on_oom="skip")
    assert found.addresses is not None and found.landed is not None
    assert list(zip(found.addresses.tolist(), found.landed.tolist(), strict=True)) == [(0, 0), (-2, -1), (-1, -1), (-2, -1)]


@pytest.mark.parametrize("interpret", [True, False])
def test_each_tier_has_a_policy_of_its_own(interpret: bool) -> None:
    """Conservation with three policies, some of which ask for larger arrays in the middle of an event."""
    trace = trace_of(random_events(8, 300, max_live=30))
    tiers = [Tier("a", 4096, 1e9, 0, "buddy"), Tier("b", 4000, 1e8, 0, "first-fit"), Tier("c", 1 << 20, 1e7, 0, "tlsf")]
    found = replay_tiers(trace, tiers, Plan(uses="lifetimes"), keep=True, interpret=interpret, on_oom="skip")
    figures(found)
    assert found.count("EVICTIONS")[0] > 0 and found.count("HITS")[1] > 0
