"""Every policy equals the oracle, a list of intervals, in every figure; compiled equals interpreted.

``MEMTRACE_SEEDS=3000 pytest tests/policies/test_exactness.py`` drives more cases than the suite does.
"""

from __future__ import annotations

import os
from typing import Any

import pytest
from comparison import differences, found, random_case, replayed
from hypothesis import HealthCheck, given, settings
from oracle import POLICIES, Event
from strategies import cases

from memtrace.engine.registry import group
from memtrace.engine.replay import replay
from memtrace.trace import from_events

SEEDS = int(os.environ.get("MEMTRACE_SEEDS", "60"))


@pytest.mark.parametrize("policy", POLICIES)
def test_seeded_traces(policy: str) -> None:
    for seed in range(SEEDS):
        case = random_case(policy, seed)
        assert differences(policy, case) == {}, f"seed {seed}: {case[1:]}"


@pytest.mark.parametrize("policy", POLICIES)
def test_interpreted_equals_compiled(policy: str) -> None:
    for seed in range(12):
        events, capacity, on_oom, options, _ = random_case(policy, seed, 120)
        compiled = found(replayed(policy, events, capacity, on_oom, options))
        assert compiled == found(replayed(policy, events, capacity, on_oom, options, interpret=True)), f"seed {seed}"


@pytest.mark.parametrize("policy", POLICIES)
def test_batches_equal_one_run(policy: str) -> None:
    for seed in range(20):
        events, capacity, on_oom, options, _ = random_case(policy, seed)
        whole = replayed(policy, events, capacity, on_oom, options)
        pieces = replayed(policy, events, capacity, on_oom, options, batch_rows=3)
        assert found(whole) == found(pieces), f"seed {seed}"
        assert whole.recorder.sums.tobytes() == pieces.recorder.sums.tobytes()


@pytest.mark.parametrize("policy", group("all"))
def test_blocks_beyond_4_gib_are_placed_by_the_interpreter_as_compiled(policy: str) -> None:
    rows: list[tuple[Any, ...]] = []
    for id in range(12):
        rows.append(("alloc", id, (3 << 30) + 4096 * id))
        rows += [("free", id - 3, None)] if id > 3 else []
        rows += [("realloc", id, 3 << 29)] if id % 4 == 2 else []
    trace = from_events(rows)
    compiled, interpreted = (replay(trace, policy, keep=True, interpret=how) for how in (False, True))
    assert compiled.addresses is not None and interpreted.addresses is not None
    assert compiled.addresses.tolist() == interpreted.addresses.tolist()
    assert (compiled.ledger == interpreted.ledger).all()


@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(cases())
def test_searched_for_counterexamples(case: Any) -> None:
    policy, events, capacity, on_oom, options = case
    assert differences(policy, (events, capacity, on_oom, options, 5)) == {}


@pytest.mark.parametrize("policy", ["buddy", "best-fit"])
def test_a_block_of_terabytes_among_small_ones(policy: str) -> None:
    sizes = [100, 2 << 40, 64, 3 << 40]
    events = [Event("alloc", id, size) for id, size in enumerate(sizes)] + [Event("free", 1), Event("alloc", 9, 1 << 40)]
    assert differences(policy, (events, None, "stop", {}, 5)) == {}
