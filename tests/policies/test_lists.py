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

import memtrace
from memtrace.engine.recorder import FAILED, PEAK_LIVE, SEARCH_MAX, SEARCH_SUM
from memtrace.engine.replay import replay
from memtrace.errors import UsageError
from memtrace.trace import from_events
from memtrace.validation.policies import check_policy

SEEDS = int(os.environ.get("MEMTRACE_SEEDS", "60"))

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


def test_a_stack_wastes_nothing_in_lifo_order() -> None:
    dice, events, live = random.Random(1), [], []
    for number in range(600):
        if live and dice.random() < 0.5:
            events.append(Event("free", live.pop()))
        else:
            live.append(number)
            events.append(Event("alloc", number, 16 * dice.randrange(1, 50)))
    placement = replayed("stack", events, None, "stop", {})
    assert placement.peak_reserved_bytes == placement.recorder.totals[PEAK_LIVE]


@pytest.mark.parametrize("policy", ["quick-fit:coalesce=failure,quick=4096", "region:page=16"])
def test_more_nodes_than_live_blocks_ask_for(policy: str) -> None:
    """Every size leaves blocks in lists, every page a rest behind one block that stays: the arrays grow."""
    name, _, text = policy.partition(":")
    options = {key: int(value) if value.isdigit() else value for key, value in (part.split("=") for part in text.split(","))}
    events = [Event("alloc", 0, 16, tag="t0")]
    for number in range(1, 400):
        first = 3 * number
        size, tag = 16 * (number % 200 + 1), f"t{number % 60}"
        events += [Event("alloc", first + i, size, tag=tag) for i in range(3)] + [Event("free", first + i) for i in range(3)]
        events += [Event("alloc", first, size, tag="t0"), Event("free", first)]
    for batch_rows in (1 << 20, 11):
        assert differences(name, (events, None, "stop", options, batch_rows)) == {}
    assert differences(name, (events, None, "stop", options, 1 << 20), interpret=True) == {}


def test_a_block_of_just_a_page_is_looked_for_once() -> None:
    placement = replayed("region", [Event("alloc", 1, 64, tag="a")], 60, "skip", {"initial": 48, "page": 64})
    assert placement.recorder.totals[FAILED] == 1
    assert placement.recorder.totals[SEARCH_SUM] == 1  # the hole of 48 bytes


def test_options_out_of_range_are_named() -> None:
    for policy, option in (
        ("tlsf", "sl=7"),
        ("tlsf", "small=100"),
        ("tlsf", "small=16"),
        ("tlsf", "fl=9"),
        ("tlsf", "fl=63"),
        ("tlsf", "cut=block"),
        ("quick-fit", "quick=4097"),
        ("region", "page=0"),
    ):
        with pytest.raises(UsageError, match=option.partition("=")[0]):
            replay(from_events([("alloc", 1, 1)]), f"{policy}:{option}")


def test_hole_classes_by_hand() -> None:
    """sl=2, small=64: 0 16 32 48 64 80 96 112 128 160 192 224 256 ...: 130 bytes need a hole of 160."""
    heap = memtrace.Heap("tlsf:sl=2,small=64,align=1,min_block=1")
    blocks = [heap.allocate(size) for size in (150, 1, 170, 1, 200, 1, 250, 1)]
    addresses = [block.address for block in blocks if block is not None]
    for i in (4, 2, 0, 6):
        heap.free(blocks[i])
    for size, at in ((130, 2), (130, 4), (200, 6), (130, None)):
        block = heap.allocate(size)
        assert block is not None
        assert block.address == (addresses[at] if at is not None else addresses[7] + 1)


def test_a_search_looks_at_one_hole_at_most() -> None:
    for policy in ("tlsf", "half-fit"):
        events, capacity, on_oom, _, _ = random_case(policy, 5, 2000)
        assert replayed(policy, events, capacity, on_oom, {}).recorder.totals[SEARCH_MAX] == 1


@pytest.mark.parametrize("policy", LIST_SPACES)
def test_sound(policy: str) -> None:
    report = check_policy(policy, traces=8)
    assert report.ok, report.text()
