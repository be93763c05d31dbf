"""`regions` and `chunks` equal lists of spaces of the oracle, over many policies; what heap_5 and RMM's pool do, they do."""

from __future__ import annotations

import os
import random
from typing import Any

import pytest
from comparison import spec
from oracle import Event, make_space
from oracle_parts import Chunks, Parts, Regions, Rules
from oracle_space import UNBOUNDED, Options, Space
from spaces import drive, unlike
from strategies import random_events, random_options

import memtrace
from memtrace.engine import replay
from memtrace.engine.binding import bind
from memtrace.engine.registry import builtin_policies, parse_policy
from memtrace.engine.replay import Placement
from memtrace.errors import UsageError
from memtrace.policies import chunks
from memtrace.trace import Trace, from_events
from memtrace.validation.placements import validate
from memtrace.validation.policies import check_policy

SEEDS = int(os.environ.get("MEMTRACE_SEEDS", "3"))
INNER = ("first-fit", "next-fit", "best-fit", "worst-fit", "buddy", "tlsf", "half-fit", "quick-fit", "bump")


def streamed(events: list[Event], streams: list[int]) -> Trace:
    rows = [{k: v for k, v in event._asdict().items() if v is not None} for event in events]
    return from_events([{**row, "stream": stream} for row, stream in zip(rows, streams, strict=True)])


def inner_space(inner: str, options: dict[str, Any], extent: int) -> Space:
    """The inner policy's space for a part, all of it there from the start unless the options say otherwise."""
    given = {**options, "initial": options.get("initial") or extent - options.get("base", 0)}
    if extent == UNBOUNDED:
        given["initial"] = 0
    return make_space(inner, Options(**given), extent, {})


def compare(seed: int, inner: str, **how: Any) -> None:
    dice = random.Random(f"{seed} {inner}")
    drawn = {} if seed % 3 == 0 else random_options(seed)
    options = {name: value for name, value in drawn.items() if name not in ("swap", "initial", "base")}
    events = random_events(seed, 200, aligned_percent=dice.choice([0, 20]))
    streams = [dice.choice([0, 0, 1, 2]) for _ in events]
    to, on_oom = dice.choice(["first", "fullest", "roomiest"]), dice.choice(["stop", "skip"])

    def make(extent: int) -> Space:
        return inner_space(inner, options, extent)

    sizes = [dice.choice([700, 1500, 2048, 4096, 9000]) for _ in range(dice.choice([1, 2, 4]))]
    regions = Regions(Options(**options), UNBOUNDED, make, sizes, to)
    text = f"[{','.join(map(str, sizes))}]"
    agree(
        regions, spec("regions", {"sizes": text, "policy": f"[{spec(inner, options)}]", "to": to}), None, events, streams, on_oom
    )

    capacity = dice.choice([None, 8000, 20000])
    rules = Rules(
        size=dice.choice([1000, 4096, 5000]),
        first=dice.choice([0, 0, 3000]),
        growth=dice.choice(["fixed", "eighths", "held", *(["half"] if capacity else [])]),
        release=dice.choice(["empty", "spare", "half", "never"]),
        by=dice.choice(["none", "stream"]),
    )
    fetched = Chunks(Options(**options), UNBOUNDED if capacity is None else capacity, make, rules, to)
    label = spec("chunks", {"policy": f"[{spec(inner, options)}]", **vars(rules), "to": to})
    agree(fetched, label, capacity, events, streams, on_oom, **how)


def agree(
    space: Parts, label: str, capacity: int | None, events: list[Event], streams: list[int], on_oom: Any, **how: Any
) -> Placement:
    """The policy does what the twin does, event by event, and each place is sound."""
    trace = streamed(events, streams)
    placement = memtrace.replay(trace, label, capacity, on_oom=on_oom, samples=1 << 62, keep=True, **{"interpret": True, **how})
    outcome = drive(space, space.feed(events, streams), on_oom)  # type: ignore[arg-type]
    assert unlike(placement, outcome) == {}, label
    assert validate(placement) is None
    listed = bind(placement.policy.module).parts(placement.state)
    assert [part[:3] for part in listed] == sorted((p.base, p.extent, len(p.space.blocks)) for p in space.parts)
    return placement


@pytest.mark.parametrize("inner", INNER)
def test_equal_to_the_twins(inner: str) -> None:
    for seed in range(SEEDS):
        compare(seed, inner)


def test_compiled_equals_the_twin() -> None:
    for seed in (4,):
        compare(seed, "first-fit", interpret=False)


@pytest.mark.parametrize("policy", ["regions", "chunks"])
def test_they_are_sound(policy: str) -> None:
    report = check_policy(policy, quick=True, traces=1)
    assert report.ok, report.text()


def test_every_policy_goes_in_that_can() -> None:
    events = random_events(5, 150)
    trace = streamed(events, [0] * len(events))
    taken = []
    for name in builtin_policies():
        for label in (f"regions:sizes=[20000,2KiB,30000],policy=[{name}]", f"chunks:policy=[{name}],size=9000,first=4000"):
            try:
                placement = memtrace.replay(trace, label, 60_000, on_oom="skip", keep=True, interpret=True)
            except UsageError as error:
                assert "cannot be put in" in str(error), label
                continue
            assert validate(placement) is None, label
            taken.append(name)
    assert {"quick-fit", "slab", "stack", "region", "zephyr", "umm", "newlib-nano"} <= set(taken)
    assert not {"compact", "paged", "arenas", "pytorch", "native", "optimum"} & set(taken)


def test_reallocs_that_move_a_block_within_its_part() -> None:
    """umm moves a block to the free one below it within a realloc: the new address is what the part's policy says."""
    events = random_events(7, 250, weights={"alloc": 4, "free": 3, "realloc": 6})
    trace = streamed([event._replace(align=None) for event in events], [0] * len(events))
    alone = memtrace.replay(trace, "umm", 30_000, keep=True, interpret=True)
    inside = memtrace.replay(trace, "regions:sizes=[30000],policy=umm", keep=True, interpret=True)
    assert inside.addresses is not None and alone.addresses is not None
    assert validate(inside) is None and inside.addresses.tolist() == alone.addresses.tolist()


def test_heap_5_is_heap_4_in_regions() -> None:
    """One list over all regions and a list in each give the same places, and refuse the same, for first fit."""
    sizes = (1000, 1024, 2000)
    refused = 0
    for seed in range(4):
        events = [event._replace(align=None) for event in random_events(seed, 250, weights={"alloc": 6, "free": 3, "realloc": 1})]
        trace = streamed(events, [0] * len(events))
        text = ",".join(map(str, sizes))
        one, other = (
            memtrace.replay(trace, label, on_oom="skip", keep=True, interpret=True)
            for label in (f"freertos:heap=5,regions=[{text}]", f"regions:sizes=[{text}],policy=freertos")
        )
        assert one.addresses is not None and other.addresses is not None
        starts, bases = (0, 1000, 2024), (0, 4096, 8192)
        assert within(one.addresses.tolist(), starts) == within(other.addresses.tolist(), bases)
        refused += int(one.recorder.totals[2])
    assert refused > 10


def within(addresses: list[int], starts: tuple[int, ...]) -> list[Any]:
    """Each address as the number of its region and the offset there."""
    found: list[Any] = []
    for address in addresses:
        region = max((i for i, start in enumerate(starts) if start <= address), default=0)
        found.append((region, address - starts[region]) if address >= 0 else address)
    return found


@pytest.mark.parametrize(("rows", "capacities"), [(1, (1023, 1024, 1279, 1280, 2047, 2048, 4096)), (8, (64 << 20, 128 << 20))])
def test_what_rmms_pool_refuses_chunks_refuse(rows: int, capacities: tuple[int, ...]) -> None:
    """Pools of RMM with one request, and with eight of 8 MiB: some fail where one heap does not, and so do chunks."""
    trace = from_events([("alloc", i, 1024 if rows == 1 else 8 << 20) for i in range(rows)])
    worse = 0
    for capacity in capacities:
        for first in (0, 1000192, capacity // 2 & -256):
            for maximum, growth in (("capacity", "half"), ("none", "held")):
                if first > capacity & -256:
                    continue
                pool = memtrace.replay(trace, f"rmm-pool:initial={first},maximum={maximum}", capacity, interpret=True)
                label = f"chunks:policy=[best-fit:align=256],first={first},growth={growth},release=never"
                mine = memtrace.replay(trace, label, capacity & -256, interpret=True)
                assert (mine.oom_event, mine.peak_reserved_bytes) == (pool.oom_event, pool.peak_reserved_bytes), (capacity, first)
                worse += mine.status == "oom" and memtrace.replay(trace, "best-fit", capacity, interpret=True).status == "ok"
    assert worse >= 2


def test_chunks_go_back_by_the_rule() -> None:
    rows = [("alloc", 0, 900), ("alloc", 1, 900), ("alloc", 2, 900), ("free", 0), ("free", 1), ("free", 2)]
    held = {}
    for release in ("empty", "spare", "half", "never"):
        placement = memtrace.replay(from_events(rows), f"chunks:size=1000,release={release}", keep=True, interpret=True)
        assert placement.reserved is not None
        held[release] = placement.reserved.tolist()[2:]
    assert held == {
        "empty": [3000, 2000, 1000, 0],
        "spare": [3000, 3000, 2000, 1000],
        "half": [3000, 3000, 2000, 1000],
        "never": [3000, 3000, 3000, 3000],
    }


def test_what_cannot_be_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    trace = from_events([("alloc", i, 1000) for i in range(17)])  # a chunk for each
    for label, words in (
        ("regions:sizes=[8KiB,1KiB]", "9216 bytes in all, which is above the capacity of 8192"),
        ("regions:sizes=[]", "has to name 1 to 32 ranges"),
        ("regions:sizes=[8KB!]", "sizes="),
        ("regions:policy=pytorch", "several ranges of addresses of its own"),
        ("chunks:policy=compact", "move or come in pieces"),
        ("chunks:first=1MiB", "first from 0 to the capacity"),
    ):
        with pytest.raises(UsageError, match=words):
            memtrace.replay(trace, label, 8192, interpret=True)
    for label in ("regions:sizes=[50%,50%]", "chunks:growth=half"):
        with pytest.raises(UsageError, match="try: --capacity"):
            memtrace.replay(trace, label, interpret=True)
    monkeypatch.setattr(chunks, "MOST", 16)
    with pytest.raises(UsageError, match="a 17th chunk is needed at once"):
        memtrace.replay(trace, "chunks:size=1000", interpret=True)


@pytest.mark.parametrize("label", ["freertos", "regions", "chunks:first=1MiB,growth=half"])
def test_policies_that_need_a_capacity_are_compiled_ahead(label: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The limits that `warm` tries are such as these policies take; nothing is compiled here."""
    tried: list[int | None] = []

    def interpreted(trace: Trace, policy: Any, capacity: int | None = None, **how: Any) -> Placement:
        tried.append(capacity)
        return run(trace, policy, capacity, interpret=True)

    run = replay.replay
    monkeypatch.setattr(replay, "replay", interpreted)
    replay.warm(parse_policy(label))
    assert tried == [None, 1 << 20, 1 << 40][: len(tried)] and len(tried) > 1
