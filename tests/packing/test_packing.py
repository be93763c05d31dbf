"""Packing with the future known: sound by brute force, at the bound where that can be had, and followed to the byte."""

from __future__ import annotations

import json
import random
from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import ROOT, Run
from strategies import random_events

from memtrace.cli.bound import ONLINE
from memtrace.engine.replay import replay
from memtrace.errors import UsageError
from memtrace.packing import heuristics
from memtrace.packing.buffers import Buffers, buffers_of, count_pairs, overlaps, spans
from memtrace.packing.packing import STEPS_OF_ONE, packings
from memtrace.trace import from_events
from memtrace.validation.placements import validate

MINIMALLOC = ROOT.parent / "shared" / "data" / "public" / "minimalloc"


@pytest.fixture(autouse=True)
def few_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("memtrace.packing.packing.STEPS_OF_ONE", 5_000_000)


def some(seed: int, count: int = 40, most_align: int = 64) -> Buffers:
    chance = random.Random(seed)
    lower = [chance.randrange(60) for _ in range(count)]
    upper = [begin + chance.randrange(1, 30) for begin in lower]
    size = [16 * chance.randrange(1, 40) for _ in range(count)]
    align = [chance.choice([16, most_align]) for _ in range(count)]
    columns = [np.array(column, np.int64) for column in (lower, upper, size, align)]
    return Buffers(*columns, np.full(count, -1, np.int64))


def meet(buffers: Buffers, i: int, j: int) -> bool:
    return bool(buffers.lower[i] < buffers.upper[j] and buffers.lower[j] < buffers.upper[i])


def offences(buffers: Buffers, addresses: Any) -> list[tuple[int, int]]:
    ends = addresses + buffers.size
    pairs = [(i, j) for i in range(len(buffers)) for j in range(i) if meet(buffers, i, j)]
    found = [(i, j) for i, j in pairs if addresses[i] < ends[j] and addresses[j] < ends[i]]
    return found + [(i, i) for i in range(len(buffers)) if addresses[i] < 0 or addresses[i] % buffers.align[i]]


@pytest.mark.parametrize("seed", range(12))
def test_packings_are_sound_and_annealing_is_never_higher(seed: int) -> None:
    buffers = some(seed)
    found = list(packings(buffers))
    assert [packing.method for packing in found] == ["greedy by size", "greedy by lifetime", "greedy by area", "annealing"]
    for packing in found:
        assert offences(buffers, packing.addresses) == []
        assert packing.height == (packing.addresses + buffers.size).max() >= buffers.bound
    assert found[-1].height <= min(packing.height for packing in found[:-1])


@pytest.mark.parametrize("seed", range(20))
def test_annealing_finds_the_best_of_all_orders(seed: int) -> None:
    """Of seven buffers every order of stacking can be tried; one of them is optimal."""
    buffers = some(seed, 7, 16)
    best = min(stacked(buffers, order) for order in permutations(range(7)))
    assert list(packings(buffers))[-1].height == best


def stacked(buffers: Buffers, order: tuple[int, ...]) -> int:
    ends: dict[int, int] = {}
    for i in order:
        ends[i] = max((end for j, end in ends.items() if meet(buffers, i, j)), default=0) + int(buffers.size[i])
    return max(ends.values())


@pytest.mark.parametrize("seed", range(12))
def test_stacking_by_sections_is_stacking_on_neighbours(seed: int) -> None:
    buffers, at = some(seed), np.zeros(40, np.int64)
    begin, end, count = spans(buffers)
    problem = heuristics.Problem(
        begin=begin,
        end=end,
        first=buffers.lower,
        others=buffers.lower,
        size=buffers.size,
        align=buffers.align,
        bound=buffers.bound,
    )
    order = np.random.default_rng(seed).permutation(40)
    height, _ = heuristics._stack(order, problem, np.inf, 1.0, at, np.zeros(count, np.int64))
    ends: dict[int, int] = {}
    for i in order.tolist():
        ground = max((end for j, end in ends.items() if meet(buffers, i, j)), default=0)
        assert at[i] == -(-ground // int(buffers.align[i])) * int(buffers.align[i])
        ends[i] = int(at[i] + buffers.size[i])
    assert height == max(ends.values())
    above = sum(max(end - buffers.bound, 0) for end in ends.values()) / 40
    assert heuristics._stack(order, problem, height + above, 1e-9, at, np.zeros(count, np.int64)) == (height, 0)
    assert heuristics._stack(order, problem, height + above - 1, 1e-9, at, np.zeros(count, np.int64))[0] == -1


def test_pairs_and_neighbours_by_brute_force() -> None:
    for seed in range(10):
        buffers = some(seed)
        pairs = {(i, j) for i in range(40) for j in range(40) if i != j and meet(buffers, i, j)}
        first, others = overlaps(buffers.lower, buffers.upper)
        assert {(i, int(j)) for i in range(40) for j in others[first[i] : first[i + 1]]} == pairs
        assert count_pairs(buffers.lower, buffers.upper) == len(pairs) // 2


def test_bound_is_the_peak_of_what_lives() -> None:
    buffers = some(3)
    living = [sum(int(buffers.size[i]) for i in range(40) if buffers.lower[i] <= t < buffers.upper[i]) for t in range(100)]
    assert buffers.bound == max(living)


def test_greedy_fills_the_lowest_gap() -> None:
    column = lambda *values: np.array(values, np.int64)  # noqa: E731
    buffers = Buffers(
        column(0, 0, 5, 5), column(9, 5, 9, 9), column(64, 32, 32, 16), column(16, 16, 16, 16), column(-1, -1, -1, -1)
    )
    neighbours = overlaps(buffers.lower, buffers.upper)
    assert heuristics.place(np.array([1, 0, 2, 3]), buffers, neighbours).tolist() == [32, 0, 0, 96]


def test_buffers_of_reallocs_and_blocks_that_stay() -> None:
    events = [("alloc", 1, 100), ("alloc", 2, 0), ("realloc", 1, 200), ("free", 1), ("alloc", 1, 5)]
    buffers = buffers_of(from_events(events))
    assert buffers.lower.tolist() == [0, 1, 2, 4]
    assert buffers.upper.tolist() == [3, 5, 3, 5]
    assert buffers.size.tolist() == [112, 16, 208, 16]
    assert buffers.follows.tolist() == [2, -1, -1, -1]


@pytest.mark.parametrize("seed", range(25))
def test_the_policy_follows_the_best_plan(seed: int) -> None:
    events = random_events(seed, 200, aligned_percent=15, max_live=30)
    trace = from_events([{k: v for k, v in event._asdict().items() if v is not None} for event in events])
    placement = replay(trace, "optimum", keep=True)
    assert validate(placement) is None
    buffers = buffers_of(trace)
    known = [packing.height for packing in packings(buffers)]
    online = [replay(trace, policy).peak_reserved_bytes for policy in ("first-fit", "best-fit")]
    assert placement.peak_reserved_bytes <= min(known + online)


@pytest.mark.parametrize("seed", range(25))
def test_with_too_little_memory_the_rest_of_the_plan_still_holds(seed: int) -> None:
    events = random_events(seed, 200, aligned_percent=0, max_live=30)
    trace = from_events([{k: v for k, v in event._asdict().items() if v is not None} for event in events])
    capacity = replay(trace, "optimum").peak_reserved_bytes * 2 // 3
    compiled = replay(trace, "optimum", capacity, on_oom="skip", keep=True, interpret=False)
    assert validate(compiled) is None
    assert compiled.peak_reserved_bytes <= capacity
    interpreted = replay(trace, "optimum", capacity, on_oom="skip", keep=True, interpret=True)
    assert np.array_equal(compiled.addresses, interpreted.addresses)


def test_swaps_need_no_scratch_block() -> None:
    trace = from_events([("alloc", 1, 8), ("alloc", 2, 8), {"op": "swap", "id": 1, "dst": 2}])
    assert replay(trace, "optimum").peak_reserved_bytes == 32
    with pytest.raises(UsageError, match="swap=scratch is none of inplace"):
        replay(trace, "optimum:swap=scratch")


def test_where_too_many_blocks_live_at_once_policies_place_them(
    memtrace: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The answer is that of policy `optimum`, which follows the lowest of the same placements."""
    lines = [f"alloc,{i},{100 + 37 * i % 500}\n" + (f"free,{i - 3},\n" if i % 2 and i > 3 else "") for i in range(60)]
    (tmp_path / "t.csv").write_text("op,id,size\n" + "".join(lines))
    monkeypatch.setattr("memtrace.packing.packing.MOST_PAIRS", 10)
    done = memtrace("bound", "t.csv", "--json", "-o", "p.csv")
    assert done.returncode == 0, done.stderr
    rows = {row["method"]: row["height_bytes"] for row in json.loads(done.stdout)["packings"]}
    assert set(rows) == {"first-fit", "best-fit"}
    shown = memtrace("bound", "t.csv")
    assert "too many blocks live at once to be packed" in shown.stderr and "best-fit" in shown.stdout
    followed = json.loads(memtrace("run", "t.csv", "-p", "optimum", "--json", "--no-report", "-o", "out").stdout)["results"][0]
    least = min(rows.values())
    assert followed["peak_reserved_bytes"] == least
    monkeypatch.setattr("memtrace.packing.search.MOST_BUFFERS", 10)
    fits = [
        json.loads(memtrace("bound", "t.csv", "--capacity", str(size), "--json").stdout)["fits"] for size in (least, least - 1)
    ]
    assert fits == [True, None]
    assert f"needs {least:,} B" in memtrace("bound", "t.csv", "--capacity", str(least - 1)).stdout
    (tmp_path / "none.csv").write_text("op,id,size\nfree,,\n")
    assert "asks for no block" in memtrace("bound", "none.csv").stderr


def test_where_no_packing_is_at_the_bound_policies_place_the_blocks_too(memtrace: Run, tmp_path: Path) -> None:
    """Blocks that grow in place need no room for a copy, which packings give them; so `bound` and `optimum` agree."""
    lines = "".join(f"alloc,{i},64\nrealloc,{i},{64 + 32 * i}\n" for i in range(1, 9))
    (tmp_path / "t.csv").write_text("op,id,size\n" + lines)
    rows = json.loads(memtrace("bound", "t.csv", "--json").stdout)["packings"]
    followed = json.loads(memtrace("run", "t.csv", "-p", "optimum", "--json", "--no-report", "-o", "out").stdout)["results"][0]
    lowest = min(row["height_bytes"] for row in rows)
    assert followed["peak_reserved_bytes"] == lowest < min(row["height_bytes"] for row in rows if row["method"] not in ONLINE)


def test_bound_command(memtrace: Run, tmp_path: Path) -> None:
    done = memtrace("bound", ROOT / "traces" / "gpt2-small-amp-tight.parquet", "-o", tmp_path / "packing.csv", "--json")
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    best = min(row["height_bytes"] for row in document["packings"])
    rows = (tmp_path / "packing.csv").read_text().splitlines()
    assert rows[0] == "id,lower,upper,size,offset"
    assert max(int(row.split(",")[3]) + int(row.split(",")[4]) for row in rows[1:]) == best == document["lower_bound_bytes"]
    assert memtrace("bound", ROOT / "traces" / "gpt-6x512-fp32.csv", "--align", "3").returncode == 2


def test_whether_a_trace_fits(memtrace: Run, tmp_path: Path) -> None:
    trace = tmp_path / "t.csv"
    # 3 and 2 live at first, then 2 and 4 of which 2 stays: 6 is the least
    trace.write_text("op,id,size\nalloc,1,48\nalloc,2,32\nfree,1,\nalloc,3,64\nfree,2,\nfree,3,\n")
    done = memtrace("bound", trace, "--capacity", "96", "-o", tmp_path / "p.csv")
    assert done.returncode == 0 and "search packs 3 blocks in 96 B" in done.stdout
    rows = [[int(field) for field in line.split(",")] for line in (tmp_path / "p.csv").read_text().splitlines()[1:]]
    assert max(size + offset for _, _, _, size, offset in rows) == 96
    done = memtrace("bound", trace, "--capacity", "95", "--json")
    found = json.loads(done.stdout)
    assert done.returncode == 1 and found["fits"] is False and found["lower_bound_bytes"] == 96


@pytest.mark.skipif(not MINIMALLOC.is_dir(), reason="needs the MiniMalloc benchmarks")
def test_minimalloc_benchmarks_are_packed_within_fifteen_percent_in_the_mean(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("memtrace.packing.packing.STEPS_OF_ONE", STEPS_OF_ONE)
    ratios = []
    for path in sorted(MINIMALLOC.glob("*.1048576.csv")):
        table = np.loadtxt(path, delimiter=",", skiprows=1, dtype=np.int64)
        lower, upper, size = (np.ascontiguousarray(table[:, i]) for i in (1, 2, 3))
        buffers = Buffers(lower, upper, size, np.full(size.size, 1), np.full(size.size, -1))
        lowest = min(packings(buffers, effort=1), key=lambda packing: packing.height)
        ratios.append(lowest.height / buffers.bound)
    assert len(ratios) == 11 and np.mean(ratios) <= 1.15
