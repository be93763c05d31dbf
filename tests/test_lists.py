"""Policies that keep lists of holes equal their oracles in every figure, with options of their own too."""

from __future__ import annotations

import os
import random
from typing import Any

import pytest
from comparison import differences, found, random_case, replayed
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from oracle import Event
from oracle_lists import LIST_SPACES
from strategies import cases

from memtrace.testing import check_policy

SEEDS = int(os.environ.get("MEMTRACE_SEEDS", "150"))

OWN: dict[str, dict[str, tuple[Any, ...]]] = {
    "tlsf": {"sl": (0, 1, 2, 3, 5, 6), "small": (0, 64, 128, 1024), "fl": (8, 10, 14, 62), "cut": ("request", "class")},
    "region": {"page": (1, 64, 100, 1024, 5000)},
    "quick-fit": {"quick": (0, 16, 64, 200, 4096), "coalesce": ("growth", "failure")},
}


def with_own_options(policy: str, options: dict[str, Any], seed: int) -> dict[str, Any]:
    """The common options, and some of those that only this policy has."""
    dice = random.Random(seed)
    own = {name: dice.choice(values) for name, values in OWN.get(policy, {}).items() if dice.random() < 0.5}
    if "fl" in own:
        small = own.get("small") or options.get("align", 16) << own.get("sl", 5)
        own["fl"] = max(own["fl"], small.bit_length())  # 2^fl has to be above small
    return {**options, **own}


def tagged(policy: str, events: list[Event], seed: int) -> list[Event]:
    """Where the policy goes by tags, one of a few for every block."""
    dice = random.Random(seed)
    tags = (None, *"abcdef"[: dice.randrange(7)])
    return [event._replace(tag=dice.choice(tags)) if event.op == "alloc" and policy == "region" else event for event in events]


def own_case(policy: str, seed: int, events: int = 300) -> Any:
    rows, capacity, on_oom, options, batch_rows = random_case(policy, seed, events)
    return tagged(policy, rows, seed), capacity, on_oom, with_own_options(policy, options, seed), batch_rows


@pytest.mark.parametrize("policy", LIST_SPACES)
def test_seeded_traces(policy: str) -> None:
    for seed in range(SEEDS):
        case = own_case(policy, seed)
        assert differences(policy, case) == {}, f"seed {seed}: {case[1:]}"


@pytest.mark.parametrize("policy", LIST_SPACES)
def test_interpreted_equals_compiled(policy: str) -> None:
    for seed in range(12):
        events, capacity, on_oom, options, _ = own_case(policy, seed, 120)
        compiled = found(replayed(policy, events, capacity, on_oom, options))
        assert compiled == found(replayed(policy, events, capacity, on_oom, options, interpret=True)), f"seed {seed}"


@pytest.mark.parametrize("policy", LIST_SPACES)
def test_batches_equal_one_run(policy: str) -> None:
    for seed in range(20):
        events, capacity, on_oom, options, _ = own_case(policy, seed)
        whole = replayed(policy, events, capacity, on_oom, options)
        assert found(whole) == found(replayed(policy, events, capacity, on_oom, options, batch_rows=3)), f"seed {seed}"


@settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
@given(cases(tuple(LIST_SPACES)), st.integers(0, 1000))
def test_searched_for_counterexamples(case: Any, seed: int) -> None:
    policy, events, capacity, on_oom, options = case
    events = tagged(policy, events, seed)
    assert differences(policy, (events, capacity, on_oom, with_own_options(policy, options, seed), 5)) == {}


@pytest.mark.parametrize("policy", LIST_SPACES)
def test_sound(policy: str) -> None:
    report = check_policy(policy, traces=8)
    assert report.ok, report.text()
