"""Arenas equal a list heap per arena over a list of pages; any policy goes in; what they cost against one arena."""

from __future__ import annotations

import os
import random
from typing import Any

import pytest
from comparison import spec
from conftest import ROOT
from oracle import Event
from oracle_arenas import Arenas
from oracle_space import UNBOUNDED, Options
from spaces import drive, unlike
from strategies import random_events, random_options

import memtrace
from memtrace.engine.registry import builtin_policies, parse_policy
from memtrace.engine.replay import Placement
from memtrace.errors import UsageError
from memtrace.policies.arenas import COUNTERS
from memtrace.trace import Trace, from_events
from memtrace.validation.placements import validate
from memtrace.validation.policies import check_policy

SEEDS = int(os.environ.get("MEMTRACE_SEEDS", "24"))


def streamed(events: list[Event], streams: list[int]) -> Trace:
    rows = [{k: v for k, v in event._asdict().items() if v is not None} for event in events]
    return from_events([{**row, "stream": stream} for row, stream in zip(rows, streams, strict=True)])


def label(inner: str, options: dict[str, Any], **own: Any) -> str:
    return spec("arenas", {"policy": f"[{spec(inner, options)}]", **own})


def compare(seed: int, inner: str, capacity: int | None, **how: Any) -> Placement:
    dice = random.Random(seed)
    options = {} if seed % 4 == 0 else {name: value for name, value in random_options(seed).items() if name != "swap"}
    own = {"count": dice.choice([1, 3]), "page": dice.choice([1, 64, 100, 1000, 4096])}
    events = random_events(seed, 250, aligned_percent=dice.choice([0, 20]))
    streams = [dice.choice([0, 0, 1, 2, 3, 7, -4]) for _ in events]
    on_oom = dice.choice(["stop", "skip"])
    space = Arenas(Options(**options), UNBOUNDED if capacity is None else capacity, inner, **own)
    if space.held > space.room:
        with pytest.raises(UsageError, match="arenas do not fit"):
            memtrace.replay(streamed(events, streams), label(inner, options, **own), capacity)
        return memtrace.replay(from_events([]), label(inner, {}), capacity)
    placement = memtrace.replay(
        streamed(events, streams), label(inner, options, **own), capacity, on_oom=on_oom, samples=1 << 62, keep=True, **how
    )
    pieces: list[list[int]] = []
    keys: list[int] = []

    def note(event: Event, address: int | None) -> None:
        if event.op in ("alloc", "realloc") and address is not None:
            key = next(key for key in reversed(space.where) if space.where[key] == address and matches(space, key, event))
            pieces.extend([len(keys), *piece] for piece in space.pieces(key))
        keys.append(0)

    outcome = drive(space, space.feed(events, streams), on_oom, note)
    assert unlike(placement, outcome) == {}, (seed, options, own)
    assert placement.places is not None and placement.places[:, [0, 2, 3]].tolist() == pieces
    assert validate(placement) is None
    if placement.events:
        foreign = placement.recorder.sample_counters[placement.events - 1, :2].tolist()
        assert foreign == [len(space.foreign), sum(space.foreign)]
    return placement


def matches(space: Arenas, key: int, event: Event) -> bool:
    return space.owner[key][2] == (event.size or 0)


@pytest.mark.parametrize("inner", ["first-fit", "best-fit"])
def test_seeded_traces(inner: str) -> None:
    for seed in range(SEEDS):
        compare(seed, inner, (None, 5000, 20000, 100000)[seed % 4], batch_rows=(7, 1 << 20)[seed % 2])


def test_interpreted() -> None:
    for seed in range(0, 24, 3):
        compare(seed, "best-fit", (None, 20000)[seed % 2], interpret=True)


def test_it_is_sound() -> None:
    report = check_policy("arenas:page=64,count=3", traces=5)
    assert report.ok, report.text()


def taken() -> list[str]:
    """The policies that arenas take, found by asking."""
    found = []
    for name in builtin_policies():
        try:
            memtrace.replay(from_events([]), f"arenas:policy={name}", interpret=True)
            found.append(name)
        except UsageError:
            pass
    return found


def test_every_policy_goes_in_that_can() -> None:
    names = taken()
    assert {"first-fit", "next-fit", "best-fit", "worst-fit", "buddy", "bump"} <= set(names)
    assert not {"compact", "paged", "arenas"} & set(names)
    dice = random.Random(5)
    events = random_events(5, 300)
    trace = streamed(events, [dice.randrange(3) for _ in events])
    for name in [*names, "buddy:kind=fibonacci"]:
        placement = memtrace.replay(trace, f"arenas:policy=[{name}],page=256", 60_000, on_oom="skip", keep=True, interpret=True)
        assert validate(placement) is None, name


def test_what_cannot_go_in_is_said() -> None:
    for inner, words in (("paged", "move or come in pieces"), ("compact", "move or come"), ("best-fitt", "best-fit")):
        with pytest.raises(UsageError, match=words):
            parse_policy(f"arenas:policy={inner}")
    with pytest.raises(UsageError, match="count is 1 to 32"):
        memtrace.replay(from_events([]), "arenas:count=33")


def test_by_tag_is_by_stream_with_tags_for_streams() -> None:
    dice = random.Random(9)
    events = random_events(9, 300)
    streams = {event.id: dice.randrange(4) for event in events if event.op == "alloc"}
    rows = [{k: v for k, v in event._asdict().items() if v is not None} for event in events if event.op in ("alloc", "free")]
    live = {row["id"] for row in rows if row["op"] == "alloc"}
    rows = [row for row in rows if row.get("id") in live]
    allocs: dict[int, None] = {}
    kept = []
    for row in rows:
        if row["op"] == "alloc" and row["id"] not in allocs:
            allocs[row["id"]] = None
            kept.append(row)
        elif row["op"] == "free" and row["id"] in allocs:
            del allocs[row["id"]]
            kept.append(row)
    words: dict[int, int] = {}
    tagged = [{**row, "tag": f"t{streams[row['id']]}"} if row["op"] == "alloc" else row for row in kept]
    for row in kept:
        if row["op"] == "alloc":
            words.setdefault(streams[row["id"]], len(words))
    numbered = [{**row, "stream": words[streams[row["id"]]] + 1} if row["op"] == "alloc" else row for row in kept]
    one = memtrace.replay(from_events(tagged), "arenas:by=tag,page=256", keep=True)
    other = memtrace.replay(from_events(numbered), "arenas:page=256", keep=True)
    assert one.addresses is not None and other.addresses is not None
    assert one.addresses.tolist() == other.addresses.tolist()
    assert one.recorder.sample_counters[-1, 0] == 0 < other.recorder.sample_counters[-1, 0]


def producers(threads: int) -> Trace:
    """Each thread in turn allocates a batch, which the next one frees: no more than one batch is ever live (Hoard, 2.2)."""
    rows: list[dict[str, Any]] = []
    for turn in range(4 * threads):
        thread = turn % threads
        rows += [{"op": "alloc", "id": 1000 * turn + i, "size": 1024, "stream": thread} for i in range(256)]
        rows += [{"op": "free", "id": 1000 * turn + i, "stream": (thread + 1) % threads} for i in range(256)]
    return from_events(rows)


def test_blow_up_against_one_arena() -> None:
    trace = producers(4)
    one, four = (memtrace.replay(trace, f"arenas:count={count}") for count in (1, 4))
    assert one.peak_reserved_bytes == trace.facts.peak_live_bytes == 256 << 10
    assert four.peak_reserved_bytes == 4 * one.peak_reserved_bytes  # each arena keeps its own batch's memory
    counters = dict(zip(COUNTERS, four.recorder.sample_counters[-1].tolist(), strict=True))
    assert counters == {"foreign_frees": 16 * 256, "foreign_bytes": 16 * 256 << 10, "arenas_in_use": 4}
    trimmed = memtrace.replay(trace, "arenas:policy=[best-fit:trim=true],count=4")
    assert trimmed.peak_reserved_bytes == one.peak_reserved_bytes  # what goes back to the source serves the others


def test_one_arena_is_the_policy_itself() -> None:
    trace = memtrace.read(ROOT / "traces" / "gpt-6x512-fp32.csv")
    alone, inside = memtrace.replay(trace, "best-fit"), memtrace.replay(trace, "arenas:count=1,page=1MiB")
    assert -(-alone.peak_reserved_bytes // (1 << 20)) << 20 == inside.peak_reserved_bytes
    left = {"peak_reserved_bytes", "jw1", "jw2", "jw3", "jw4", "utilisation_at_peak"}  # these have whole pages
    left |= {"reserved_end_bytes", "reserved_bytes_mean", "unused_bytes_mean"}
    left |= {"highest_end_bytes", "empty_pages_4k_bytes", "empty_pages_2m_bytes"}  # not known of blocks that may come in pieces
    one, other = memtrace.measure(alone), memtrace.measure(inside)
    assert {name: other[name] for name in other if name not in left and "peak" not in name} == {
        name: one[name] for name in one if name not in left and "peak" not in name
    }
