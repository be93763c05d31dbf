"""What must hold in the oracle whatever the trace and the options."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given, settings
from oracle import POLICIES, Event, Outcome, simulate
from oracle_space import Range
from strategies import Case, cases, random_events, random_options, to_csv


def overlaps(ranges: list[Range]) -> bool:
    return any(left[1] > right[0] for left, right in pairwise(ranges))


def check_state(outcome: Outcome, policy: str, base: int, tiled: bool) -> None:
    """Holes and blocks never overlap, and fill [base, reserved) where nothing is unusable."""
    for holes, blocks, top, live, allocated in zip(
        outcome.holes, outcome.blocks, outcome.reserved, outcome.live, outcome.allocated, strict=True
    ):
        ranges = sorted(holes + blocks)
        assert not overlaps(ranges)
        assert all(start < end for start, end in ranges)
        assert allocated == sum(end - start for start, end in blocks) >= live
        assert all(base <= start and end <= top for start, end in ranges)
        if tiled:
            assert sum(end - start for start, end in ranges) == top - base
        if policy != "buddy":
            assert all(left[1] < right[0] for left, right in pairwise(holes))
        else:
            assert all(start % (end - start) == 0 for start, end in blocks)


def check(case: Case) -> None:
    policy, events, capacity, on_oom, options = case
    outcome = simulate(policy, events, capacity, on_oom, **options)
    base = options.get("base", 0)
    check_state(outcome, policy, base, tiled=policy != "buddy" or (base == 0 and capacity is None))
    assert all(top <= (capacity or 2**62) for top in outcome.reserved)
    seen = len(events) if outcome.oom_event is None else outcome.oom_event + 1
    assert len(outcome.addresses) == seen
    assert all(hole >= block for hole, block in outcome.fits)
    for address, event in zip(outcome.addresses, events, strict=False):
        assert address is None or address % (event.align or 1) == 0


@settings(deadline=None, max_examples=150)
@given(cases())
def test_invariants_hold_for_any_options(case: Case) -> None:
    check(case)


@pytest.mark.parametrize("policy", POLICIES)
def test_invariants_hold_on_longer_traces(policy: str) -> None:
    for seed in range(12):
        options = random_options(seed)
        floor = options.get("base", 0) + options.get("initial", 0)
        capacity = (None, floor + 2000, floor + 6000)[seed % 3]
        check((policy, random_events(seed, 300, free_all=True), capacity, "skip", options))


def test_random_events_repeat_and_read_as_csv() -> None:
    events = random_events(3, 50)
    assert events == random_events(3, 50) != random_events(4, 50)
    assert to_csv([Event("alloc", 1, 8, 64), Event("copy", 1, dst=2), Event("trim")]).splitlines() == [
        "op,id,size,align,dst",
        "alloc,1,8,64,",
        "copy,1,,,2",
        "trim,,,,",
    ]
