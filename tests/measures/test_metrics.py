"""Measures worked out by hand, on one short trace, and against plain Python on random ones."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import memtrace
from memtrace.engine.recorder import ROW, even_events
from memtrace.engine.replay import replay
from memtrace.measures import declared
from memtrace.trace import Op, from_events
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


def test_a_heap_that_never_grows_is_looked_at_when_it_is_fullest() -> None:
    """Of a pool of 1,024 bytes that is there from the start, and of one that the first request reserves."""
    rows = [("alloc", 0, 16), *(("alloc", i, 100) for i in range(1, 8)), ("free", 2), ("free", 5), ("alloc", 9, 112)]
    for policy in ("best-fit:initial=1024", "best-fit:chunk=1024"):
        row = memtrace.measure(replay(from_events(rows), policy, interpret=True))
        assert (row["peak_reserved_event"], row["peak_allocated_event"]) == (0, 7)
        assert row["utilisation_at_peak"] == 716 / 1024 and row["internal_frag_at_peak"] == 1 - 716 / 800
        assert row["jw3"] == pytest.approx(1024 / 716 - 1) and row["external_frag_at_peak"] == 0
    grown = memtrace.measure(replay(from_events(rows), "best-fit:initial=512,chunk=512", interpret=True))
    assert grown["peak_reserved_event"] == 5 and grown["utilisation_at_peak"] == 516 / 1024, "it grew, so the first peak counts"


def test_only_pools_of_fixed_size_have_a_least_free_hole() -> None:
    rows = [("alloc", 0, 16), ("alloc", 1, 100), ("free", 0)]
    for policy, expected in (("best-fit:initial=1024", 896), ("best-fit:chunk=1024", None), ("best-fit:initial=64", None)):
        row = memtrace.measure(replay(from_events(rows), policy, interpret=True))
        assert row["least_free_bytes"] == row["least_largest_hole_bytes"] == expected, policy


HEAPS = ("tlsf:initial=65536", "buddy", "slab", "size-class", "compact", "half-fit:header=8")


@pytest.mark.parametrize("policy", HEAPS)
def test_ends_and_empty_pages_follow_from_the_placements(policy: str) -> None:
    """From the address of every request and move alone; reallocs and swaps are among the events."""
    for seed in range(3):
        trace = random_trace(seed, 120)
        found = replay(trace, policy, keep=True, interpret=True)
        assert found.addresses is not None and found.places is not None and found.reserved is not None
        where: dict[int, tuple[int, int]] = {}
        ends, moves = [0], {}
        for event, slot, address, size in found.places.tolist():
            moves.setdefault(event, []).append((slot, address, size))
        (events,) = trace.batches(1 << 20)
        for number, (op, slot, size, address) in enumerate(
            zip(events.op.tolist(), events.block.tolist(), events.size.tolist(), found.addresses.tolist(), strict=True)
        ):
            if op == Op.FREE:
                where.pop(slot, None)
            elif op in (Op.ALLOC, Op.REALLOC) and address >= 0:
                where[slot] = (address, size)
                ends.append(address + size)
            for moved, to, bytes in moves.get(number, ()):
                where[moved] = (to, bytes)
                ends.append(to + bytes)
        row = memtrace.measure(found)
        assert row["highest_end_bytes"] == max(ends), seed
        taken = {at // 4096 for address, size in where.values() for at in range(address, address + size)}
        assert row["empty_pages_4k_bytes"] == 4096 * len(set(range(row["reserved_end_bytes"] // 4096)) - taken), seed
        assert row["reserved_end_bytes"] == found.reserved[-1]
        assert row["live_end_bytes"] == sum(size for _, size in where.values())


def test_where_addresses_tell_nothing_there_is_no_highest_end() -> None:
    for policy in ("pytorch", "paged", "arenas"):
        row = memtrace.measure(replay(random_trace(1, 60), policy, interpret=True))
        assert row["highest_end_bytes"] is row["empty_pages_4k_bytes"] is row["empty_pages_2m_bytes"] is None, policy


@pytest.mark.parametrize("samples", [1, 2, 3, 7, 60, 1 << 62])
def test_means_by_the_clock_weigh_what_lies_between_samples_by_time(samples: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beside a walk over all events, each interpolated between its two samples."""
    monkeypatch.setattr("memtrace.measures.retention.MOST_TIMES", 9)
    times = [0]
    for number in range(59):
        times.append(times[-1] + (number * number) % 11 + (5000 if number == 40 else 0))
    rows = [{"op": "alloc", "id": i, "size": 50 + i, "time": time} for i, time in enumerate(times)]
    for i in range(3, 50, 3):
        rows[i] = {"op": "free", "id": i - 2, "time": times[i]}
    found = replay(from_events(rows), "best-fit:trim=true", samples=samples, interpret=True)
    at = found.recorder.sample_events[:-1].tolist()
    value = dict(zip(at, found.recorder.samples[:, ROW.index("reserved")].tolist(), strict=True))
    total = 0.0
    for low, high in pairwise(at):
        for event in range(low, high):
            here = value[low] + (value[high] - value[low]) * (event - low) / (high - low)
            total += here * (times[event + 1] - times[event])
    mean = memtrace.measure(found)["reserved_bytes_clock_mean"]
    assert mean == (pytest.approx(total / times[-1]) if len(at) > 1 else None)


def test_what_is_held_by_hand() -> None:
    """10 blocks of 100 KiB, all but the last freed from the top down, in a heap that trims; then one more."""
    rows = [("alloc", i, 102400) for i in range(10)] + [("free", i) for i in range(8, -1, -1)] + [("free", 9), ("alloc", 10, 16)]
    row = memtrace.measure(replay(from_events(rows), "best-fit:trim=true", interpret=True))
    assert (row["live_end_bytes"], row["reserved_end_bytes"], row["reserved_least_after_peak_bytes"]) == (16, 16, 0)
    kept = memtrace.measure(replay(from_events(rows), "best-fit", interpret=True))
    assert kept["reserved_end_bytes"] == kept["reserved_least_after_peak_bytes"] == 1024000
    assert kept["reserved_bytes_mean"] == (102400 * 55 + 1024000 * 11) / 21
    assert kept["unused_bytes_mean"] == pytest.approx(kept["reserved_bytes_mean"] - (102400 * (55 + 45) + 102400 * 0 + 16) / 21)
    assert kept["empty_pages_4k_bytes"] == 1024000 - 4096 and kept["empty_pages_2m_bytes"] == 0
    assert kept["reserved_bytes_clock_mean"] is None, "the trace has no clock"


def test_a_peak_that_no_event_reaches_has_no_state() -> None:
    """Of blocks of 0 bytes nothing is ever live; and a first request that fails leaves no state but that of the start."""
    empty = from_events([("alloc", 1, 0), ("free", 1)])
    row = memtrace.measure(memtrace.replay(empty, "first-fit", interpret=True))
    assert (row["reserved_least_after_peak_bytes"], row["least_free_bytes"]) == (16, None)
    row = memtrace.measure(memtrace.replay(empty, "best-fit:initial=65536", interpret=True))
    pool = [row[name] for name in ("reserved_least_after_peak_bytes", "least_free_bytes", "least_largest_hole_bytes")]
    assert pool == [65536, 65520, 65520]
    row = memtrace.measure(memtrace.replay(from_events([("alloc", 1, 200000)]), "first-fit:initial=65536", 65536, interpret=True))
    pool = [row[name] for name in ("reserved_least_after_peak_bytes", "least_free_bytes", "least_largest_hole_bytes")]
    assert pool == [65536, 65536, 65536] and row["status"] == "oom"


def test_requests_that_fragmentation_alone_keeps_out() -> None:
    """Four holes of 64 bytes between blocks: what asks for 65 to 256 bytes would fit the free bytes, but no hole."""
    blocks = [("alloc", i, 64) for i in range(8)] + [("free", i) for i in range(0, 8, 2)]
    for size, expected in ((64, 0.0), (65, 1.0), (256, 1.0), (257, 0.0)):
        found = replay(from_events([*blocks, ("alloc", 9, size)]), "best-fit:align=1,min_block=1", interpret=True)
        row = memtrace.measure(found)
        before = found.recorder.samples[11]  # the state before the last request
        assert before[ROW.index("largest")] == 64 and before[ROW.index("free")] == 256
        states = (
            1 + (size <= 192) + (size <= 128)
        )  # of the 12, those after a free with enough free bytes; the request follows all
        assert row["lost_to_fragmentation"] * 12 == pytest.approx(states * expected), size


def test_the_size_that_nearly_always_fits() -> None:
    """Of 200 samples of a pool, 1 % may have a smaller largest hole."""
    rows = [("alloc", 1, 64)] + [("alloc", i, 16) for i in range(2, 5)] + [("free", i) for i in range(2, 5)]
    rows += [row for i in range(10, 107) for row in (("alloc", i, 256), ("free", i))][:193]
    row = memtrace.measure(replay(from_events(rows), "best-fit:initial=512", interpret=True))
    assert row["servable_p99_bytes"] == 512 - 64 - 256 and row["least_largest_hole_bytes"] == 512 - 64 - 256


def test_samples_are_spread_over_all_events() -> None:
    assert even_events(10, 4).tolist() == [0, 3, 6, 9]
    assert even_events(3, 10).tolist() == [0, 1, 2]
    assert even_events(10, 1).tolist() == [0]
    assert even_events(0, 5).tolist() == []


def test_every_metric_is_declared_whole() -> None:
    names = [metric.name for metric in declared()]
    assert len(set(names)) == len(names) == 53
    for metric in declared():
        assert metric.formula and metric.source and metric.direction in ("lower", "higher", "")
