"""BFC equals lists of chunks in bins, in every figure, and does what TensorFlow's sources say at their limits."""

from __future__ import annotations

import os
import random
from collections.abc import Sequence
from typing import Any

import pytest
from comparison import replayed
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from oracle import Event
from oracle_bfc import MIB, Bfc
from oracle_space import UNBOUNDED
from spaces import drive, twice_the_same, unlike
from strategies import event_lists, random_events

import memtrace
from memtrace.errors import UsageError
from memtrace.trace import from_events
from memtrace.validation.placements import validate
from memtrace.validation.policies import check_policy

SEEDS = int(os.environ.get("MEMTRACE_SEEDS", "60"))
OWN_SCALE_NOTE = (1, 50, 3001, 100_000, 3_000_000)
ROOM = (None, 0, 3000, 5 * MIB, 33 * MIB + 100, 300 * MIB, 1 << 33)
ALIGNMENTS = (None, 256, 4096, 1 << 20, 1 << 24)


def scaled(events: Sequence[Event], scale: int, dice: random.Random) -> list[Event]:
    """The same with sizes so many times as large, and now and then an alignment."""
    return [
        event._replace(
            size=None if event.size is None else event.size * scale,
            align=dice.choice(ALIGNMENTS) if event.op == "alloc" and dice.random() < 0.1 else None,
        )
        for event in events
    ]


def compare(events: list[Event], capacity: int | None, on_oom: str, options: dict[str, Any], batch_rows: int) -> None:
    placement = replayed("bfc", events, capacity, on_oom, options, batch_rows)
    known = {name: value for name, value in options.items() if name != "fragmentation_fraction"}
    fraction = float(options.get("fragmentation_fraction", "0"))
    outcome = drive(Bfc(UNBOUNDED if capacity is None else capacity, fraction=fraction, **known), events, on_oom)
    assert unlike(placement, outcome) == {}
    assert validate(placement) is None


def options_from(dice: random.Random, capacity: int | None) -> dict[str, Any]:
    options: dict[str, Any] = {"garbage_collection": dice.random() < 0.5}
    if capacity is not None:
        options["allow_growth"] = dice.random() < 0.7
        options["fragmentation_fraction"] = dice.choice(["0", "0.01", "0.1", "1"])
    return options


def test_seeded_traces() -> None:
    for seed in range(SEEDS):
        dice = random.Random(seed)
        capacity = dice.choice(ROOM)
        events = scaled(random_events(seed, 300, max_live=dice.choice([3, 20, 60])), dice.choice(OWN_SCALE_NOTE), dice)
        options = options_from(dice, capacity)
        compare(events, capacity, dice.choice(["stop", "skip", "skip"]), options, dice.choice([7, 1 << 20]))


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(event_lists(), st.sampled_from(OWN_SCALE_NOTE), st.none() | st.integers(0, 40 * MIB), st.booleans())
def test_searched_for_counterexamples(events: list[Event], scale: int, capacity: int | None, collects: bool) -> None:
    compare(scaled(events, scale, random.Random(scale)), capacity, "skip", {"garbage_collection": collects}, 5)


def test_compiled_equals_interpreted_and_pieces_the_whole() -> None:
    for seed in range(4):
        dice = random.Random(seed)
        events = scaled(random_events(seed, 120), 100_000, dice)
        options = {"garbage_collection": seed % 2 == 0}
        twice_the_same("bfc", (events, (None, 8 * MIB)[seed % 2], "skip", options))


def addresses_of(rows: list[tuple[Any, ...]], policy: str = "bfc", capacity: int | None = None) -> list[int]:
    placement = memtrace.replay(from_events(rows), policy, capacity, on_oom="skip", keep=True)
    assert placement.addresses is not None and validate(placement) is None
    return [address for address in placement.addresses.tolist() if address != -2]


def reserved_after(rows: list[tuple[Any, ...]], policy: str = "bfc", capacity: int | None = None) -> list[int]:
    placement = memtrace.replay(from_events(rows), policy, capacity, on_oom="skip", keep=True)
    assert placement.reserved is not None
    return [size // MIB for size in placement.reserved.tolist()]


def test_regions_double() -> None:
    rows = [("alloc", i, 2 * MIB) for i in range(1, 9)]
    assert reserved_after(rows) == [2, 6, 6, 14, 14, 14, 14, 30]
    # 16 MiB are less than twice 9, so the block has all of them.
    assert reserved_after([("alloc", 1, 9 * MIB), ("alloc", 2, 1), ("alloc", 3, 16 * MIB)]) == [16, 32, 64]
    assert reserved_after(rows, capacity=9 * MIB) == [2, 6, 6, 9, 9, 9, 9, 9]
    assert reserved_after(rows, "bfc:allow_growth=false", 9 * MIB) == [9] * 8


def test_a_chunk_is_cut_from_twice_the_size_on() -> None:
    hole = [("alloc", 1, 1024), ("alloc", 2, 256), ("free", 1)]
    assert addresses_of([*hole, ("alloc", 3, 512), ("alloc", 4, 512)]) == [0, 1024, 0, 512]
    assert addresses_of([*hole, ("alloc", 3, 513), ("alloc", 4, 256)]) == [0, 1024, 0, 1280]  # 3 has all 1,024


def test_or_from_128_mib_too_much_on() -> None:
    def last(size: int, then: int, policy: str = "bfc") -> int:
        rows = [("alloc", 1, 384 * MIB), ("alloc", 2, 256), ("free", 1), ("alloc", 3, size), ("alloc", 4, then)]
        return addresses_of(rows, policy, 512 * MIB)[3]

    assert last(256 * MIB, 128 * MIB) == 256 * MIB
    assert last(256 * MIB + 1, 128 * MIB) == -1  # 3 has all 384 MiB
    assert last(300 * MIB, 80 * MIB) == 384 * MIB + 256
    assert last(300 * MIB, 80 * MIB, "bfc:fragmentation_fraction=0.1") == 300 * MIB


def test_unused_regions_are_given_back_before_a_request_fails() -> None:
    rows = [("alloc", 1, 2 * MIB), ("alloc", 2, 4 * MIB), ("free", 1), ("free", 2), ("alloc", 3, 6 * MIB)]
    assert addresses_of(rows, "bfc", 7 * MIB) == [0, 2 * MIB, -1]
    collected = addresses_of(rows, "bfc:garbage_collection=true", 7 * MIB)
    assert collected == [0, 2 * MIB, 6 * MIB]
    kept = [*rows[:3], ("alloc", 3, 3 * MIB)]
    assert reserved_after(kept, "bfc:garbage_collection=true", 7 * MIB) == [2, 6, 6, 7]  # 2 given back, 3 had for them


def test_what_cannot_be_is_refused() -> None:
    for policy, words in (
        ("bfc:allow_growth=false", "--capacity"),
        ("bfc:fragmentation_fraction=0.5", "--capacity"),
        ("bfc:fragmentation_fraction=2", "from 0 to 1"),
        ("bfc:fragmentation_fraction=much", "no number"),
    ):
        with pytest.raises(UsageError, match=words):
            memtrace.replay(from_events([("alloc", 1, 1)]), policy)


def test_it_is_sound() -> None:
    report = check_policy("bfc:garbage_collection=true", traces=5)
    assert report.ok, report.text()
