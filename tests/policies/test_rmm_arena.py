"""rmm-arena places and refuses as RMM's arena does, by placements of the library and by superblocks that are searched whole."""

from __future__ import annotations

import random

import pytest
from oracle_pools import driven, replayed, requests, vector
from oracle_rmm_arena import RmmArena

import memtrace
from memtrace.errors import UsageError
from memtrace.trace import from_events
from memtrace.validation.policies import check_policy

MIB = 1 << 20


def sizes(dice: random.Random) -> int:
    return dice.choice(
        [0, 1, 300, 100_000, dice.randrange(1, 300_000), dice.randrange(1, MIB), MIB, MIB + 1, dice.randrange(MIB, 5 * MIB)]
    )


def test_placements_of_the_library() -> None:
    asks, want = vector("rmm-25.2-arena.a1.64MiB.csv")
    have = replayed("rmm-arena", asks, 64 * MIB, {}, True)
    assert [row[0] for row, ask in zip(have, asks, strict=True) if ask.op == "alloc"] == [address for address, _ in want]


def test_random_streams() -> None:
    for seed in range(25):
        dice = random.Random(seed)
        capacity = dice.choice([None, 4 * MIB, 20 * MIB, 64 * MIB + 12345])
        asks = requests(seed, 250, sizes, dice.choice([1, 3]), live=dice.choice([10, 40]))
        want = driven(RmmArena(capacity), asks)
        assert replayed("rmm-arena", asks, capacity, {}, True) == want, seed


def test_compiled_equals_interpreted() -> None:
    asks = requests(7, 1500, sizes, 3, live=40)
    compiled, interpreted = (replayed("rmm-arena", asks, 40 * MIB, {}, how) for how in (False, True))
    assert compiled == interpreted


def test_a_full_arena_takes_what_streams_hold_and_fails_when_that_is_not_enough() -> None:
    rows = [{"op": "alloc", "id": stream, "size": 1000, "stream": stream} for stream in range(4)]
    rows += [{"op": "free", "id": 0, "stream": 0}, {"op": "alloc", "id": 5, "size": MIB, "stream": 5}]
    rows += [{"op": "alloc", "id": 6, "size": 1000, "stream": 6}, {"op": "alloc", "id": 7, "size": 2 * MIB, "stream": 6}]
    placement = memtrace.replay(from_events(rows), "rmm-arena", 4 * MIB, on_oom="skip", interpret=True, keep=True)
    assert placement.addresses is not None
    # Stream 6 takes the superblock in which the block of stream 1 lives.
    assert placement.addresses.tolist() == [0, MIB, 2 * MIB, 3 * MIB, -2, 0, MIB + 1024, -1]


def test_the_size_of_the_region() -> None:
    def reserved(policy: str, capacity: int | None) -> int:
        placement = memtrace.replay(from_events([("alloc", 1, 100)]), policy, capacity, on_oom="skip", interpret=True)
        return int(placement.ledger[0])

    assert reserved("rmm-arena", None) == MIB
    assert reserved("rmm-arena:size=50%", 64 * MIB) == 32 * MIB
    assert reserved("rmm-arena:size=3MiB", None) == 3 * MIB
    assert reserved("rmm-arena", 5 * MIB + 100) == 5 * MIB
    assert reserved("rmm-arena", MIB - 1) == 0
    for policy in ("rmm-arena:size=2MiB", "rmm-arena:size=200%", "rmm-arena:size=much"):
        with pytest.raises(UsageError, match=r"more than|share|no size"):
            reserved(policy, MIB)


def test_it_is_sound() -> None:
    report = check_policy("rmm-arena", traces=3, quick=True)
    assert report.ok, report.text()
