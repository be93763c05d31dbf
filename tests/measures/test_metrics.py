"""Measures worked out by hand, on one short trace, and against plain Python on random ones."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import memtrace
from memtrace.engine.recorder import ROW, even_events
from memtrace.engine.replay import replay
from memtrace.measures import declared
from memtrace.trace import from_events
from memtrace.validation.policies import random_trace

# first fit, 16-byte granules:
#   event 0  A at 0 (30 asked, 32)         L 30   A 32   R 32
#   event 1  B at 32 (64)                  L 94   A 96   R 96
#   event 2  C at 96 (16)                  L 110  A 112  R 112
#   event 3  A is freed: a hole of 32      L 80   A 80   R 112
#   event 4  D at 0 (16), a hole of 16     L 96   A 96   R 112
STORY = [("alloc", 1, 30), ("alloc", 2, 64), ("alloc", 3, 16), ("free", 1), ("alloc", 4, 16)]


def test_by_hand() -> None:
    row = memtrace.measure(memtrace.replay(from_events(STORY), "first-fit"))
    assert (row["peak_live_bytes"], row["peak_live_event"]) == (110, 2)
    assert (row["peak_allocated_bytes"], row["peak_allocated_event"]) == (112, 2)
    assert (row["peak_reserved_bytes"], row["peak_reserved_event"], row["lower_bound_bytes"]) == (112, 2, 110)
    assert row["jw1"] == pytest.approx((32 / 30 + 96 / 94 + 112 / 110 + 112 / 80 + 112 / 96) / 5 - 1)
    assert row["jw2"] == row["jw3"] == row["jw4"] == pytest.approx(112 / 110 - 1)
    assert row["internal_frag_mean"] == pytest.approx((2 / 32 + 2 / 96 + 2 / 112 + 0 + 0) / 5)
    assert row["internal_frag_at_peak"] == pytest.approx(2 / 112)
    assert (row["external_frag_mean"], row["external_frag_max"], row["external_frag_at_peak"]) == (0, 0, 0)
    assert row["utilisation_at_peak"] == pytest.approx(110 / 112)
    assert (row["holes_mean"], row["holes_max"]) == (2 / 5, 1)
    assert (row["search_mean"], row["search_max"]) == (1 / 4, 1)
    assert (row["splits"], row["merges"], row["fit_ratio_mean"]) == (1, 0, 2.0)
    assert (row["reserve_calls"], row["release_calls"], row["moved_bytes"]) == (3, 0, 0)
    assert (row["status"], row["oom_event"], row["failed_allocs"], row["never_freed"]) == ("ok", None, 0, 3)


def test_fragmentation_at_the_peak_of_reserved() -> None:
    rows = [("alloc", i, 16) for i in range(5)] + [("free", 1), ("free", 3), ("alloc", 9, 32)]
    row = memtrace.measure(replay(from_events(rows), "best-fit"))
    assert row["peak_reserved_bytes"] == 112
    assert row["external_frag_at_peak"] == 0.5
    assert row["squares_frag_at_peak"] == pytest.approx(1 - math.sqrt(2 * 16**2) / 32)
    assert (row["unusable_median_at_peak"], row["unusable_p99_at_peak"]) == (0.0, 1.0)


def test_a_huge_hole_is_squared_exactly() -> None:
    size = 3 << 58
    rows = [("alloc", 1, size >> 1), ("alloc", 2, 16), ("free", 1)]
    row = memtrace.measure(replay(from_events(rows), "first-fit"))
    assert row["squares_frag_mean"] == 0.0


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.integers(2, 60))
def test_sampled_means_are_means_of_the_samples(seed: int, samples: int) -> None:
    trace = random_trace(seed, 150)
    every = replay(trace, "worst-fit", samples=1 << 62)
    row = memtrace.measure(replay(trace, "worst-fit", samples=samples))
    chosen = every.recorder.samples[even_events(150, samples)]
    at = {name: chosen[:, i].astype(float) for i, name in enumerate(ROW)}
    external = [1 - largest / free if free else 0 for largest, free in zip(at["largest"], at["free"], strict=True)]
    internal = [1 - live / used if used else 0 for live, used in zip(at["live"], at["allocated"], strict=True)]
    assert row["external_frag_mean"] == pytest.approx(sum(external) / len(external))
    assert row["external_frag_max"] == pytest.approx(max(external))
    assert row["internal_frag_mean"] == pytest.approx(sum(internal) / len(internal))
    whole = memtrace.measure(every)
    for name in ("jw1", "jw2", "jw3", "jw4", "holes_mean", "search_mean", "peak_reserved_event", "squares_frag_at_peak"):
        assert row[name] == whole[name], "these do not depend on the samples"


def test_samples_are_spread_over_all_events() -> None:
    assert even_events(10, 4).tolist() == [0, 3, 6, 9]
    assert even_events(3, 10).tolist() == [0, 1, 2]
    assert even_events(10, 1).tolist() == [0]
    assert even_events(0, 5).tolist() == []


def test_every_metric_is_declared_whole() -> None:
    names = [metric.name for metric in declared()]
    assert len(set(names)) == len(names) == 50
    for metric in declared():
        assert metric.formula and metric.source and metric.direction in ("lower", "higher", "")
