"""The search for the smallest capacity against trying every one; and the command."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
from conftest import Run

from memtrace.cli.mincap import row_of, sampled
from memtrace.questions.mincap import Outcome, search, search_pools


def caching(program: list[tuple[str, int, int]], capacity: int | None) -> Outcome:
    """A caching allocator of whole segments: the smallest cached one that fits serves, all are given back when memory
    lacks. A request takes a cached segment however much larger it is, so success is not monotone."""
    limit = 1 << 30 if capacity is None else capacity
    live: dict[int, int] = {}
    cached: list[int] = []
    held = peak = 0
    for number, (op, name, size) in enumerate(program):
        if op == "free":
            cached.append(live.pop(name))
            continue
        fits = sorted(one for one in cached if one >= size)
        if fits:
            cached.remove(fits[0])
            live[name] = fits[0]
            continue
        if held + size > limit:
            held -= sum(cached)
            cached.clear()
        if held + size > limit:
            return Outcome(limit, False, peak, number)
        held += size
        peak = max(peak, held)
        live[name] = size
    return Outcome(limit if capacity is not None else peak, True, peak, None)


def program(seed: int) -> list[tuple[str, int, int]]:
    rng = random.Random(seed)
    events: list[tuple[str, int, int]] = []
    live: list[int] = []
    for name in range(rng.randrange(5, 60)):
        if live and rng.random() < 0.45:
            events.append(("free", live.pop(rng.randrange(len(live))), 0))
        events.append(("alloc", name, rng.choice((1, 2, 3, 5, 8, 13, 20))))
        live.append(name)
    return events


def peak_live(events: list[tuple[str, int, int]]) -> int:
    sizes: dict[int, int] = {}
    most = 0
    for op, name, size in events:
        if op == "alloc":
            sizes[name] = size
        else:
            del sizes[name]
        most = max(most, sum(sizes.values()))
    return most


def test_every_capacity_agrees_with_the_windows() -> None:
    odd = 0
    for seed in range(700):
        events = program(seed)
        found = search("toy", peak_live(events), lambda capacity, events=events: caching(events, capacity), most_runs=10_000)  # type: ignore[misc]
        assert found.exact and found.unbounded is not None
        works = {capacity: caching(events, capacity).works for capacity in range(found.unbounded + 5)}
        working = [capacity for capacity, good in works.items() if good]
        assert found.smallest == min(working), seed
        safe = next(c for c in range(found.unbounded + 4, -1, -1) if not works[c]) + 1 if not all(works.values()) else 0
        assert found.safe == safe, seed
        for window in found.windows:
            high = window.high if window.high is not None else found.unbounded + 4
            assert all(works[capacity] == window.works for capacity in range(window.low, high + 1)), (seed, window)
        odd += found.safe != found.smallest
    assert odd > 10  # the toy is not monotone, or this shows nothing


def test_few_replays_still_bracket_the_truth() -> None:
    for seed in range(60):
        events = program(seed)
        found = search("toy", peak_live(events), lambda capacity, events=events: caching(events, capacity), most_runs=60)  # type: ignore[misc]
        assert found.runs <= 60
        assert found.smallest is not None and found.safe is not None and found.smallest <= found.safe
        assert caching(events, found.smallest).works and caching(events, found.safe).works


def test_a_structure_that_depends_on_the_capacity_is_sampled() -> None:
    def buddy_like(capacity: int | None) -> Outcome:
        # Needs a power of two of at least 4096 within the capacity, and 100 bytes beside it.
        usable = 1 << 62 if capacity is None else capacity
        works = usable >= 4096 + 128
        return Outcome(capacity or 4100, works, 4100 if capacity is None else min(usable, 4200), None if works else 3)

    found = search("buddy-like", 3000, buddy_like)
    assert not found.exact and found.smallest is not None and 4096 + 128 <= found.smallest <= 4096 + 128 + 512


def pool(capacity: int | None, needed: int = 300_000, size: int = 1 << 20, grain: int = 1) -> Outcome:
    """A pool that reserves all of its capacity at once, in whole grains, and at most its size."""
    held = min(size, 1 << 62 if capacity is None else capacity) // grain * grain
    return Outcome(held if capacity is None else capacity, held >= needed, held, None if held >= needed else 7)


@pytest.mark.parametrize("grain", [1, 16, 100])
@pytest.mark.parametrize("runs", [8, 12, 30, 60, 400])
def test_a_pool_of_fixed_size_is_bisected_within_the_runs(runs: int, grain: int) -> None:
    """Walked down from its size, it would take a replay for each grain."""
    calls = []

    def run(capacity: int | None) -> Outcome:
        calls.append(capacity)
        return pool(capacity, grain=grain)

    found = search("pool", 250_000, run, runs)
    assert found.runs == len(calls) <= min(runs, 90)
    assert found.smallest is not None and found.smallest == found.safe
    assert found.smallest - found.within < 300_000 <= found.smallest
    assert found.within <= (61 if runs >= 60 else 2_000 if runs >= 30 else 250_000)
    assert pool(found.smallest, grain=grain).works and not pool(found.smallest - found.within, grain=grain).works


def test_success_that_is_not_monotone_is_said() -> None:
    """A pool that fails at the capacities of one range too, which the samples show."""

    def run(capacity: int | None) -> Outcome:
        came = pool(capacity)
        bad = capacity is not None and 500_000 <= capacity < 600_000
        return Outcome(came.capacity, False, came.peak, 9) if bad else came

    found = search("pool", 250_000, run)
    assert found.smallest is not None and 0 <= found.smallest - 300_000 < 61
    assert found.safe is not None and 0 <= found.safe - 600_000 < 61
    told = sampled(found).splitlines()
    assert (
        told[0]
        == f"pool: sampled below 1,048,568 bytes: {found.tried} tried; {found.smallest - found.within:,} is the next that fails"
    )
    assert told[1].startswith("pool: not monotone: 5") and told[1].endswith(" bytes fail too, though fewer work")


def test_pools_that_are_taken_whole_are_tried_one_by_one() -> None:
    """Pools of some sizes fail, above ones that work: every multiple of 8 is compared, as far as the replays go."""

    def takes_pool(capacity: int | None) -> Outcome:
        assert capacity is not None and capacity % 8 == 0
        works = capacity >= 4160 and capacity % 1024 >= 64
        return Outcome(capacity, works, capacity, None if works else 5)

    works = {pool: takes_pool(pool).works for pool in range(3000, 5208, 8)}
    found = search_pools("whole", 3000, takes_pool)
    assert found.exact and found.smallest == min(pool for pool, good in works.items() if good) == 4160
    assert found.safe == max(pool for pool, good in works.items() if not good) + 8 == 5184
    assert found.runs <= 400 and len(found.windows) == found.runs
    few = search_pools("whole", 3000, takes_pool, most_runs=40)
    assert not few.exact and few.smallest == 4160 and few.safe is not None and few.safe >= 4160
    assert search_pools("broken", 10, lambda capacity: Outcome(capacity or 0, False, 0, 7)).smallest is None


def test_what_fails_without_a_limit() -> None:
    found = search("broken", 10, lambda capacity: Outcome(capacity or 0, False, 0, 7))
    assert found.unbounded is None and found.smallest is None and found.safe is None


def test_first_fit_needs_what_it_reserves_without_a_limit(memtrace: Run, tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("op,id,size\nalloc,1,100\nalloc,2,60\nfree,1,\nalloc,3,48\nalloc,4,80\n")
    done = memtrace("mincap", "t.csv", "-p", "first-fit", "--curve", "3", "--json")
    assert done.returncode == 0, done.stderr
    row = json.loads(done.stdout)["rows"][0]
    assert row["smallest_bytes"] == row["safe_bytes"] == row["unbounded_peak_reserved_bytes"] == 112 + 64 + 80
    assert row["exact"] and [point["works"] for point in row["curve"]] == [False, False, True]
    fails = memtrace("run", "t.csv", "-p", "first-fit", "--capacity", str(row["smallest_bytes"] - 1), "--no-report", "--json")
    assert json.loads(fails.stdout)["results"][0]["status"] == "oom"


def test_what_is_to_spare_and_what_is_refused_first(memtrace: Run, tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("op,id,size\nalloc,1,100\nalloc,2,60\nfree,1,\nalloc,3,48\nalloc,4,80\n")
    asked = ("mincap", "t.csv", "-p", "freertos", "-p", "newlib-nano")
    done = memtrace(*asked, "--capacity", "1KiB")
    assert done.returncode == 0, done.stderr
    # Blocks of 112, 72, 56 and 88 bytes, of which the third takes the first's place: 112 + 72 + 88 and the end marker.
    row = next(line.split() for line in done.stdout.splitlines() if line.startswith("freertos "))
    assert (row[1], row[2], row[-1]) == ("280", "280", "744")
    assert (
        "freertos: with 272 bytes, event 4 is refused, a request of 80 bytes (88 with what the heap adds); 136 are free"
        in done.stdout
    )
    rows = {row["policy"]: row for row in json.loads(memtrace(*asked, "--capacity", "256", "--json").stdout)["rows"]}
    assert rows["freertos"]["spare_bytes"] == 256 - 280 and rows["freertos"]["first_refusal"]["capacity"] == 256
    assert rows["newlib-nano"]["smallest_bytes"] == 108 + 68 + 88 and rows["newlib-nano"]["first_refusal"]["event"] == 4


@pytest.mark.parametrize("arguments", [["--curve", "1"], ["-p", "nothing"], ["--runs", "2"]])
def test_wrong_use(arguments: list[str], memtrace: Run, tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("op,id,size\nalloc,1,100\n")
    assert memtrace("mincap", "t.csv", *arguments).returncode == 2


def test_a_request_larger_than_the_pool_has_no_rounded_size(memtrace: Run, tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("op,id,size\nalloc,1,2000\n")
    done = memtrace("mincap", "t.csv", "-p", "zephyr", "-p", "freertos", "--capacity", "1KiB")
    assert done.returncode == 0 and "zephyr: with 1,024 bytes, event 0 is refused, a request of 2,000 bytes" in done.stdout
    few = json.loads(memtrace("mincap", "t.csv", "-p", "zephyr", "--runs", "20", "--json").stdout)["rows"][0]
    assert few["apart_bytes"] > 8 and few["apart_bytes"] % 8 == 0
    tiny = memtrace("mincap", "t.csv", "-p", "zephyr", "--capacity", "1")
    assert tiny.returncode == 0 and " fails" in tiny.stdout


def test_larger_pools_that_were_left_out_are_said() -> None:
    """One multiple of 8 in eight fails above what works, so a search with few replays may miss one."""

    def takes_pool(capacity: int | None) -> Outcome:
        assert capacity is not None
        works = capacity >= 8000 and capacity % 64 != 8
        return Outcome(capacity, works, capacity, None if works else 5)

    few = search_pools("whole", 7000, takes_pool, most_runs=40)
    assert few.stride > 1 and row_of(few)[2].startswith("~")
    all_of_them = search_pools("whole", 7000, takes_pool, most_runs=2000)
    assert all_of_them.stride == 1 and row_of(all_of_them)[2] == "10,000"
