"""Replays over tiers: against a twin of lists and dicts, against textbooks, and against plain replays."""

from __future__ import annotations

import json
import os
import random
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from comparison import spec
from conftest import ROOT, Run
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from oracle import Event
from oracle_tiers import Tiers, simulate_tiers
from strategies import event_lists, random_events

from memtrace.engine.recorder import ROW
from memtrace.errors import MemtraceError, UsageError
from memtrace.replaying import replay
from memtrace.tiers.compression import measured
from memtrace.tiers.description import described
from memtrace.tiers.eviction import RULES
from memtrace.tiers.model import Compression, Plan, Tier
from memtrace.tiers.presets import PRESETS
from memtrace.tiers.replaying import TierReplay, replay_tiers
from memtrace.tiers.training import derive
from memtrace.trace import Trace, from_events

BELOW = ({"bandwidth": 5e7, "latency": 300}, {"bandwidth": 7e6, "latency": 9000})
TAGS = ("weight", "activation", None)


def trace_of(events: list[Event]) -> Trace:
    return from_events([{k: v for k, v in event._asdict().items() if v is not None} for event in events])


def tiers_of(described: list[dict[str, Any]], policy: str) -> list[Tier]:
    return [
        Tier(f"t{k}", t["capacity"], t["bandwidth"], t["latency"], policy, compression_of(t)) for k, t in enumerate(described)
    ]


def compression_of(described: dict[str, Any]) -> Compression | None:
    if described.get("ratios") is None:
        return None
    ratios = {tag: (ratio,) for tag, ratio in described["ratios"].items()}
    return Compression(ratios, described.get("pack", 0), described.get("unpack", 0))


def figures(found: TierReplay) -> dict[str, Any]:
    counts = (
        "EVICTIONS",
        "EVICTED_BYTES",
        "DOWN_BYTES",
        "UP_BYTES",
        "REMOTE_BYTES",
        "COPIED_BYTES",
        "HITS",
        "IN_BYTES",
        "OUT_BYTES",
        "WRITTEN",
    )
    assert found.addresses is not None and found.landed is not None
    assert (found.count("IN_BYTES") == found.count("OUT_BYTES") + found.count("RESIDENT")).all()
    assert found.count("RESIDENT").sum() == found.total("LIVE")
    live = found.books.blocks[:-1][found.books.blocks["status"][:-1] == 1]  # placed; the last is the scratch block
    tiers = len(found.tiers)
    assert np.bincount(live["tier"], minlength=tiers).tolist() == found.count("BLOCKS").tolist()
    assert np.bincount(live["tier"], live["requested"], tiers).astype(int).tolist() == found.count("RESIDENT").tolist()
    return {
        "places": list(zip(found.addresses.tolist(), found.landed.tolist(), strict=True)),
        "oom": found.oom_event,
        **{name: found.total(name) for name in ("STALL", "CLOCK", "FAILED", "SKIPPED", "MOVED")},
        **{name: found.count(name).tolist() for name in counts},
    }


def expected(twin: Tiers) -> dict[str, Any]:
    names = ("evictions", "evicted", "down", "up", "remote", "copied", "hits", "in", "out", "written")
    keys = (
        "EVICTIONS",
        "EVICTED_BYTES",
        "DOWN_BYTES",
        "UP_BYTES",
        "REMOTE_BYTES",
        "COPIED_BYTES",
        "HITS",
        "IN_BYTES",
        "OUT_BYTES",
        "WRITTEN",
    )
    return {
        "places": twin.addresses,
        "oom": twin.oom,
        "STALL": twin.stall,
        "CLOCK": twin.clock,
        "FAILED": twin.failed,
        "SKIPPED": twin.skipped,
        "MOVED": twin.moved,
        **{key: [level.counts[name] for level in twin.levels] for key, name in zip(keys, names, strict=True)},
    }


def differences(
    events: list[Event], described: list[dict[str, Any]], options: dict[str, Any], how: dict[str, Any], **more: Any
) -> dict[str, Any]:
    plan = Plan(
        how["evict"], how["uses"], tuple(how.get("pinned", ())), how.get("prefetch", 0), how.get("overlap", False), how.get("event_ns", 0)
    )  # fmt: skip
    trace = trace_of(events)
    plan = Plan(
        plan.evict, plan.uses, tuple(tag for tag in plan.pinned if tag in trace.tags), plan.prefetch, plan.overlap, plan.event_ns
    )
    tiers = tiers_of(described, spec("best-fit", options))
    have = figures(replay_tiers(trace, tiers, plan, on_oom=how.get("on_oom", "stop"), keep=True, samples=7, **more))
    want = expected(simulate_tiers(events, described, "best-fit", options, **how))
    return {name: (have[name], want[name]) for name in want if have[name] != want[name]}


@st.composite
def hierarchies(draw: Any) -> list[dict[str, Any]]:
    capacities = draw(st.lists(st.integers(0, 1500), min_size=1, max_size=2)) + [draw(st.sampled_from((800, 3000, 1 << 40)))]
    described = [{"capacity": capacities[0], "bandwidth": 1e9, "latency": 0}]
    for capacity, below in zip(capacities[1:], BELOW, strict=False):
        ratios = draw(st.none() | st.fixed_dictionaries({"*": st.integers(1000, 4000), "weight": st.integers(1000, 9000)}))
        described.append({"capacity": capacity, **below, "ratios": ratios, "pack": 3e7, "unpack": 9e7})
    return described


@st.composite
def plans(draw: Any) -> dict[str, Any]:
    return {
        "evict": draw(st.sampled_from(RULES)),
        "uses": "lifetimes",
        "pinned": draw(st.sampled_from(((), ("weight",)))),
        "prefetch": draw(st.sampled_from((0, 1, 5))),
        "overlap": draw(st.booleans()),
        "event_ns": draw(st.sampled_from((0, 1000, 50_000))),
        "on_oom": draw(st.sampled_from(("stop", "skip"))),
    }


def tagged(events: list[Event], seed: int) -> list[Event]:
    chance = random.Random(seed)
    return [event._replace(tag=chance.choice(TAGS)) if event.op == "alloc" else event for event in events]


OPTIONS = st.fixed_dictionaries(
    {}, optional={"zero": st.just("null"), "realloc": st.just("move"), "swap": st.just("inplace"), "trim": st.just(True)}
)


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(event_lists().filter(bool), st.integers(0, 99), hierarchies(), OPTIONS, plans())
def test_it_does_what_the_twin_does(
    events: list[Event], seed: int, described: list[dict[str, Any]], options: dict[str, Any], how: dict[str, Any]
) -> None:
    assert differences(tagged(events, seed), described, options, how, interpret=True) == {}


@pytest.mark.parametrize("evict", RULES)
@pytest.mark.parametrize("seed", range(4))
def test_longer_traces(evict: str, seed: int) -> None:
    assert differences(*long_case(evict, seed), interpret=True) == {}


@pytest.mark.parametrize("evict", os.environ.get("MEMTRACE_TIER_RULES", "lru belady").split())
def test_compiled(evict: str) -> None:
    """Half a minute per rule for the compiler; MEMTRACE_TIER_RULES names more of them."""
    for seed in range(100, 140):
        events, described, options, how = long_case(evict, seed)
        rows = random.Random(seed).choice([11, 1 << 20])
        assert differences(events, described, options, how, batch_rows=rows) == {}, seed


def long_case(evict: str, seed: int) -> tuple[list[Event], list[dict[str, Any]], dict[str, Any], dict[str, Any]]:
    chance = random.Random(f"{evict}{seed}")
    events = tagged(random_events(seed, 300, max_live=chance.choice([8, 30])), seed)
    described = [
        {"capacity": chance.choice([0, 600, 2000, 5000]), "bandwidth": 1e9, "latency": 0},
        {"capacity": chance.choice([900, 3000]), **BELOW[0], "ratios": chance.choice([None, {"*": 1500}]), "pack": 3e7},
        {"capacity": chance.choice([4000, 1 << 40]), **BELOW[1]},
    ]
    how = {
        "evict": evict, "uses": chance.choice(["access", "lifetimes"]), "pinned": chance.choice([(), ("weight",)]),
        "prefetch": chance.choice([0, 0, 3, 20]), "overlap": chance.random() < 0.5, "event_ns": 700,
        "on_oom": chance.choice(["stop", "skip"]),
    }  # fmt: skip
    if not any(event.op == "access" for event in events):
        how["uses"] = "lifetimes"
    options = chance.choice([{}, {}, {"realloc": "move"}, {"zero": "null", "swap": "inplace"}])
    return events, described, options, how


# Against a plain replay


@pytest.mark.parametrize("policy", ["best-fit", "first-fit:header=8,trim=true", "buddy", "tlsf"])
@pytest.mark.parametrize("seed", range(3))
def test_a_tier_that_is_large_enough_is_a_plain_replay(policy: str, seed: int) -> None:
    trace = trace_of(random_events(seed, 400))
    tiers = [Tier("hbm", 1 << 24, 1e12, 0, policy), Tier("dram", 1 << 40, 1e9, 0, policy)]
    found = replay_tiers(trace, tiers, Plan(uses="lifetimes"), keep=True, interpret=True, samples=50)
    plain = replay(trace, policy, 1 << 24, keep=True, interpret=True, samples=50)
    assert found.addresses is not None and plain.addresses is not None
    assert (found.addresses == plain.addresses).all()
    assert (found.ledger(0) == plain.ledger).all()
    assert (found.books.samples[:, 0, : len(ROW)] == plain.recorder.samples).all()
    assert (found.books.peaks[0] == plain.recorder.peaks).all()
    assert found.total("STALL") == 0 and not found.count("BLOCKS")[1]


@pytest.mark.parametrize("on_oom", ["stop", "skip"])
def test_one_tier_is_a_plain_replay_even_where_it_fails(on_oom: Any) -> None:
    trace = trace_of(random_events(5, 400))
    found = replay_tiers(trace, [Tier("hbm", 3000, 1e12)], keep=True, interpret=True, on_oom=on_oom)
    plain = replay(trace, "best-fit", 3000, keep=True, interpret=True, on_oom=on_oom)
    assert found.addresses is not None and plain.addresses is not None and found.total("FAILED") > 0
    assert (found.addresses == plain.addresses).all() and found.oom_event == plain.oom_event


def test_a_top_without_room_sends_everything_down() -> None:
    trace = trace_of(random_events(6, 300))
    found = replay_tiers(
        trace, [Tier("hbm", 0, 1e12), Tier("dram", 1 << 40, 1e9)], Plan(uses="lifetimes"), keep=True, interpret=True
    )
    plain = replay(trace, "best-fit", 1 << 40, keep=True, interpret=True)
    assert found.addresses is not None and plain.addresses is not None and found.landed is not None
    assert (found.addresses == plain.addresses).all()
    assert (found.landed[plain.addresses >= 0] == 1).all()
    assert found.count("IN_BYTES")[0] == 0 and found.count("HITS")[0] == 0 and not found.count("EVICTIONS").any()


# Against textbooks, on blocks of one size


def accesses(seed: int, blocks: int = 20, count: int = 300) -> list[int]:
    """Numbers of blocks, some far more often than others."""
    chance = random.Random(seed)
    return [min(int(chance.expovariate(0.2)), blocks - 1) for _ in range(count)]


def unit_trace(numbers: list[int]) -> Trace:
    """All blocks first, in an order that gives nothing away, then the accesses."""
    made = sorted(set(numbers))
    return from_events([*(("alloc", n, 16) for n in made), *(("access", n) for n in numbers)])


def misses_of(numbers: list[int], capacity: int, evict: str, interpret: bool = True) -> int:
    """What a cache that is empty at first misses: the warm-up by allocs is taken off by a run without accesses."""
    tiers = [Tier("cache", 16 * capacity, 1e12), Tier("store", 1 << 40, 1e9)]
    found = replay_tiers(unit_trace(numbers), tiers, Plan(evict, "access"), interpret=interpret, samples=1)
    assert found.total("FAILED") == 0
    return int(found.count("HITS")[1])


def textbook(numbers: list[int], capacity: int, evict: str) -> int:
    """Allocs are accesses too, so a cache of the textbook is warmed by them; only the rest is counted."""
    warm = sorted(set(numbers))
    whole = [*warm, *numbers]
    held: list[int] = []
    misses = 0
    for at, number in enumerate(whole):
        if number in held:
            if evict == "lru":
                held.remove(number)
                held.append(number)
            continue
        misses += at >= len(warm)
        if len(held) == capacity:
            rest = whole[at + 1 :]
            later = {n: rest.index(n) if n in rest else len(whole) for n in held}
            held.remove(max(held, key=lambda n: later[n]) if evict == "belady" else held[0])
        held.append(number)
    return misses


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(0, 12), min_size=1, max_size=60), st.integers(1, 9))
def test_misses_are_the_textbook_s(numbers: list[int], capacity: int) -> None:
    found = {evict: misses_of(numbers, capacity, evict) for evict in ("lru", "fifo", "belady")}
    assert found == {evict: textbook(numbers, capacity, evict) for evict in found}
    assert all(found["belady"] <= misses_of(numbers, capacity, evict) for evict in RULES)


@settings(max_examples=20, deadline=None)
@given(st.lists(st.integers(0, 9), min_size=1, max_size=50))
def test_more_capacity_never_misses_more_under_lru(numbers: list[int]) -> None:
    found = [misses_of(numbers, capacity, "lru") for capacity in range(1, 11)]
    assert found == sorted(found, reverse=True)


def test_belady_moves_no_more_than_lru() -> None:
    for seed in range(5):
        trace = unit_trace(accesses(seed, count=120))
        tiers = [Tier("cache", 16 * 6, 1e12), Tier("store", 1 << 40, 1e9)]
        moved = [replay_tiers(trace, tiers, Plan(evict, "access"), interpret=True).count("UP")[1] for evict in ("belady", "lru")]
        assert moved[0] <= moved[1]


@pytest.mark.skipif(
    "MEMTRACE_LIBCACHESIM" not in os.environ, reason="MEMTRACE_LIBCACHESIM=PYTHON names a Python that has libcachesim"
)
def test_misses_are_those_of_libcachesim() -> None:
    script = Path(__file__).parent / "data" / "libcachesim_misses.py"
    for seed in range(8):
        numbers, capacity = accesses(seed, 40, 500), 4 + seed
        whole = [*sorted(set(numbers)), *numbers]
        command = [os.environ["MEMTRACE_LIBCACHESIM"], str(script), str(capacity), str(len(set(numbers)))]
        done = subprocess.run(command, input=" ".join(map(str, whole)), capture_output=True, text=True, check=True)
        theirs = dict(zip(("lru", "fifo", "clock", "belady"), map(int, done.stdout.split()), strict=True))
        assert {evict: misses_of(numbers, capacity, evict) for evict in theirs} == theirs


# Compression


def test_with_ratio_1_nothing_changes_but_cost() -> None:
    trace = trace_of(tagged(random_events(3, 300), 3))
    plain = [Tier("a", 2000, 1e9), Tier("b", 3000, 1e8), Tier("c", 1 << 40, 1e7)]
    packed = [plain[0], Tier("b", 3000, 1e8, 0, "best-fit", Compression({"*": (1000,)}, 1e7, 1e7)), plain[2]]
    before, after = (
        figures(replay_tiers(trace, tiers, Plan(uses="lifetimes"), keep=True, interpret=True)) for tiers in (plain, packed)
    )
    assert after.pop("STALL") > before.pop("STALL")
    assert after.pop("CLOCK") > before.pop("CLOCK")
    assert before == after


def test_compression_saves_room() -> None:
    trace = trace_of(tagged(random_events(3, 300, max_size=4000), 3))
    tiers = [Tier("a", 2000, 1e9), Tier("b", 1 << 20, 1e8, 0, "best-fit", Compression({"weight": (4000,), "*": (1000,)}))]
    found = replay_tiers(trace, tiers, Plan(uses="lifetimes"), interpret=True)
    assert found.count("PEAK_STORED")[1] < found.count("PEAK_LIVE")[1]
    assert found.count("PEAK_STORED")[0] == found.count("PEAK_LIVE")[0]


def test_ratios_are_measured_on_a_sample(tmp_path: Path) -> None:
    sample = tmp_path / "sample.bin"
    sample.write_bytes(random.Random(1).randbytes(1 << 16) + bytes(1 << 16))
    random_piece, empty_piece = measured(sample)
    assert random_piece == 1000 and empty_piece > 50_000


# Uses of a training step


def test_uses_of_a_training_step() -> None:
    rows = [
        ("alloc", 1, 100, "weight"), ("alloc", 2, 200, "weight"), ("alloc", 3, 8, "input"),
        ("alloc", 4, 50, "activation"), ("alloc", 5, 60, "activation"), ("alloc", 6, 1, "temporary"),
        ("alloc", 7, 200, "gradient"), ("free", 5, None, None), ("alloc", 8, 100, "gradient"), ("free", 4, None, None),
        ("alloc", 9, 400, "temporary"), ("free", 9, None, None),
    ]  # fmt: skip
    trace = from_events([{k: v for k, v in zip(("op", "id", "size", "tag"), row, strict=True) if v is not None} for row in rows])
    events, slots = derive(trace)
    # Weight 2 is read after its input 5 (event 4) was written and at its gradient (event 6); weight 1 likewise; then the step.
    assert list(zip(events.tolist(), slots.tolist(), strict=True)) == [
        (4, 0),
        (5, 1),
        (6, 1),
        (8, 0),
        (9, 0),
        (9, 6),
        (10, 1),
        (10, 4),
    ]


def test_a_trace_that_does_not_say_when_blocks_are_used_is_refused() -> None:
    trace = trace_of([Event("alloc", 1, 8)])
    with pytest.raises(UsageError, match="neither access events nor the tags"):
        replay_tiers(trace, [Tier("a", 8, 1e9), Tier("b", 8, 1e9)])
    with pytest.raises(UsageError, match="no access events"):
        replay_tiers(trace, [Tier("a", 8, 1e9), Tier("b", 8, 1e9)], Plan(uses="access"))


# What is described


GOOD = "hbm=1GiB@1TB/s"
BAD = [
    (["hbm"], 2, "is not NAME=SIZE@BANDWIDTH"),
    (["hbm=80GiB"], 2, "has no bandwidth"),
    (["hbm=80G@3TB/s"], 2, "write 80GiB (2^30) or 80GB (10^9)"),
    (["hbm=80GiB@3TB"], 2, "write bytes per second: 3TB/s"),
    (["hbm=80GiB@3Tb/s"], 2, "looks like bits"),
    (["hbm=80GiB@0GB/s"], 2, "moves nothing"),
    (["hbm=80GiB@fast"], 2, "'fast' is no bandwidth"),
    (["hbm=-1@1GB/s"], 2, "is no size"),
    (["hbm=80GiB@1GB/s,10"], 2, "'10' is no time"),
    (["hbm=80GiB@1GB/s,10min"], 2, "unknown unit 'min'"),
    (["hbm=80GiB@1GB/s,2s"], 2, "more than a second"),
    (["hbm=80GiB@1GB/s,1us,polcy=buddy"], 2, "did you mean 'policy'"),
    (["hbm=80GiB@1GB/s,policy=best-fti"], 2, "did you mean 'best-fit'"),
    (["hbm=80GiB@1GB/s,policy=optimum"], 2, "cannot be the policy of a tier"),
    (["hbm=80GiB@1GB/s,policy=buddy,policy=buddy"], 2, "policy is there twice"),
    (["hbm=80GiB@1GB/s,ratio=0.5"], 2, "not between 1 and"),
    (["hbm=80GiB@1GB/s,ratio=two"], 2, "is no ratio"),
    (["hbm=80GiB@1GB/s,ratio=[a]"], 2, "each part is TAG:RATIO"),
    (["hbm=80GiB@1GB/s,compress=1GB/s"], 2, "need a ratio"),
    (["hbm=80GiB@1GB/s,ratio=sample:nowhere"], 3, "cannot be read"),
    (["=80GiB@1GB/s"], 2, "name is missing"),
    (["1st=80GiB@1GB/s"], 2, "is no name for a tier"),
    ([GOOD, GOOD], 2, "two tiers are called hbm: the 1. and the 2."),
    (["dram=1TiB@60GB/s", GOOD], 2, "give hbm first"),
    ([f"t{k}=1@1GB/s" for k in range(8)], 2, "the most is 7"),
    ([], 2, "no tier is given"),
]


@pytest.mark.parametrize(("given", "code", "says"), BAD, ids=[says[:24] for _, _, says in BAD])
def test_bad_descriptions(given: list[str], code: int, says: str) -> None:
    with pytest.raises(MemtraceError) as caught:
        tiers = described(given, None, None)
        replay_tiers(trace_of([Event("alloc", 1, 8)]), tiers, Plan(uses="lifetimes"))
    assert says in str(caught.value) and caught.value.exit_code == code


TOMLS = [
    ("x = 1", 3, "'x' is not known there"),
    ("", 3, "has no tables"),
    ("[[tier", 3, "is no TOML"),
    ('[[tier]]\nname = "a"\nsize = "1GiB"', 3, "tier 1: bandwidth is missing"),
    ('[[tier]]\nname = "a"\nsize = "1GiB"\nbandwidth = "1GB/s"\nlag = 3', 3, "unknown part of a tier 'lag'"),
]


@pytest.mark.parametrize(("text", "code", "says"), TOMLS)
def test_bad_files(tmp_path: Path, text: str, code: int, says: str) -> None:
    file = tmp_path / "tiers.toml"
    file.write_text(text)
    with pytest.raises(MemtraceError) as caught:
        described([], str(file), None)
    assert says in str(caught.value) and caught.value.exit_code == code


def test_a_file_says_what_the_options_say(tmp_path: Path) -> None:
    file = tmp_path / "tiers.toml"
    file.write_text(
        '[[tier]]\nname = "hbm"\nsize = "1GiB"\nbandwidth = "1TB/s"\n'
        '[[tier]]\nname = "zram"\nsize = "2GiB"\nbandwidth = "60GB/s"\nlatency = "10us"\n'
        'policy = "buddy"\nratio = {activation = 1.5, "*" = 2}\ncompress = "1GB/s"\n'
    )
    options = [GOOD, "zram=2GiB@60GB/s,10us,policy=buddy,ratio=[activation:1.5,*:2],compress=1GB/s"]
    assert described([], str(file), None) == described(options, None, None)


@pytest.mark.parametrize("preset", PRESETS)
def test_presets(preset: str) -> None:
    assert len(described([], None, preset)) >= 3 and PRESETS[preset].source


def test_two_descriptions_are_one_too_many() -> None:
    with pytest.raises(UsageError, match="--tier and --preset both"):
        described([GOOD], None, "h100")
    with pytest.raises(UsageError, match="did you mean 'h100'"):
        described([], None, "h10")


def test_the_command(memtrace: Run) -> None:
    tiers = ("--tier", "hbm=3GiB@1TB/s", "--tier", "dram=64GiB@32GB/s,10us", "--curve", "3")
    trace = ROOT / "traces" / "gpt-6x512-fp32.csv"
    refused = memtrace("tiers", trace, *tiers)
    assert refused.returncode == 2 and "neither access events" in refused.stderr
    done = memtrace("tiers", trace, *tiers, "--uses", "lifetimes", "-o", "out")
    assert done.returncode == 0, done.stderr
    assert "times are modelled, not measured" in done.stdout and max(map(len, done.stdout.splitlines())) <= 80
    again = memtrace("tiers", trace, *tiers, "--uses", "lifetimes", "-o", "out", "--json")
    found = json.loads(again.stdout)
    assert {Path(path).name for path in found["files"]} >= {
        "tiers.parquet",
        "tier_timeline.parquet",
        "tier_curve.parquet",
        "tiers-stall.png",
    }
    hbm, dram = found["results"]
    for row in (hbm, dram):
        assert row["in_bytes"] == row["out_bytes"] + row["resident_bytes"]
    stalls = [row["run_stall_ns"] for row in found["curve"]]
    assert stalls[0] > stalls[-1] and dram["down_bytes"] > 0


@pytest.mark.parametrize("interpret", [True, False])
def test_each_tier_has_a_policy_of_its_own(interpret: bool) -> None:
    """Conservation with three policies, some of which ask for larger arrays in the middle of an event."""
    trace = trace_of(random_events(8, 300, max_live=30))
    tiers = [Tier("a", 4096, 1e9, 0, "buddy"), Tier("b", 4000, 1e8, 0, "first-fit"), Tier("c", 1 << 20, 1e7, 0, "tlsf")]
    found = replay_tiers(trace, tiers, Plan(uses="lifetimes"), keep=True, interpret=interpret, on_oom="skip")
    figures(found)
    assert found.count("EVICTIONS")[0] > 0 and found.count("HITS")[1] > 0
