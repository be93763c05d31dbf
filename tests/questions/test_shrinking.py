"""Traces taken apart and put together, shrunk ones that still show what they should, and anonymous ones."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import numpy as np
import pytest
from conftest import Run
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import event_lists

from memtrace import measure, reading, replay, trace
from memtrace.engine.registry import parse_policy
from memtrace.errors import UsageError
from memtrace.questions.shrinking import shrink
from memtrace.questions.shrinking.conditions import parse_condition
from memtrace.questions.shrinking.lives import lives_of
from memtrace.questions.shrinking.reducing import had_room
from memtrace.reading.conversion import anonymize
from memtrace.trace import Op, Trace


def heap(events: int, live: int, most: int = 4096, seed: int = 4) -> Trace:
    """A heap that fills up, and then frees and allocates at random."""
    random = np.random.default_rng(seed)
    rows: list[tuple[str, int, int | None]] = []
    blocks: list[int] = []
    for number in range(events):
        if blocks and len(blocks) > live and random.random() < 0.52:
            rows.append(("free", blocks.pop(int(random.integers(len(blocks)))), None))
        else:
            blocks.append(number)
            rows.append(("alloc", number, int(random.integers(16, most))))
    return trace.from_events(rows, name="heap")


def rows(read: Trace) -> list[tuple[int, ...]]:
    return [
        tuple(row)
        for batch in read.batches()
        for row in zip(*(np.broadcast_to(c, batch.op.size).tolist() for c in batch), strict=True)
    ]


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_all_lives_together_are_the_trace(data: st.DataObject) -> None:
    whole = trace.from_events(data.draw(event_lists()))
    lives = lives_of(whole)
    everything = np.ones(lives.count, np.bool_)
    again = lives.part(everything, lives.sizes(), lives.op.size, null=True)
    assert rows(again) == rows(whole)
    assert again.facts.peak_live_bytes == whole.facts.peak_live_bytes
    slow: dict[int, int] = {}
    count = 0
    for event, (op, slot, _, _, _, other, *_) in enumerate(rows(whole)):
        if op == Op.ALLOC:
            slow[slot], count = count, count + 1
        assert lives.life[event] == (slow[slot] if slot >= 0 else -1)
        assert lives.other[event] == (slow[other] if other >= 0 else -1)


def test_a_trace_that_allocates_nothing_is_its_own_part() -> None:
    whole = trace.from_events([("trim", None), ("free", None)])
    lives = lives_of(whole)
    assert lives.count == 0
    assert rows(lives.part(np.ones(0, np.bool_), lives.sizes(), lives.op.size, null=True)) == rows(whole)


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_some_lives_are_a_valid_trace(data: st.DataObject) -> None:
    whole = trace.from_events(data.draw(event_lists()))
    lives = lives_of(whole)
    kept = np.array(data.draw(st.lists(st.booleans(), min_size=lives.count, max_size=lives.count)), np.bool_)
    stop = data.draw(st.integers(0, lives.op.size))
    part = lives.part(kept, lives.sizes(), stop)
    assert part.facts.invalid_events == 0
    assert part.facts.allocs == int((kept & (lives.born < stop)).sum())


def test_a_fragmented_heap_shrinks_to_a_few_blocks() -> None:
    whole = heap(3000, 300)
    capacity = int(whole.facts.peak_live_bytes * 1.02)
    policy = parse_policy("first-fit")
    before = replay(whole, policy, capacity)
    assert before.status == "oom" and had_room(whole, before)
    found = shrink(whole, policy, parse_condition("oom"), capacity)
    assert found.complete and found.trace.facts.events <= 30 and found.lives == found.trace.facts.allocs
    after = replay(found.trace, policy, capacity, interpret=True)
    assert after.status == "oom" and had_room(found.trace, after)
    assert after.oom_event == found.trace.facts.events - 1
    assert "keeping oom with first-fit" in found.trace.metadata["shrunk"]
    # No single life can go.
    lives = lives_of(found.trace)
    for one in range(lives.count):
        kept = np.arange(lives.count) != one
        if kept.any():
            part = lives.part(kept, lives.sizes(), lives.op.size)
            placement = replay(part, policy, capacity)
            assert placement.status == "ok" or not had_room(part, placement)


def test_forty_thousand_events_shrink_below_one_percent_within_a_minute() -> None:
    whole = heap(40_000, 6000, 65536)
    capacity = int(whole.facts.peak_live_bytes * 1.005)
    found = shrink(whole, parse_policy("first-fit"), parse_condition("oom"), capacity)
    assert found.seconds < 60 and found.trace.facts.events < 400
    assert replay(found.trace, "first-fit", capacity).status == "oom"


def test_a_heap_that_is_too_small_shrinks_to_what_fills_it() -> None:
    whole = trace.from_events([("alloc", n, 100) for n in range(500)], name="full")
    found = shrink(whole, parse_policy("first-fit"), parse_condition("oom"), 112 * 300)
    assert found.trace.facts.events == 2 and found.trace.facts.allocs == 2
    assert replay(found.trace, "first-fit", 112 * 300).oom_event == 1


@pytest.mark.parametrize("keep", ["external_frag_at_peak>0.5", "peak_reserved_bytes>=400KiB", "holes_max>40"])
def test_measures_are_kept(keep: str) -> None:
    whole = heap(3000, 300)
    condition = parse_condition(keep)
    found = shrink(whole, parse_policy("first-fit"), condition, seconds=20)
    assert found.trace.facts.events < 0.2 * whole.facts.events
    row = measure(replay(found.trace, "first-fit"))
    assert condition.metric is not None
    assert row[condition.metric] > condition.bound or condition.sign == ">="


def test_time_that_is_up_leaves_the_best_so_far(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = itertools.count()
    monkeypatch.setattr("memtrace.questions.shrinking.reducing.time.monotonic", lambda: next(clock) / 100)
    whole = heap(3000, 300)
    found = shrink(whole, parse_policy("first-fit"), parse_condition("external_frag_at_peak>0.5"), seconds=0.05)
    assert not found.complete and found.replays <= 5
    assert measure(replay(found.trace, "first-fit"))["external_frag_at_peak"] > 0.5


@pytest.mark.parametrize(
    ("keep", "says"),
    [
        ("ooom", "neither oom nor a bound"),
        ("external_frag>0.3", "unknown metric 'external_frag'; did you mean"),
        ("status==1", "is a word, which has no bound"),
        ("holes_max>many", "is no size"),
    ],
)
def test_conditions_that_are_none(keep: str, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        parse_condition(keep)


def test_nothing_to_shrink() -> None:
    with pytest.raises(UsageError, match="heap does not show oom with first-fit without a capacity"):
        shrink(heap(100, 10), parse_policy("first-fit"), parse_condition("oom"))


def test_the_command(memtrace: Run, tmp_path: Path) -> None:
    whole = heap(3000, 300)
    capacity = int(whole.facts.peak_live_bytes * 1.02)
    trace.write(whole, tmp_path / "heap.parquet")
    arguments = ("shrink", "heap.parquet", "--keep", "oom", "-p", "first-fit", "--capacity", str(capacity), "-o", "small.csv")
    done = memtrace(*arguments)
    assert done.returncode == 0 and done.stdout.startswith("oom is kept by"), done
    assert "try:  memtrace run small.csv -p first-fit --capacity" in done.stderr
    assert replay(reading.read(tmp_path / "small.csv"), "first-fit", capacity).status == "oom"
    document = json.loads(memtrace(*arguments, "--json").stdout)
    assert document["events"] == reading.read(tmp_path / "small.csv").facts.events and document["complete"]
    assert memtrace(*arguments[:6], "default", *arguments[7:]).returncode == 2
    assert memtrace(*arguments[:-1], "small.txt").returncode == 2


def test_an_anonymous_trace_is_placed_as_before(tmp_path: Path) -> None:
    secret = [
        ("alloc", 0x7F001, 100, 5000, 64, 393, None, "model.secret_layer"),
        ("alloc", 0x7F002, 200, 5007, None, 7, None, "kv"),
        ("copy", 0x7F002, 10, 5007, None, 7, 0x7F001, None),
        ("free", 0x7F001, None, 5009, None, 393, None, None),
        ("alloc", 0x7F001, 90, 5010, None, 12, None, "model.secret_layer"),
    ]
    whole = trace.from_events(secret)
    trace.write(whole, tmp_path / "secret.parquet", metadata={"host": "mine", "frames": "[...]", "format": "mtrace"})
    read = reading.read(tmp_path / "secret.parquet")
    anonymize(read, tmp_path / "t.csv")
    assert (tmp_path / "t.csv").read_text().splitlines()[:3] == [
        "op,id,size,time,align,stream,dst,tag",
        "alloc,0,100,0,64,0,,tag-0",
        "alloc,1,200,7,,1,,tag-1",
    ]
    anonymize(read, tmp_path / "t.parquet")
    again = reading.read(tmp_path / "t.parquet")
    assert set(again.metadata) == {"format", "anonymized"} and again.tags == ("tag-0", "tag-1")
    for policy in ("first-fit", "best-fit"):
        one, other = (replay(each, policy, keep=True).addresses for each in (whole, again))
        assert one is not None and other is not None and one.tolist() == other.tolist()
    assert b"secret" not in (tmp_path / "t.parquet").read_bytes()


def test_the_command_anonymize(memtrace: Run, small_trace: Path) -> None:
    done = memtrace("anonymize", small_trace, "anonymous.csv")
    assert done.returncode == 0 and "ids, tags, streams and times are numbered anew" in done.stderr
    assert (
        small_trace.parent / "anonymous.csv"
    ).read_text() == "op,id,size\nalloc,0,100\nalloc,1,50\nfree,0,\nalloc,0,20\nrealloc,1,90\n"
