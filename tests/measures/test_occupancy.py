"""What lives where, by tag and age: against a slow twin that keeps a list of blocks."""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from typing import Any

import numpy as np
import pytest

from memtrace.engine.registry import parse_policy
from memtrace.engine.replay import Hooks, Placement, replay
from memtrace.measures import occupancy as watching
from memtrace.measures.occupancy import OTHER, Contents, filled, final_occupancy, tag_kinds
from memtrace.trace import Trace, from_events
from memtrace.trace.model import split_after

TAGS = ("weight", "activation", "gradient", None)


def random_trace(seed: int, count: int = 400, tags: tuple[str | None, ...] = TAGS) -> Trace:
    chance, live, rows = random.Random(seed), [], []
    for number in range(count):
        if live and chance.random() < 0.45:
            rows.append({"op": "free", "id": live.pop(chance.randrange(len(live)))})
        else:
            size = chance.choice((0, 1, 7, 16, 100, 1000, 5000)) + chance.randrange(50)
            rows.append({"op": "alloc", "id": number, "size": size, "tag": chance.choice(tags)})
            live.append(number)
    return from_events(rows)


def watched(trace: Trace, policy: str, capacity: int | None = None, samples: int = 2000) -> tuple[Contents, Placement]:
    parsed = parse_policy(policy)
    contents = Contents(trace, parsed, samples)
    return contents, replay(trace, parsed, capacity, samples=samples, interpret=True, keep=True, hooks=Hooks(look=contents))


def cells(columns: dict[str, Any]) -> dict[tuple[int, int], tuple[int, str | None, int | None]]:
    """(event, address) -> live bytes, tag, age."""
    values = [column.to_pylist() if hasattr(column, "to_pylist") else column.tolist() for column in columns.values()]
    return {(event, address): (live, tag, age) for event, address, _, live, tag, age in zip(*values, strict=True)}


def pieces(placement: Placement) -> dict[tuple[int, int], list[tuple[int, int]]]:
    """(event, slot) -> the ranges in which the block is from then on, of blocks that move or come in pieces."""
    assert placement.places is not None
    found = defaultdict(list)
    for event, slot, address, extent in placement.places.tolist():
        found[event, slot].append((address, extent))
    return found


def twin(trace: Trace, placement: Placement, events: set[int], height: int) -> dict[tuple[int, int], dict[str | None, list[int]]]:
    """(event, address of the row) -> tag -> the birth of each byte."""
    [batch] = trace.batches()
    assert placement.addresses is not None
    ranges, live = pieces(placement), dict[int, tuple[int, str | None, int]]()
    where = dict[int, list[tuple[int, int]]]()
    found: dict[tuple[int, int], dict[str | None, list[int]]] = {}
    for event in range(placement.events):
        slot, tag = int(batch.block[event]), int(batch.tag[event])
        if batch.op[event] == 0:
            if placement.addresses[event] >= 0:
                live[slot] = (int(batch.size[event]), trace.tags[tag] if tag >= 0 else None, event)
                where[slot] = [(int(placement.addresses[event]), int(batch.size[event]))]
        else:
            live.pop(slot, None)
        for slot in live:
            where[slot] = ranges.get((event, slot), where[slot])
        if event in events:
            for slot, (size, name, born) in live.items():
                bytes_of = [byte for address, extent in where[slot] for byte in range(address, address + extent)]
                for byte in bytes_of[:size]:
                    found.setdefault((event, byte // height * height), defaultdict(list))[name].append(born)
    return found


EXACT = ["first-fit", "buddy", "tlsf", "size-class", "pytorch", "pytorch:expandable_segments=True", "stitch", "paged", "compact"]


@pytest.mark.parametrize("policy", EXACT)
@pytest.mark.parametrize("seed", range(2))
def test_cells_are_those_of_a_list_of_blocks(policy: str, seed: int) -> None:
    trace = random_trace(seed)
    contents, placement = watched(trace, policy, samples=60)
    found = cells(contents.columns(placement.peak_reserved_bytes))
    height = int(contents.columns(placement.peak_reserved_bytes)["address_bytes"][0])
    expected = twin(trace, placement, set(contents.events.tolist()), height)
    assert {place for place, (live, *_) in found.items() if live} == set(expected)
    for place, (live, tag, age) in found.items():
        births = expected.get(place, {})
        assert live == sum(map(len, births.values()))
        if not live:
            assert tag is None and age is None
            continue
        assert len(births[tag]) == max(map(len, births.values()))
        mean = place[0] - sum(map(sum, births.values())) / live
        assert age is not None and age / 2 <= max(1, mean) + 1 and max(1, mean) - 1 <= 2 * age


@pytest.mark.parametrize("short", [False, True])
@pytest.mark.parametrize("policy", EXACT)
def test_what_a_replay_ended_with_is_its_last_column(policy: str, short: bool) -> None:
    contents, placement = watched(random_trace(3), policy)
    if short:
        contents, placement = watched(random_trace(3), policy, placement.peak_reserved_bytes // 2)
        assert placement.oom_event is not None
    columns = contents.columns(placement.peak_reserved_bytes)
    last = final_occupancy(placement.policy, placement.blocks, placement.state, len(placement.trace.tags))
    tall = int(np.concatenate((columns["address_bytes"], last["address_bytes"])).max(initial=1))
    rows = [Counter[int]() for _ in range(2)]
    for event, address, live in zip(*(columns[n].tolist() for n in ("event", "address_from_bytes", "live_bytes")), strict=True):
        rows[0][address // tall] += live * (event == placement.events - 1)
    for address, live in zip(last["address_from_bytes"].tolist(), last["live_bytes"].tolist(), strict=True):
        rows[1][address // tall] += live
    assert +rows[0] == +rows[1]


def test_memory_that_runs_out_ends_the_columns() -> None:
    contents, placement = watched(random_trace(5), "first-fit", capacity=6000)
    assert placement.oom_event is not None
    assert contents.columns(6000)["event"].max() == placement.oom_event


def test_addresses_far_apart_keep_their_detail_and_what_is_between_is_left_out() -> None:
    trace = from_events([("alloc", 1, 1000), ("alloc", 2, 30 << 20), ("free", 2)])
    contents, placement = watched(trace, "pytorch:expandable_segments=True")
    columns = contents.columns(placement.peak_reserved_bytes)
    height, address = columns["address_bytes"][0], columns["address_from_bytes"]
    assert height <= 1 << 20
    # The small and the large pool are a TiB apart.
    assert address.max() > 1 << 40 and (np.diff(address[: address.size // 3]) > 1 << 39).sum() == 1


def test_gaps_are_filled_unless_they_are_larger_than_all_that_was_reserved() -> None:
    assert filled(np.array([0, 3]), 5, 5).tolist() == [0, 1, 2, 3, 4]
    assert filled(np.array([0, 7]), 5, 9).tolist() == [0, 7]
    assert filled(np.array([0, 2]), 1, 6).tolist() == [0, 1, 2, 3, 4, 5]
    assert filled(np.array([9, 11]), 5, 5).tolist() == [9, 10, 11]
    assert filled(np.array([], np.int64), 0, 0).tolist() == []


def test_of_many_tags_those_that_hold_most_are_kept() -> None:
    rows: list[dict[str, Any]] = []
    for number in range(20):
        rows.append({"op": "alloc", "id": number, "size": 1000 if number % 2 else 10, "tag": f"tag-{number:02d}"})
    rows += [{"op": "free", "id": number} for number in range(20)]
    kinds = tag_kinds(from_events(rows))
    assert kinds.names[-2:] == (OTHER, None)
    assert set(kinds.names[:-2]) < {f"tag-{number:02d}" for number in range(1, 20, 2)}
    assert kinds.of_tag[0] == watching.MOST_TAGS and kinds.of_tag[-1] == watching.MOST_TAGS + 1


def test_a_large_live_set_is_looked_at_less_often() -> None:
    rows = [{"op": "alloc", "id": number, "size": 1} for number in range(60_000)]
    contents = Contents(from_events(rows), parse_policy("bump"), 2000)
    assert contents.events.size == watching.LEAST_COLUMNS
    assert Contents(random_trace(0), parse_policy("bump"), 2000).events.size == 400


@pytest.mark.parametrize("after", [[], [0], [3], [9], [2, 5, 9]])
def test_cut_batches_are_the_same_events(after: list[int]) -> None:
    trace = random_trace(2, 10)
    [whole] = trace.batches()
    parts = list(split_after(trace.batches(4), np.array(after, np.int64)))
    assert np.concatenate([part.op for part in parts]).tolist() == whole.op.tolist()
    assert np.concatenate([part.tag for part in parts]).tolist() == whole.tag.tolist()
    ends = np.cumsum([part.op.size for part in parts]) - 1
    assert set(after) <= set(ends.tolist())


def test_of_many_tags_of_few_kinds_the_kinds_are_counted() -> None:
    rows = [{"op": "alloc", "id": i, "size": 10, "tag": f"{('weight', 'state')[i % 2]} {i}"} for i in range(20)]
    kinds = tag_kinds(from_events(rows))
    assert kinds.names == ("weight", "state", None) and kinds.of_tag.tolist() == [*([0, 1] * 10), 2]


def test_tags_are_grouped_as_asked() -> None:
    rows = [{"op": "alloc", "id": i, "size": 10, "tag": f"{('weight', 'state')[i % 2]} {i}"} for i in range(6)]
    trace = from_events(rows)
    assert tag_kinds(trace).names == (*trace.tags, None)
    assert tag_kinds(trace, "kind").names == ("weight", "state", None)
    many = from_events([{**row, "id": 6 * k + row["id"], "tag": f"{row['tag']}.{k}"} for k in range(2) for row in rows])
    assert len(tag_kinds(many, "name").names) == watching.MOST_TAGS + 2 and tag_kinds(many).names == ("weight", "state", None)
