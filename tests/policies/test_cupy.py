"""cupy equals lists of free blocks by stream, and gives back and refuses as CuPy's pool does."""

from __future__ import annotations

import random
from typing import Any

import pytest
from oracle_pools import Cupy, driven, replayed, requests

import memtrace
from memtrace.trace import from_events
from memtrace.validation.policies import check_policy

TIES = ("lowest", "highest", "oldest", "newest")


def sizes(dice: random.Random) -> int:
    return dice.choice([0, 1, 512, 600, 1024, dice.randrange(1, 4096), dice.randrange(1, 60_000), 100_000])


@pytest.mark.parametrize("ties", TIES)
def test_random_streams(ties: str) -> None:
    for seed in range(8):
        dice = random.Random(seed)
        capacity = dice.choice([None, 300_000, 1 << 20])
        asks = requests(seed, 250, sizes, dice.choice([1, 3]), live=dice.choice([10, 40]))
        want = driven(Cupy(ties, 1 << 62 if capacity is None else capacity), asks)
        assert replayed("cupy", asks, capacity, {"ties": ties}, True) == want, seed


def test_compiled_equals_interpreted() -> None:
    asks = requests(7, 1500, sizes, 3, live=200)
    compiled, interpreted = (replayed("cupy", asks, 4 << 20, {"ties": "newest"}, how) for how in (False, True))
    assert compiled == interpreted


def placed(rows: list[tuple[Any, ...]], policy: str, capacity: int | None = None) -> tuple[list[int], list[int]]:
    """The addresses of the allocs, and the bytes held after each event."""
    placement = memtrace.replay(from_events(rows), policy, capacity, on_oom="skip", keep=True, interpret=True)
    assert placement.addresses is not None and placement.reserved is not None
    return [
        a for a, row in zip(placement.addresses.tolist(), rows, strict=True) if row[0] == "alloc"
    ], placement.reserved.tolist()


def test_which_of_equal_blocks_is_taken_is_a_choice() -> None:
    rows: list[tuple[Any, ...]] = [("alloc", i, 1000) for i in range(3)] + [("free", i) for i in (1, 2, 0)] + [("alloc", 9, 1000)]
    found = {ties: placed(rows, f"cupy:ties={ties}")[0][-1] // (2 << 20) for ties in TIES}
    assert found == {"lowest": 0, "highest": 2, "oldest": 1, "newest": 0}


def test_a_limit_gives_back_what_is_cached_before_it_refuses() -> None:
    rows: list[tuple[Any, ...]] = [("alloc", 1, 400_000), ("free", 1), ("alloc", 2, 500_000), ("alloc", 3, 200_000)]
    held = [400_384, 400_384, 500_224, 500_224]
    assert placed(rows, "cupy:limit=600000")[1] == held
    assert placed(rows, "cupy", 600_000)[1] == held
    rows.insert(3, ("trim", None))
    rows.insert(3, ("free", 2))
    assert placed(rows, "cupy")[1][-2:] == [0, 200_192]


def test_a_segment_of_which_a_part_lives_is_not_given_back() -> None:
    rows: list[tuple[Any, ...]] = [("alloc", 1, 400_000), ("free", 1), ("alloc", 2, 512), ("alloc", 3, 500_000)]
    assert placed(rows, "cupy", 600_000)[0] == [0, 0, -1]


def test_streams_never_share() -> None:
    rows = [{"op": "alloc", "id": 1, "size": 512, "stream": 1}, {"op": "free", "id": 1, "stream": 2}]
    rows += [{"op": "alloc", "id": 2, "size": 512, "stream": 2}, {"op": "alloc", "id": 3, "size": 512, "stream": 1}]
    placement = memtrace.replay(from_events(rows), "cupy", interpret=True, keep=True)
    assert placement.addresses is not None and placement.addresses.tolist() == [0, -2, 2 << 20, 0]


def test_it_is_sound() -> None:
    report = check_policy("cupy:ties=oldest", traces=3, quick=True)
    assert report.ok, report.text()
