"""Traces, tiers and plans to try, and what a replay and its twin have in common."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
from comparison import spec
from hypothesis import strategies as st
from oracle import Event
from oracle_tiers import Tiers, simulate_tiers
from strategies import random_events

from memtrace.tiers.eviction import RULES
from memtrace.tiers.replay import TierReplay, replay_tiers
from memtrace.tiers.tier import Compression, Plan, Tier
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


COUNTS = (
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


def figures(found: TierReplay) -> dict[str, Any]:
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
        **{name: found.count(name).tolist() for name in COUNTS},
    }


def expected(twin: Tiers) -> dict[str, Any]:
    names = ("evictions", "evicted", "down", "up", "remote", "copied", "hits", "in", "out", "written")
    return {
        "places": twin.addresses,
        "oom": twin.oom,
        "STALL": twin.stall,
        "CLOCK": twin.clock,
        "FAILED": twin.failed,
        "SKIPPED": twin.skipped,
        "MOVED": twin.moved,
        **{key: [level.counts[name] for level in twin.levels] for key, name in zip(COUNTS, names, strict=True)},
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
