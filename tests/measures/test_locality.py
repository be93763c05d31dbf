"""The caches and TLBs of `run --locality`: a twin of ordered dictionaries, an example by hand, and what holds of LRU."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracle_locality import Caches, locality
from oracle_locality import Level as SlowLevel
from strategies import random_events, to_csv

from memtrace.engine.registry import parse_policy
from memtrace.engine.replay import Hooks, replay
from memtrace.errors import InputError, UsageError
from memtrace.measures.locality import lookups
from memtrace.measures.locality.caches import PRESETS, UNLIMITED, Level, Model, parse_model
from memtrace.measures.locality.counting import Locality, Watcher, new_levels
from memtrace.reading import read
from memtrace.trace import Trace, from_events

TINY = "skylake:caches=1KiB/2+4KiB/4,line=32,tlb4k=2/1+4/full,tlb2m=1/1"
POLICIES = (
    "best-fit",
    "first-fit:realloc=move",
    "compact:threshold=10",
    "paged:page=64",
    "arenas:policy=best-fit,count=2,page=256",
    "buddy:zero=null",
)


def watched(trace: Trace, policy: str, model: Model, **how: Any) -> Locality:
    watcher = Watcher(trace, parse_policy(policy), model)
    replay(trace, policy, hooks=Hooks(watch=watcher), interpret=True, **how)
    return watcher.found()


def slowly(trace: Trace, policy: str, model: Model, derived: bool, **how: Any) -> Caches:
    chains = [(line, [SlowLevel(level.sets, level.ways) for level in levels]) for _, line, levels in model.chains()]
    return locality(replay(trace, policy, keep=True, interpret=True, **how), Caches(chains), derived, model.reach)


def same(found: Locality, slow: Caches) -> None:
    assert [(level.lookups, level.misses) for level in found.levels] == slow.counts()
    assert (found.touches, found.touched_bytes) == (slow.touches, slow.touched_bytes)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("rule", ["touches=accesses", "touches=lifetimes", "touches=lifetimes,reach=100"])
def test_random_traces_as_the_twin(policy: str, rule: str, seed: int, tmp_path: Any) -> None:
    path = tmp_path / "random.csv"
    path.write_text(to_csv(random_events(seed, 400, max_size=6000, max_live=25)))
    trace, model = read(path), parse_model(f"{TINY},{rule}")
    same(watched(trace, policy, model, batch_rows=97), slowly(trace, policy, model, "lifetimes" in rule))


@pytest.mark.parametrize("capacity", [4000, 20000])
def test_failed_requests_touch_nothing(capacity: int, tmp_path: Any) -> None:
    path = tmp_path / "random.csv"
    path.write_text(to_csv(random_events(5, 400, max_size=3000, max_live=25)))
    trace, model = read(path), parse_model(f"{TINY},touches=lifetimes")
    for policy in ("best-fit", "compact", "paged:page=64"):
        for on_oom in ("stop", "skip"):
            how: dict[str, Any] = {"capacity": capacity, "on_oom": on_oom}
            same(watched(trace, policy, model, **how), slowly(trace, policy, model, True, **how))


def test_an_example_by_hand() -> None:
    """Two sets of two ways of 16 bytes. Blocks of one line each at 0, 16, 32, 48, 64: lines 0 to 4; even ones share a set.

    Allocs: 5 misses; set 0 holds 2 and 4 (0 went), set 1 holds 1 and 3. Accesses: 0 misses (2 goes), 4 hits, 2 misses (0
    goes), 1 and 3 hit. One page holds all: the TLB misses once. The next level has room for 5 lines and misses each once.
    """
    model = Model("hand", (Level(4, 2), Level(5, 5)), (Level(1, 1),), (), line=16)
    rows: list[Any] = [("alloc", i, 16) for i in range(5)]
    trace = from_events(rows + [("access", i) for i in (0, 4, 2, 1, 3)])
    forced = watched(trace, "bump", Model("hand", model.caches, model.tlb4k, (), 16, "lifetimes"))
    assert [(level.level, level.lookups, level.misses) for level in forced.levels] == [
        ("L1", 10, 7),
        ("L2", 7, 5),
        ("4 KiB TLB1", 10, 1),
    ]
    # Without the allocs: 0 4 2 1 3 all miss.
    assert [(level.lookups, level.misses) for level in watched(trace, "bump", model).levels] == [(5, 5), (5, 5), (5, 1)]


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_sweeps_as_line_by_line(data: st.DataObject) -> None:
    """Any sequence of ranges, many of them longer than a level holds, leaves counts and contents as single lines would."""
    shape = st.builds(lambda sets, ways: Level(sets * ways, ways), st.integers(1, 4), st.integers(1, 4))
    levels = tuple(data.draw(st.lists(shape, min_size=1, max_size=3)))
    ranges = data.draw(st.lists(st.tuples(st.integers(0, 40), st.integers(1, 60)), max_size=12))
    fast, slow = new_levels(Model("x", levels, (), (), 1)), new_levels(Model("x", levels, (), (), 1))
    for first, count in ranges:
        lookups.look_up_range(fast.levels, fast.lines, fast.counts, np.int64(0), np.int64(first), np.int64(first + count - 1))
        for line in range(first, first + count):
            lookups.look_up(slow.levels, slow.lines, slow.counts, np.int64(0), np.int64(line))
    assert (fast.counts == slow.counts).all() and (fast.lines == slow.lines).all()


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 30), max_size=200), st.integers(1, 5), st.integers(1, 6))
def test_more_ways_never_miss_more(lines: list[int], sets: int, ways: int) -> None:
    """LRU is a stack algorithm in each set (Mattson et al. 1970)."""
    misses = []
    for count in (ways, ways + 1):
        levels = new_levels(Model("x", (Level(sets * count, count),), (), (), 1))
        for line in lines:
            lookups.look_up(levels.levels, levels.lines, levels.counts, np.int64(0), np.int64(line))
        misses.append(levels.counts[0, lookups.MISSES])
    assert misses[1] <= misses[0] <= len(lines) and misses[1] >= len(set(lines))


def test_batches_do_not_matter() -> None:
    dice = random.Random(1)
    trace = from_events([("alloc", i, dice.randint(1, 9000)) for i in range(300)] + [("free", i) for i in range(0, 300, 2)])
    for policy in ("best-fit", "paged:page=512"):
        assert watched(trace, policy, PRESETS["skylake"]) == watched(trace, policy, PRESETS["skylake"], batch_rows=7)


def test_watching_changes_nothing() -> None:
    trace = from_events([("alloc", 1, 100), ("alloc", 2, 200), ("realloc", 1, 400), ("free", 2)])
    alone = replay(trace, "paged:page=64", keep=True, interpret=True)
    shown = replay(
        trace,
        "paged:page=64",
        keep=True,
        interpret=True,
        batch_rows=1,
        hooks=Hooks(watch=Watcher(trace, parse_policy("paged:page=64"), PRESETS["skylake"])),
    )
    assert alone.places is not None and shown.places is not None
    assert (alone.places == shown.places).all() and alone.peak_reserved_bytes == shown.peak_reserved_bytes


def test_accesses_that_are_not_there_are_refused() -> None:
    trace = from_events([("alloc", 1, 100)])
    with pytest.raises(InputError, match="has no access events; try: touches=lifetimes"):
        watched(trace, "best-fit", parse_model("skylake:touches=accesses"))
    assert watched(trace, "best-fit", parse_model("skylake")).derived


def test_models_are_read() -> None:
    model = parse_model("skylake:line=128,caches=32KiB/8+1MiB/full,tlb2m=none,reach=4KiB,touches=lifetimes")
    assert model.caches == (Level(256, 8), Level(8192, 8192)) and model.tlb2m == () and model.reach == 4096
    assert model.tlb4k == PRESETS["skylake"].tlb4k
    assert [level.sets for level in PRESETS["skylake-sp"].caches] == [64, 1024, 2048]
    assert PRESETS["skylake"].reach == UNLIMITED


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("skylak", "did you mean 'skylake'"),
        ("skylake:cache=32KiB/8", "did you mean 'caches'"),
        ("skylake:caches=32KiB", "is no level; write SIZE/WAYS"),
        ("skylake:caches=100/8", "whole sets"),
        ("skylake:tlb4k=10/3", "whole sets"),
        ("skylake:tlb4k=0/1", "whole sets"),
        ("skylake:line=48", "not a power of two"),
        ("skylake:touches=access", "did you mean 'accesses'"),
        ("skylake:reach=0", "1 byte at least"),
        ("skylake:caches=none,tlb4k=none,tlb2m=none", "no level is left"),
        ("skylake:caches=64GiB/8", "try a larger line="),
        ("skylake:line", "no key=value"),
    ],
)
def test_models_that_are_wrong(text: str, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        parse_model(text)
