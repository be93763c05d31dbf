"""What lives where, by tag and age: against a slow twin that keeps a list of blocks, and against the loop's own grid."""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from typing import Any

import numpy as np
import pytest

from memtrace.contents import watching
from memtrace.contents.watching import OTHER, Contents, filled, kinds_of
from memtrace.engine.registry import parse_policy
from memtrace.replaying import Placement, replay
from memtrace.results.gather import occupancy
from memtrace.trace import Trace, from_events
from memtrace.trace.cutting import cut

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
    return contents, replay(trace, parsed, capacity, samples=samples, interpret=True, keep=True, look=contents)


def cells(columns: dict[str, Any]) -> dict[tuple[int, int], tuple[int, str | None, int | None]]:
    """(event, address) -> live bytes, tag, age."""
    values = [column.to_pylist() if hasattr(column, "to_pylist") else column.tolist() for column in columns.values()]
    return {(event, address): (live, tag, age) for event, address, _, live, tag, age in zip(*values, strict=True)}


def twin(trace: Trace, placement: Placement, events: set[int], height: int) -> dict[tuple[int, int], dict[str | None, list[int]]]:
    """(event, address of the row) -> tag -> the birth of each byte."""
    [batch] = trace.batches()
    assert placement.addresses is not None
    live: dict[int, tuple[int, int, str | None, int]] = {}
    found: dict[tuple[int, int], dict[str | None, list[int]]] = {}
    for event in range(placement.events):
        slot, tag = int(batch.block[event]), int(batch.tag[event])
        if batch.op[event] == 0:
            if placement.addresses[event] >= 0:
                name = trace.tags[tag] if tag >= 0 else None
                live[slot] = (int(placement.addresses[event]), int(batch.size[event]), name, event)
        else:
            live.pop(slot, None)
        if event in events:
            for address, size, name, born in live.values():
                for byte in range(address, address + size):
                    found.setdefault((event, byte // height * height), defaultdict(list))[name].append(born)
    return found


@pytest.mark.parametrize("policy", ["first-fit", "buddy", "pytorch", "pytorch:expandable_segments=True"])
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


@pytest.mark.parametrize("policy", ["best-fit", "worst-fit", "tlsf", "size-class", "stitch", "paged", "compact"])
def test_live_bytes_are_those_of_the_loops_own_grid(policy: str) -> None:
    contents, placement = watched(random_trace(3), policy)
    mine, loops = contents.columns(placement.peak_reserved_bytes), occupancy(placement)
    rows = [Counter[tuple[int, int]]() for _ in range(2)]
    tall = max(int(mine["address_bytes"][0]), int(loops["address_bytes"][0]))
    for row, columns in zip(rows, (mine, loops), strict=True):
        for event, address, live in zip(
            *(columns[n].tolist() for n in ("event", "address_from_bytes", "live_bytes")), strict=True
        ):
            row[event, address // tall] += live
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
    assert occupancy(placement)["address_bytes"][0] >= 1 << 30  # the small and the large pool are a TiB apart
    assert height <= 1 << 20
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
    kinds = kinds_of(from_events(rows))
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
    parts = list(cut(trace.batches(4), np.array(after, np.int64)))
    assert np.concatenate([part.op for part in parts]).tolist() == whole.op.tolist()
    assert np.concatenate([part.tag for part in parts]).tolist() == whole.tag.tolist()
    ends = np.cumsum([part.op.size for part in parts]) - 1
    assert set(after) <= set(ends.tolist())
