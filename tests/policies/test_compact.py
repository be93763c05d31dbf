"""Compact equals a sliding list of blocks in every figure, every move and every pause; it reaches the lower bound."""

from __future__ import annotations

import os
import random
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from comparison import random_case, replayed
from conftest import ROOT
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from oracle import Event
from oracle_compact import Sliding
from oracle_space import UNBOUNDED, Options
from spaces import drive, twice_the_same, unlike
from strategies import cases

import memtrace
from memtrace.policies.compact import COUNTERS
from memtrace.trace import from_events
from memtrace.validation.placements import validate
from memtrace.validation.policies import check_policy

SEEDS = int(os.environ.get("MEMTRACE_SEEDS", "60"))
OWN = {"when": ("threshold", "growth", "failure"), "threshold": (0, 1, 10, 25, 60, 100)}


def compare(events: list[Event], capacity: int | None, on_oom: str, options: dict[str, Any], own: Any, batch_rows: int) -> None:
    placement = replayed("compact", events, capacity, on_oom, {**options, **own}, batch_rows)
    space = Sliding(Options(**options), UNBOUNDED if capacity is None else capacity, **own)
    moves: list[tuple[int, int]] = []
    counters: list[list[int]] = []
    before: dict[int, int] = {}

    def note(event: Event, address: int | None) -> None:
        nonlocal before
        number, now = len(counters), dict(space.where)
        moves.extend((number, now[key]) for key in before.keys() & now if before[key] != now[key])
        before = now
        counters.append(list(space.counters().values()))

    outcome = drive(space, events, on_oom, note)
    assert unlike(placement, outcome) == {}
    assert placement.recorder.sample_counters[: len(counters)].tolist() == counters
    assert placement.places is not None
    found = [(event, address) for event, _, address, _ in placement.places.tolist()]
    own_block = placement.addresses is not None and {(e, a) for e, a in enumerate(placement.addresses.tolist()) if a >= 0}
    assert sorted(set(found) - (own_block or set())) == sorted(set(moves) - (own_block or set()))
    assert validate(placement) is None


def test_seeded_traces() -> None:
    for seed in range(SEEDS):
        events, capacity, on_oom, options, batch_rows = random_case("compact", seed)
        dice = random.Random(seed)
        compare(events, capacity, on_oom, options, {name: dice.choice(values) for name, values in OWN.items()}, batch_rows)


@settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
@given(cases(("first-fit",)), st.sampled_from(OWN["when"]), st.sampled_from(OWN["threshold"]))
def test_searched_for_counterexamples(case: Any, when: str, threshold: int) -> None:
    _, events, capacity, on_oom, options = case
    compare(events, capacity, on_oom, options, {"when": when, "threshold": threshold}, 5)


def test_compiled_equals_interpreted_and_pieces_the_whole() -> None:
    for seed in range(6):
        events, capacity, on_oom, options, _ = random_case("compact", seed, 120)
        twice_the_same("compact", (events, capacity, on_oom, {**options, "when": OWN["when"][seed % 3], "threshold": 5}))


def test_it_is_sound() -> None:
    for spec in ("compact:threshold=5", "compact:when=growth"):
        report = check_policy(spec, traces=6)
        assert report.ok, report.text()


@pytest.mark.parametrize("trace", ["gpt-6x512-fp32.csv", "gpt2-small-amp-tight.parquet"])
def test_it_reaches_the_lower_bound(trace: str) -> None:
    read = memtrace.read(ROOT / "traces" / trace)
    exact = "align=1,min_block=1"
    for spec, capacity in ((f"compact:when=growth,{exact}", None), (f"compact:when=failure,{exact}", read.facts.peak_live_bytes)):
        placement = memtrace.replay(read, spec, capacity, keep=True)
        row = memtrace.measure(placement)
        assert row["status"] == "ok" and row["peak_reserved_bytes"] == row["lower_bound_bytes"] == read.facts.peak_live_bytes
        assert row["moved_bytes"] > 0 and validate(placement) is None
    first = memtrace.measure(memtrace.replay(read, f"first-fit:{exact}"))
    assert first["peak_reserved_bytes"] > first["lower_bound_bytes"]


def test_a_threshold_bounds_the_holes() -> None:
    dice = random.Random(3)
    rows: list[tuple[Any, ...]] = []
    live: list[int] = []
    for event in range(6000):
        if live and dice.random() < (0.3 if event % 2000 < 1000 else 0.7):
            rows.append(("free", live.pop(dice.randrange(len(live)))))
        else:
            live.append(event)
            rows.append(("alloc", event, dice.randrange(1, 3000)))
    trace = from_events(rows)
    moved = []
    for threshold in (5, 20, 60):
        placement = memtrace.replay(trace, f"compact:threshold={threshold},trim=true", samples=1 << 62)
        counters = dict(zip(COUNTERS, placement.recorder.sample_counters[-1].tolist(), strict=True))
        reserved, free = placement.recorder.samples[:, 3], placement.recorder.samples[:, 4]
        assert (free[1:] <= reserved[1:] * threshold / 100).all()
        assert counters["slid_bytes"] == memtrace.measure(placement)["moved_bytes"] > 0
        assert 0 < counters["largest_pause_bytes"] <= int(placement.recorder.samples[:, 2].max())
        moved.append(counters["slid_bytes"])
    assert moved == sorted(moved, reverse=True)


def test_heap_and_its_map_follow_the_blocks() -> None:
    heap = memtrace.Heap("compact:when=failure", capacity=256)
    a, b, c = heap.allocate(64), heap.allocate(64), heap.allocate(64)
    assert a and b and c
    heap.free(a)
    big = heap.allocate(128)
    assert big is not None and (b.address, c.address, big.address) == (0, 64, 128)
    assert heap.map(16) == "0 BBBBCCCCDDDDDDDD 256"


def test_the_validator_looks_at_moves() -> None:
    trace = from_events([("alloc", 1, 64), ("alloc", 2, 64), ("alloc", 3, 64), ("free", 1), ("alloc", 4, 128)])
    placement = memtrace.replay(trace, "compact:when=failure", 256, keep=True)
    assert placement.addresses is not None and placement.addresses.tolist() == [0, 64, 128, -2, 128]
    assert placement.places is not None and placement.places.tolist() == [[4, 1, 0, 64], [4, 2, 64, 64]]
    assert validate(placement) is None
    for row, address, kind in ((0, 16, "overlap"), (1, 48, "overlap"), (0, 8, "misaligned"), (1, 1024, "beyond")):
        places = placement.places.copy()
        places[row, 2] = address
        offence = validate(replace(placement, places=places))
        assert offence is not None and (offence.event, offence.kind) == (4, kind)
    unmoved = validate(replace(placement, places=np.zeros((0, 4), np.int64)))
    assert unmoved is not None and (unmoved.event, unmoved.kind) == (4, "overlap")
