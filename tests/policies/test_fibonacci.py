"""The Fibonacci buddy equals a tree of plain objects; what each kind loses inside blocks is what theory says."""

from __future__ import annotations

import os
import random
from math import sqrt
from typing import Any

import pytest
from comparison import random_case, replayed
from hypothesis import HealthCheck, given, settings
from oracle import Event
from oracle_fibonacci import FibonacciBuddy
from oracle_space import UNBOUNDED, Options
from spaces import drive, twice_the_same, unlike
from strategies import cases

import memtrace
from memtrace.engine.registry import parse_policy
from memtrace.trace import from_events
from memtrace.validation.policies import check_policy

SEEDS = int(os.environ.get("MEMTRACE_SEEDS", "60"))


def compare(events: list[Event], capacity: int | None, on_oom: str, options: dict[str, Any], batch_rows: int) -> None:
    placement = replayed("buddy", events, capacity, on_oom, {"kind": "fibonacci", **options}, batch_rows)
    space = FibonacciBuddy(Options(**options), UNBOUNDED if capacity is None else capacity)
    assert unlike(placement, drive(space, events, on_oom)) == {}


def test_seeded_traces() -> None:
    for seed in range(SEEDS):
        events, capacity, on_oom, options, batch_rows = random_case("buddy", seed)
        compare(events, capacity, on_oom, options, batch_rows)


@settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
@given(cases(("buddy",)))
def test_searched_for_counterexamples(case: Any) -> None:
    _, events, capacity, on_oom, options = case
    compare(events, capacity, on_oom, options, 5)


def test_compiled_equals_interpreted_and_pieces_the_whole() -> None:
    for seed in range(6):
        events, capacity, on_oom, options, _ = random_case("buddy", seed, 120)
        twice_the_same("buddy", (events, capacity, on_oom, {"kind": "fibonacci", **options}))


def test_it_is_sound() -> None:
    report = check_policy("buddy:kind=fibonacci", traces=8)
    assert report.ok, report.text()


def test_the_kind_is_a_module_of_its_own_under_one_name() -> None:
    binary, fibonacci = parse_policy("buddy:kind=binary"), parse_policy("buddy:kind=fibonacci")
    assert binary.module is parse_policy("buddy").module is not fibonacci.module
    assert fibonacci.name == "buddy" and fibonacci.label == "buddy:kind=fibonacci"


def test_when_all_is_freed_one_block_of_the_whole_space_fits() -> None:
    dice = random.Random(1)
    rows: list[tuple[Any, ...]] = []
    live: list[int] = []
    for event in range(2000):
        if live and dice.random() < 0.48:
            rows.append(("free", live.pop(dice.randrange(len(live)))))
        else:
            live.append(event)
            rows.append(("alloc", event, dice.randrange(3000)))
    space = 16 * 28657  # a Fibonacci number of units
    rows += [("free", each) for each in live] + [("alloc", 10**6, space)]
    placement = memtrace.replay(from_events(rows), "buddy:kind=fibonacci", space, on_oom="skip", keep=True)
    assert placement.addresses is not None and placement.addresses[-1] == 0


@pytest.mark.parametrize("capacity", [None, 1 << 20])
def test_reserved_grows_from_below(capacity: int | None) -> None:
    trace = from_events([("alloc", i, 100) for i in range(100)])
    placement = memtrace.replay(trace, "buddy:kind=fibonacci", capacity)
    assert placement.peak_reserved_bytes <= 2 * 128 * 100


# Sizes uniform up to a bound B: a block is the next size s above. For powers of two, B from 2^n to 2^(n+1), the share is
# 1 - B^2 / (4 B - 8/3) with 2^n = 1: 1/4 at both ends and 1/3 at B = 4/3. For Fibonacci numbers, with ratio p: from
# 1 - p/2 to 1 - 2/p^2.
GOLDEN = (1 + sqrt(5)) / 2
SHARES = {"binary": (1 / 4, 1 / 3), "fibonacci": (1 - GOLDEN / 2, 1 - 2 / GOLDEN**2)}


@pytest.mark.parametrize("kind", SHARES)
def test_what_is_lost_inside_blocks_for_uniform_sizes(kind: str) -> None:
    dice = random.Random(7)
    shares = []
    for k in range(9):
        bound = round(2 ** (16 + k / 8))
        rows = [("alloc", i, dice.randrange(1, bound + 1)) for i in range(6000)]
        shares.append(memtrace.measure(memtrace.replay(from_events(rows), f"buddy:kind={kind}"))["internal_frag_at_peak"])
    low, high = SHARES[kind]
    assert low - 0.01 < min(shares) and max(shares) < high + 0.01
    assert min(shares) < low + 0.015 and max(shares) > high - 0.015  # both ends are reached
