"""segregated, size-class, slab and pool equal their oracles in every figure, with options that make pages small and tight.

``MEMTRACE_SEEDS=3000 pytest tests/policies/test_cells.py`` drives more cases than the suite does.
"""

from __future__ import annotations

import os
import random
from collections.abc import Sequence
from typing import Any

import pytest
from comparison import differences, found, replayed
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from oracle import Event
from oracle_cells import CELLS
from strategies import capacities, event_lists, random_events, random_options

import memtrace
from memtrace.trace import from_events
from memtrace.validation.placements import validate

SEEDS = int(os.environ.get("MEMTRACE_SEEDS", "60"))
PAGED: dict[str, Sequence[Any]] = {"page": (64, 128, 256, 1024, 4096), "min_block": (1, 16, 24, 64)}
CLASSED = {**PAGED, "spacing": (1, 2, 4, 8), "small": (0, 16, 100, 512, 3000), "tail": (1, 4, 8, 20)}
OWN: dict[str, dict[str, Sequence[Any]]] = {
    "segregated": PAGED,
    "size-class": CLASSED,
    "slab": {**CLASSED, "empty": (0, 1, 3, 100)},
    "pool": {"cell": (1, 16, 48, 64, 200), "cells": (1, 2, 7, 64, 65, 200), "pools": (0, 1, 3), "fallback": ("best-fit", "none")},
}


def own_options(policy: str, seed: int) -> dict[str, Any]:
    """Common options and the policy's own, some of each."""
    dice = random.Random(seed)
    common = {
        name: value for name, value in random_options(seed).items() if policy != "segregated" or name not in ("trim", "split")
    }
    own = {name: dice.choice(values) for name, values in OWN[policy].items() if dice.random() < 0.7}
    return allowed(policy, {**common, **own})


def allowed(policy: str, options: dict[str, Any]) -> dict[str, Any]:
    if policy == "pool" and options.get("fallback") == "none":
        options = {**options, "swap": "inplace"}
    return options if policy == "pool" else {**options, "page": max(options.get("page", 256), options.get("align", 16))}


def random_case(policy: str, seed: int, events: int = 300) -> tuple[list[Event], int | None, str, dict[str, Any], int]:
    dice = random.Random(seed)
    rows = random_events(
        seed,
        events,
        max_size=dice.choice((100, 1000, 6000)),
        aligned_percent=dice.choice((0, 0, 15, 50)),
        max_live=dice.choice((5, 20, 60, 200)),
    )
    options = own_options(policy, seed) if seed % 8 else {}
    capacity = dice.choice((None, None, 4000, 8192, 20000, 100000))
    if capacity is not None:
        capacity = max(capacity, options.get("base", 0) + options.get("initial", 0))
    return rows, capacity, dice.choice(("stop", "skip", "skip")), options, dice.choice((7, 1 << 20))


@pytest.mark.parametrize("policy", CELLS)
def test_seeded_traces(policy: str) -> None:
    for seed in range(SEEDS):
        case = random_case(policy, seed)
        assert differences(policy, case) == {}, f"seed {seed}: {case[1:]}"


@pytest.mark.parametrize("policy", CELLS)
def test_traces_with_many_runs(policy: str) -> None:
    """More live blocks than the tables have rows for at first."""
    for seed in range(3):
        rows = random_events(seed, 4000, max_size=200, max_live=1500, free_all=True)
        options = {"cells": 3} if policy == "pool" else {"page": 64}
        assert differences(policy, (rows, None, "stop", options, 1 << 20)) == {}, f"seed {seed}"


@pytest.mark.parametrize("policy", CELLS)
def test_interpreted_equals_compiled(policy: str) -> None:
    for seed in range(12):
        events, capacity, on_oom, options, _ = random_case(policy, seed, 120)
        compiled = found(replayed(policy, events, capacity, on_oom, options))
        assert compiled == found(replayed(policy, events, capacity, on_oom, options, interpret=True)), f"seed {seed}"


@st.composite
def cases(draw: Any) -> Any:
    policy = draw(st.sampled_from(list(CELLS)))
    options = own_options(policy, draw(st.integers(0, 10**6)))
    capacity = draw(capacities(options, room=8000))
    return policy, (draw(event_lists(max_events=60)), capacity, draw(st.sampled_from(("stop", "skip"))), options, 5)


@settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
@given(cases())
def test_searched_for_counterexamples(case: Any) -> None:
    policy, rest = case
    assert differences(policy, rest) == {}


def test_a_block_aligned_above_a_page_leaves_its_cell_when_it_outgrows_it() -> None:
    """It starts inside its cell: the same power of two is not enough to stay."""
    rows = [("alloc", 1, 100), ("alloc", 2, 5000, None, 16384), ("alloc", 3, 8192), ("alloc", 4, 8192)]
    assert validate(memtrace.replay(from_events([*rows, ("realloc", 2, 30000)]), "segregated", keep=True, interpret=True)) is None
    for seed in range(20):
        dice = random.Random(seed)
        made = [("alloc", number, 2 ** dice.randrange(17), None, dice.choice((16, 8192, 65536))) for number in range(20)]
        made += [("realloc", dice.randrange(20), 2 ** dice.randrange(17), None, dice.choice((16, 16384))) for _ in range(60)]
        for policy in ("segregated", "segregated:page=1024,header=8", "size-class", "slab", "pool"):
            assert validate(memtrace.replay(from_events(made), policy, keep=True, interpret=True)) is None, (seed, policy)
