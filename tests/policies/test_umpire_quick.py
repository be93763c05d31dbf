"""umpire-quick equals a list of free blocks, and gives back and coalesces as Umpire's QuickPool does."""

from __future__ import annotations

import random
from typing import Any

import pytest
from oracle_pools import QuickPool, driven, replayed, requests

import memtrace
from memtrace.errors import UsageError
from memtrace.trace import from_events
from memtrace.validation.policies import check_policy


def sizes(dice: random.Random) -> int:
    return dice.choice([0, 1, 16, 100, 1024, 1024, dice.randrange(1, 4096), dice.randrange(1, 60_000)])


def options_from(dice: random.Random) -> dict[str, Any]:
    return {
        "first": dice.choice([100_000, 4096, 1000]),
        "next": dice.choice([8192, 50_000, 1]),
        "align": dice.choice([16, 1, 256]),
        "coalesce": dice.choice(["hwm", "actual", "never"]),
        "blocks": dice.choice([0, 0, 2, 3]),
    }


def test_random_streams() -> None:
    for seed in range(30):
        dice = random.Random(seed)
        options, capacity = options_from(dice), dice.choice([None, 150_000, 600_000])
        asks = requests(seed, 250, sizes, live=dice.choice([2, 10, 40]))
        want = driven(QuickPool(1 << 62 if capacity is None else capacity, **options), asks)
        assert replayed("umpire-quick", asks, capacity, options, True) == want, seed


def test_compiled_equals_interpreted() -> None:
    asks = requests(7, 1000, sizes, live=30)
    options = {"first": 4096, "next": 8192, "blocks": 2}
    compiled, interpreted = (replayed("umpire-quick", asks, 1 << 20, options, how) for how in (False, True))
    assert compiled == interpreted


def held(rows: list[tuple[Any, ...]], policy: str) -> list[int]:
    placement = memtrace.replay(from_events(rows), policy, on_oom="skip", keep=True, interpret=True)
    assert placement.reserved is not None
    return placement.reserved.tolist()


def test_all_free_chunks_become_one_as_large_as_blocks_ever_were() -> None:
    rows: list[tuple[Any, ...]] = [("alloc", 1, 1000), ("alloc", 2, 3000), ("free", 2), ("free", 1)]
    assert held(rows, "umpire-quick:first=1024,next=1024") == [1040, 1040 + 3024, 1040 + 3024, 4016 + 16]
    assert held(rows, "umpire-quick:first=1024,next=1024,coalesce=actual")[-1] == 1024 + 3008 + 16
    assert held(rows, "umpire-quick:first=1024,next=1024,coalesce=never")[-1] == 1040 + 3024
    assert held([*rows, ("trim", None)], "umpire-quick:first=1024,next=1024,coalesce=never")[-1] == 0
    assert held(rows[:1], "umpire-quick") == [(512 << 20) + 16]


def test_what_cannot_be_is_refused() -> None:
    for policy in ("umpire-quick:align=24", "umpire-quick:blocks=1", "umpire-quick:first=2EiB"):
        with pytest.raises(UsageError, match=r"power of two|not modelled|not from 0 to"):
            memtrace.replay(from_events([("alloc", 1, 1)]), policy, interpret=True)


def test_it_is_sound() -> None:
    report = check_policy("umpire-quick:first=4096,next=4096", traces=3, quick=True)
    assert report.ok, report.text()
