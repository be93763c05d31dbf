"""rmm-pool places and refuses as RMM's pool does, by placements of the library and by lists that are searched whole."""

from __future__ import annotations

import random
from typing import Any

import pytest
from oracle_pools import RmmPool, driven, replayed, requests, vector

import memtrace
from memtrace.errors import UsageError
from memtrace.trace import from_events
from memtrace.validation.policies import check_policy

MIB = 1 << 20


def sizes(dice: random.Random) -> int:
    return dice.choice([0, 1, 256, 300, 1000, dice.randrange(1, 5000), dice.randrange(1, 60_000), 100_000])


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("rmm-25.2-pool.s1.initial16384.csv", {"initial": 16384}),
        ("rmm-25.2-pool.s2.initial16384.csv", {"initial": 16384}),
        ("rmm-25.2-pool.s3.initial16384.csv", {"initial": 16384}),
        ("rmm-25.2-pool.m1.initial256KiB.csv", {"initial": 1 << 18}),
    ],
)
def test_placements_of_the_library(name: str, options: dict[str, Any]) -> None:
    asks, want = vector(name)
    have = replayed("rmm-pool", asks, None, options, None)
    placed = [(row[0], row[1]) for row, ask in zip(have, asks, strict=True) if ask.op == "alloc"]
    assert placed == want


def test_random_streams() -> None:
    for seed in range(25):
        dice = random.Random(seed)
        streams, maximum = dice.choice([1, 2, 5]), dice.choice([None, 1 << 18, 3 << 18, 777 * 256])
        device = dice.choice([None, 400_000, 1 << 21]) if maximum is None else None
        initial = dice.choice([0, 16384, 65536])
        asks = requests(seed, 250, sizes, streams)
        want = driven(RmmPool(initial, maximum, 1 << 62 if device is None else device), asks)
        if maximum is not None:
            want = [(row[0], min(row[1], maximum), *row[2:]) for row in want]
        options = {"frees": "told", "initial": initial, "maximum": "capacity" if maximum is not None else "none"}
        have = replayed("rmm-pool", asks, maximum if maximum is not None else device, options, True)
        assert have == want, seed


def test_compiled_equals_interpreted() -> None:
    asks = requests(7, 1500, sizes, 3, live=200)
    compiled, interpreted = (replayed("rmm-pool", asks, 3 << 20, {}, how) for how in (False, True))
    assert compiled == interpreted


def held_after(rows: list[tuple[Any, ...]], policy: str, capacity: int | None) -> list[int]:
    placement = memtrace.replay(from_events(rows), policy, capacity, on_oom="skip", keep=True, interpret=True)
    assert placement.reserved is not None
    return placement.reserved.tolist()


def test_ten_requests_of_a_million_bytes_and_a_maximum_of_8_mib() -> None:
    rows = [("alloc", i, 1_000_000) for i in range(10)]
    held = held_after(rows, "rmm-pool:initial=1MiB", 8 * MIB)
    assert sorted(set(held)) == [MIB, MIB + 3_670_016, MIB + 3_670_016 + 1_835_008, 8 * MIB - 834_816]


def test_a_pool_fails_where_one_contiguous_heap_does_not() -> None:
    eight = from_events([("alloc", i, 8 * MIB) for i in range(8)])
    one = from_events([("alloc", 1, 1024)])
    for trace, policy, capacity, failed in (
        (eight, "rmm-pool:initial=1000192", 64 * MIB, 3),
        (eight, "rmm-pool:initial=64MiB", 64 * MIB, 0),
        (eight, "best-fit", 64 * MIB, 0),
        (one, "rmm-pool:initial=256", 1024, 1),
        (one, "rmm-pool", 1024, 0),
        (one, "best-fit", 1024, 0),
    ):
        placement = memtrace.replay(trace, policy, capacity, on_oom="skip", interpret=True)
        assert memtrace.measure(placement)["failed_allocs"] == failed, policy


def test_growth_is_halved_when_the_device_has_less() -> None:
    rows = [("alloc", 1, 4 * MIB), ("alloc", 2, MIB), ("alloc", 3, 3 * MIB), ("alloc", 4, 512)]
    # 4 of 7 are held: 4 more are tried, then 2; of the last MiB 6, 3, 1.5, 0.75 MiB.
    assert held_after(rows, "rmm-pool:maximum=none", 7 * MIB) == [4 * MIB, 6 * MIB, 6 * MIB, 6 * MIB]
    assert (
        held_after([*rows[:2], ("alloc", 3, MIB), ("alloc", 4, 512)], "rmm-pool:maximum=none", 7 * MIB)[-1]
        == 6 * MIB + 768 * 1024
    )


def test_frees_go_to_the_stream_that_they_name_or_to_that_of_the_alloc() -> None:
    rows = [
        {"op": "alloc", "id": 1, "size": 1000, "stream": 1},
        {"op": "alloc", "id": 2, "size": 1000, "stream": 1},
        {"op": "free", "id": 1, "stream": 2},
        {"op": "free", "id": 2, "stream": 1},
        {"op": "alloc", "id": 3, "size": 2000, "stream": 1},
    ]
    unnamed = [{key: value for key, value in row.items() if key != "stream" or row["op"] == "alloc"} for row in rows]
    assert memtrace.replay(from_events(unnamed[:4]), "rmm-pool:initial=2048", interpret=True).ledger[2] == 1
    for policy, holes in (("rmm-pool:initial=2048", 2), ("rmm-pool:initial=2048,frees=own", 1)):
        placement = memtrace.replay(from_events(rows[:4]), policy, interpret=True)
        assert placement.ledger[2] == holes
        placement = memtrace.replay(from_events(rows), policy, interpret=True, keep=True)
        assert placement.addresses is not None and placement.addresses.tolist()[-1] == 0


def test_what_cannot_be_is_refused() -> None:
    for policy, capacity, words in (
        ("rmm-pool:initial=50%", None, "--capacity"),
        ("rmm-pool:initial=150%", 1 << 20, "share"),
        ("rmm-pool:initial=much", None, "no size"),
        ("rmm-pool:initial=100", None, "multiples of 256"),
        ("rmm-pool:initial=2MiB", 1 << 20, "more than the pool may have"),
    ):
        with pytest.raises(UsageError, match=words):
            memtrace.replay(from_events([("alloc", 1, 1)]), policy, capacity, interpret=True)


def test_it_is_sound() -> None:
    for policy in ("rmm-pool", "rmm-pool:initial=50%,maximum=none,frees=own"):
        report = check_policy(policy, traces=3, quick=True)
        assert report.ok, report.text()
