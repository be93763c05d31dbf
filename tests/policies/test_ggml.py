"""ggml places as its tensor allocator does, by its own placements and by arrays that are searched whole."""

from __future__ import annotations

import random

import pytest
from oracle_pools import DATA, REGION, Ggml, driven, replayed, requests, vector

import memtrace
from memtrace.errors import UsageError
from memtrace.trace import from_events
from memtrace.validation.policies import check_policy


def sizes(dice: random.Random) -> int:
    return dice.choice([0, 1, 64, 500, 1000, dice.randrange(1, 1000), dice.randrange(1, 5000), 10_000])


@pytest.mark.parametrize(("name", "chunk"), [("small.align32", 0), ("small.align32.chunks2048", 2048)])
def test_placements_of_the_real_code(name: str, chunk: int) -> None:
    file = f"ggml-dyn_tallocr.{name}.csv"
    asks, want = vector(file)
    have = replayed("ggml", asks, None, {"chunk": chunk}, True)
    rows = [line.split(",") for line in (DATA / file).read_text().splitlines()]
    chunks = [int(row[3]) for row in rows if row[0] == "alloc"]
    placed = [row[0] for row, ask in zip(have, asks, strict=True) if ask.op == "alloc"]
    assert placed == [address + REGION * number for (address, _), number in zip(want, chunks, strict=True)]
    marks = [int(row[0].rpartition(" ")[2]) for row in rows if row[0].startswith("#")]
    assert have[-1][1] == sum(marks)


def test_random_streams() -> None:
    for seed in range(30):
        dice = random.Random(seed)
        align, chunk = dice.choice([32, 128, 1]), dice.choice([0, 2048, 10_000, 100_000])
        capacity = dice.choice([None, 30_000, 100_000])
        asks = requests(seed, 250, sizes, live=dice.choice([10, 60]))
        want = driven(Ggml(align, chunk, 1 << 62 if capacity is None else capacity), asks)
        assert replayed("ggml", asks, capacity, {"align": align, "chunk": chunk}, True) == want, seed


def test_compiled_equals_interpreted() -> None:
    asks = requests(7, 1500, sizes, live=300)
    compiled, interpreted = (replayed("ggml", asks, 1 << 20, {"chunk": 10_000}, how) for how in (False, True))
    assert compiled == interpreted


def test_of_equal_holes_the_highest_is_taken() -> None:
    rows = [("alloc", i, 1024) for i in range(7)] + [("free", i) for i in (0, 2, 4)] + [("alloc", 7, 1024)]
    placement = memtrace.replay(from_events(rows), "ggml", interpret=True, keep=True)
    assert placement.addresses is not None and placement.addresses.tolist()[-1] == 4096


def test_what_cannot_be_is_refused() -> None:
    for policy in ("ggml:align=48", "ggml:align=0", "ggml:chunk=2EiB"):
        with pytest.raises(UsageError, match=r"power of two|not from 0 to"):
            memtrace.replay(from_events([("alloc", 1, 1)]), policy, interpret=True)


def test_it_is_sound() -> None:
    for policy in ("ggml", "ggml:chunk=4096"):
        report = check_policy(policy, traces=3, quick=True)
        assert report.ok, report.text()
