"""ort equals lists of chunks in bins, in every figure, and grows as ONNX Runtime's arena does at its limits."""

from __future__ import annotations

import random
from typing import Any

import pytest
from comparison import found, replayed
from oracle_bfc import MIB, Ort
from oracle_space import UNBOUNDED
from spaces import drive, unlike
from strategies import random_events

import memtrace
from memtrace.errors import UsageError
from memtrace.trace import from_events
from memtrace.validation.policies import check_policy


def options_from(dice: random.Random) -> dict[str, Any]:
    return {
        "first": dice.choice([MIB, 256, 1000, 100_000]),
        "max_extend": dice.choice([1 << 30, 3 * MIB, 700_160]),
        "extend": dice.choice(["doubling", "doubling", "exact"]),
        "growth": dice.choice([2 * MIB, 5120, 1_000_192]),
        "waste": dice.choice([128 * MIB, 1, 1000, 1 << 16]),
    }


def test_seeded_traces() -> None:
    for seed in range(20):
        dice = random.Random(seed)
        scale, options = dice.choice([1, 50, 3001]), options_from(dice)
        events = [
            event._replace(size=None if event.size is None else event.size * scale, align=None)
            for event in random_events(seed, 200, max_live=dice.choice([3, 20, 60]))
        ]
        capacity = dice.choice([None, 3000, 5 * MIB, 33 * MIB + 100])
        placement = replayed("ort", events, capacity, "skip", options, 1 << 20, interpret=True)
        outcome = drive(Ort(UNBOUNDED if capacity is None else capacity, **options), events, "skip")
        assert unlike(placement, outcome) == {}, seed


def test_compiled_equals_interpreted() -> None:
    events = [event._replace(size=event.size and 3001 * event.size) for event in random_events(5, 200)]
    for options in ({}, {"extend": "exact"}):
        compiled, interpreted = (replayed("ort", events, None, "skip", options, interpret=how) for how in (False, True))
        assert found(compiled) == found(interpreted)


def held(rows: list[tuple[Any, ...]], policy: str = "ort", capacity: int | None = None) -> list[int]:
    """The bytes held after each alloc."""
    placement = memtrace.replay(from_events(rows), policy, capacity, on_oom="skip", keep=True, interpret=True)
    assert placement.reserved is not None
    return [size for size, row in zip(placement.reserved.tolist(), rows, strict=True) if row[0] == "alloc"]


def test_regions_as_the_library_makes_them() -> None:
    # 700 KiB take all of the first MiB; with 4 bytes more a second region is needed.
    assert held([("alloc", 1, 700 << 10), ("alloc", 2, 4)]) == [MIB, 3 * MIB]
    # 3 MiB after a first region of 1 MiB: 4 MiB, again 4 MiB; then 8.
    rows = [("alloc", i, 3 * MIB) for i in range(3)]
    assert held(rows) == [4 * MIB, 8 * MIB, 16 * MIB]
    # a cap of 1 MiB, 6 MiB wanted: 8 MiB; the next has 8 MiB too, and then the cap holds again.
    rows = [("alloc", 1, 6_000_000), ("alloc", 2, 8_000_000), ("alloc", 3, 500_000), ("alloc", 4, 4_000_000)]
    assert held(rows, "ort:max_extend=1MiB") == [8 * MIB, 16 * MIB, 17 * MIB, 21 * MIB]
    assert held([("alloc", 1, 1000), ("alloc", 2, 2_000_000)], "ort:extend=exact") == [1024, 1024 + 2_000_128]
    # of 5,000,000 bytes 3 MiB are held: 4,000,000 are refused, and the last region has what is left.
    rows = [("alloc", 1, 1_000_000), ("alloc", 2, 2_000_000), ("alloc", 3, 4_000_000), ("alloc", 4, 100)]
    assert held(rows, "ort", 5_000_000) == [MIB, 3 * MIB, 3 * MIB, 4_999_936]


def test_a_shrink_keeps_the_first_region_and_begins_to_grow_anew() -> None:
    rows: list[tuple[Any, ...]] = [
        ("alloc", 1, 1_000_000),
        ("alloc", 2, 2_000_000),
        ("alloc", 3, 4_000_000),
        ("free", 1),
        ("free", 2),
    ]
    rows += [("free", 3), ("trim", None), ("alloc", 4, 1_500_000), ("alloc", 5, 3_000_000)]
    assert held(rows) == [MIB, 3 * MIB, 7 * MIB, 3 * MIB, 7 * MIB]
    assert held(rows, "ort:growth=1MiB,max_extend=1MiB") == [MIB, 3 * MIB, 7 * MIB, 3 * MIB, 7 * MIB]
    assert held(rows, "ort:extend=exact")[3:] == [1_500_160, 1_500_160 + 3_000_064]


def test_what_the_library_fails_at_is_refused() -> None:
    for policy in ("ort:growth=1000", "ort:max_extend=700000", "ort:waste=0", "ort:first=0"):
        with pytest.raises(UsageError, match=r"multiple of 256|below 1"):
            memtrace.replay(from_events([("alloc", 1, 1)]), policy, interpret=True)


def test_it_is_sound() -> None:
    report = check_policy("ort:extend=exact", traces=3, quick=True)
    assert report.ok, report.text()
