"""Preparing a trace: slots, facts, batches, files beyond memory, pickles, and building traces in Python."""

from __future__ import annotations

import gc
import math
import pickle
import random
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import oracle_trace
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import event_lists

from memtrace import reading, trace
from memtrace.errors import InputError, UsageError
from memtrace.trace import MISSING, Events, Op, Trace, preparing, store, writing
from memtrace.trace import writing as files
from memtrace.trace.checking import SIZE_BINS, size_bin
from memtrace.trace.live_ids import log2_class
from memtrace.trace.model import BATCH_ROWS

NAMES = ("op", "id", "size", "time", "align", "dst")
ids = st.one_of(st.none(), st.integers(0, 6), st.sampled_from([-1, -(2**63) + 1, 2**63 - 1, 2**62]))
rows = st.tuples(
    st.sampled_from([*oracle_trace.OPS, "alloc", "alloc", "free", "free", "realloc", "nonsense"]),
    ids,
    st.one_of(st.none(), st.integers(0, 300), st.sampled_from([-1, 2**60, 2**60 + 1])),
    st.one_of(st.none(), st.none(), st.integers(0, 50)),
    st.one_of(st.none(), st.sampled_from([0, 1, 2, 3, 64, -4, 2**40])),
    ids,
)


def dicts(events: Sequence[Sequence[Any]]) -> list[dict[str, Any]]:
    return [dict(zip(NAMES, event, strict=True)) for event in events]


def whole(read: Trace, rows: int = BATCH_ROWS) -> list[list[int]]:
    """Op, block, size, align, stream, dst, tag of every event."""
    found = []
    for batch in read.batches(rows):
        full = [np.broadcast_to(column, batch.op.size).tolist() for column in batch]
        found += [list(row) for row in zip(*full, strict=True)]
    return found


@settings(deadline=None)
@given(st.lists(rows, max_size=60))
def test_it_agrees_with_the_obvious_way(events: list[tuple[Any, ...]]) -> None:
    slow = oracle_trace.prepare(events)
    read = trace.from_events(dicts(events), invalid="skip")
    prepared = [(Op(op).name.lower(), block, size, align, dst) for op, block, size, align, _, dst, _ in whole(read)]
    facts = read.facts
    assert prepared == slow.rows
    assert (facts.events, facts.invalid_events, facts.null_frees) == (
        len(slow.rows),
        slow.invalid,
        slow.null_frees,
    )
    assert (facts.max_live, facts.never_freed) == (slow.slots, len(slow.live))
    assert (facts.peak_live_bytes, facts.peak_live_event) == (slow.peak, slow.peak_event)
    if "time" in read.columns:
        assert read.times(np.arange(facts.events)).tolist() == slow.times
    same_counts(read, slow)


def same_counts(read: Trace, slow: oracle_trace.Prepared) -> None:
    facts = read.facts
    ops = Counter(row[0] for row in slow.rows)
    counted = [facts.allocs, facts.frees, facts.reallocs, facts.copies, facts.swaps, facts.accesses]
    counted += [facts.trims, facts.records, facts.completes]
    assert counted == [ops[op] for op in oracle_trace.OPS]
    assert facts.total_bytes == sum(slow.requests)
    assert facts.size_counts.tolist() == histogram([(size, 1) for size in slow.requests])
    assert facts.size_bytes.tolist() == histogram([(size, size) for size in slow.requests])
    assert facts.lifetime_counts.tolist() == histogram([(life, 1) for _, life in slow.lives])
    assert facts.lifetime_bytes.tolist() == histogram([(life, size) for size, life in slow.lives])
    assert facts.size_lifetime.sum(axis=1).tolist() == histogram([(size, 1) for size, _ in slow.lives])
    wanted = sorted(size for size in slow.requests if size)
    ranks = [wanted[math.ceil(share * len(wanted) / 100) - 1] if wanted else 0 for share in (50, 99)]
    assert [facts.median_request, facts.p99_request] == ranks
    assert (facts.smallest_request, facts.largest_request) == ((wanted[0], wanted[-1]) if wanted else (0, 0))


def histogram(values: list[tuple[int, int]]) -> list[int]:
    found = [0] * 64
    for value, weight in values:
        found[max(0, value.bit_length() - 1)] += weight
    return found


@settings(deadline=None)
@given(event_lists())
def test_well_formed_traces_are_valid(events: list[Any]) -> None:
    assert trace.from_events(events).facts.events == len(events)


@settings(deadline=None)
@given(st.integers(0, 2**60))
def test_every_size_has_a_bin_that_holds_it(size: int) -> None:
    place = int(size_bin(np.int64(size)))
    assert 0 <= place < SIZE_BINS
    assert size == 0 or size_bin(np.int64(size - 1)) in (place, place - 1)
    assert log2_class(size) == max(0, size.bit_length() - 1)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32), st.sampled_from([2**9, 2**20, 2**33, 2**52]))
def test_ranks_are_exact_for_large_sizes(seed: int, most: int) -> None:
    sizes = np.sort(np.random.default_rng(seed).integers(0, most, 500, endpoint=True))
    read = trace.from_columns(np.zeros(500, np.uint8), np.arange(500), np.random.default_rng(1).permutation(sizes))
    wanted = sizes[sizes > 0]
    assert read.facts.median_request == wanted[math.ceil(wanted.size / 2) - 1]
    assert read.facts.p99_request == wanted[math.ceil(99 * wanted.size / 100) - 1]


def long_trace(events: int, live: int, seed: int = 1, **options: Any) -> tuple[Trace, np.ndarray[Any, Any]]:
    """Random churn, and the ids in it, spread over all of int64."""
    dice = random.Random(seed)
    held: list[int] = []
    op, id, size = np.zeros(events, np.uint8), np.zeros(events, np.int64), np.zeros(events, np.int64)
    for event in range(events):
        if held and (len(held) >= live or dice.random() < 0.4):
            place = dice.randrange(len(held))
            held[place], held[-1] = held[-1], held[place]
            op[event], id[event] = Op.FREE, held.pop()
        else:
            id[event], size[event] = dice.randrange(-(2**62), 2**62) & ~0xFFF, dice.randrange(1, 5000)
            held.append(int(id[event]))
    return trace.from_columns(op, id, size, time=np.arange(events) * 10, **options), id


def test_slots_are_distinct_while_the_table_grows() -> None:
    read, given_ids = long_trace(60_000, 20_000)
    live: dict[int, int] = {}
    for number, (op, block, *_) in enumerate(whole(read)):
        if op == Op.ALLOC:
            assert block not in live
            live[block] = int(given_ids[number])
        else:
            assert live.pop(block) == given_ids[number]
    assert read.facts.max_live > 8192


def test_batches_are_read_only_and_as_long_as_asked() -> None:
    read, _ = long_trace(1000, 50)
    batches = list(read.batches(300))
    assert [batch.op.size for batch in batches] == [300, 300, 300, 100]
    for batch in batches:
        assert [column.dtype.name for column in batch] == [
            "uint8",
            "int32",
            "int64",
            "int64",
            "int32",
            "int32",
            "int32",
        ]
        assert not any(column.flags.writeable for column in batch)
        assert all(column.flags.c_contiguous for column in batch)
    assert [column.tolist() for column in batches[0][3:]] == [[0], [0], [-1], [-1]]


def test_a_column_that_says_nothing_is_absent() -> None:
    plain = [{"op": "alloc", "id": 1, "size": 8, "stream": 0}, {"op": "free", "id": 1, "stream": 0}]
    said = [{**plain[0], "stream": 3}, plain[1]]
    assert [next(trace.from_events(rows).batches()).stream.size for rows in (plain, said)] == [1, 2]
    assert trace.from_events(plain).columns == ("op", "id", "size", "stream")


@pytest.fixture
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files of many batches without a million events."""
    for module in (store, preparing, files, writing):
        monkeypatch.setattr(module, "BATCH_ROWS", 128)


def test_beyond_the_limit_columns_go_to_a_file_and_come_back(small_batches: None, tmp_path: Path) -> None:
    inside, given_ids = long_trace(1000, 50, keep_ids=True)
    trace.write(inside, tmp_path / "t.parquet")
    outside = reading.read(tmp_path / "t.parquet", memory_limit=5000, keep_ids=True)
    assert isinstance(outside.prepared, store.File)
    assert whole(outside, 100) == whole(inside, 100)
    assert max(batch.op.size for batch in outside.batches(100)) == 100
    asked = np.array([999, 0, 500, 127, 128, 500])
    for read in (inside, outside):
        assert read.times(asked).tolist() == (asked * 10).tolist()
    assert inside.ids(asked).tolist() == given_ids[asked].tolist()
    assert not any(column.flags.writeable for batch in outside.batches() for column in batch)


def test_the_file_goes_when_the_trace_goes(tmp_path: Path) -> None:
    made, _ = long_trace(1000, 50)
    trace.write(made, tmp_path / "t.parquet")
    outside = reading.read(tmp_path / "t.parquet", memory_limit=1)
    sent = pickle.loads(pickle.dumps(outside))
    assert isinstance(sent.prepared, store.File)
    path = sent.prepared.path
    assert whole(sent) == whole(made)
    del sent
    gc.collect()
    assert path.exists()  # it was the other's
    del outside
    gc.collect()
    assert not path.exists()


def test_a_pickle_holds_the_same_trace(small_batches: None) -> None:
    made, _ = long_trace(1000, 50)
    sent = pickle.loads(pickle.dumps(made))
    assert whole(sent) == whole(made)
    assert not any(column.flags.writeable for batch in sent.batches() for column in batch)


def test_a_shared_trace_travels_as_a_path(small_batches: None, tmp_path: Path) -> None:
    made, given_ids = long_trace(1000, 50, keep_ids=True)
    trace.write(made, tmp_path / "t.parquet")
    shared = made.share(tmp_path / "pool")
    spilled = reading.read(tmp_path / "t.parquet", memory_limit=1).share(tmp_path / "pool")
    assert len({item.name for item in (tmp_path / "pool").iterdir()}) == 2
    for read in (shared, spilled):
        sent = pickle.dumps(read)
        assert len(sent) < 60_000  # mostly the 64 x 64 counts
        assert whole(pickle.loads(sent)) == whole(made)
        assert read.share(tmp_path / "pool") is not read
    assert shared.ids(np.arange(1000)).tolist() == given_ids.tolist()
    del spilled, shared, read
    gc.collect()
    assert len(list((tmp_path / "pool").iterdir())) == 2  # they belong to whoever made the folder


def test_times_without_a_column_are_event_numbers() -> None:
    read = trace.from_events([("alloc", 1, 8), ("free", 1)])
    assert read.times(np.array([1, 0])).tolist() == [1, 0]
    assert (read.facts.first_time, read.facts.last_time) == (0, 1)
    with pytest.raises(ValueError, match="keep_ids=True"):
        read.ids(np.array([0]))


def test_a_missing_time_is_that_of_the_event_before() -> None:
    read = trace.from_events([("alloc", 1, 8, None), ("free", 1, None, 7), ("alloc", 1, 8), ("free", 1, None, 9)])
    assert read.times(np.arange(4)).tolist() == [0, 7, 7, 9]
    assert (read.facts.first_time, read.facts.last_time) == (0, 9)


def test_aliases_and_special_events() -> None:
    rows = [("malloc", 1, 8), ("calloc", 2, 8), ("a", 3, 0), ("r", 3, 9), ("f", 2), ("free",), ("empty",)]
    rows += [
        ("realloc", 1, 0),
        ("record", 3),
        ("free", 3),
        ("complete", 3),
        (" Alloc ", 3, 4),
        ("complete", 3),
    ]
    read = trace.from_events(rows, keep_ids=True)
    ops = [Op(op).name.lower() for op, *_ in whole(read)]
    assert ops == [
        *("alloc", "alloc", "alloc", "realloc", "free", "free", "trim"),
        *("free", "record", "free", "complete", "alloc", "complete"),
    ]
    assert [block for _, block, *_ in whole(read)] == [0, 1, 2, 2, 1, -1, -1, 0, 2, 2, 2, 2, 2]
    assert (read.facts.null_frees, read.facts.frees) == (1, 4)
    assert read.ids(np.array([0, 5, 6, 10])).tolist() == [1, MISSING, MISSING, 3]


def test_a_freed_block_that_another_stream_uses_keeps_its_slot_until_it_is_complete() -> None:
    rows = [("alloc", 1, 8), ("record", 1), ("free", 1), ("alloc", 2, 8), ("complete", 1), ("alloc", 3, 8)]
    read = trace.from_events(rows)
    assert [block for _, block, *_ in whole(read)] == [0, 0, 0, 1, 0, 0]
    assert (read.facts.max_live, read.facts.never_freed, read.facts.peak_live_bytes) == (2, 2, 16)
    with pytest.raises(InputError, match="free of id 1, which is not live"):
        trace.from_events([*rows[:3], ("free", 1)])


def test_a_complete_of_no_waiting_block_is_one_of_all() -> None:
    rows = [*(("alloc", i, 8) for i in range(4)), *(("record", i) for i in range(3)), *(("free", i) for i in range(4))]
    read = trace.from_events([*rows, ("complete",), *(("alloc", i, 8) for i in range(4, 8))])
    assert [block for _, block, *_ in whole(read)][-5:] == [-1, 0, 1, 2, 3]


def test_an_id_used_again_takes_the_slot_of_its_waiting_block() -> None:
    rows = [("alloc", 1, 8), ("record", 1), ("free", 1), ("alloc", 1, 8), ("complete", 1), ("free", 1), ("complete",)]
    read = trace.from_events([*rows, ("alloc", 2, 8), ("alloc", 3, 8)])
    assert [block for _, block, *_ in whole(read)] == [0, 0, 0, 0, 0, 0, -1, 0, 1]


def test_rows_may_be_mappings_named_tuples_or_tuples() -> None:
    from oracle import Event

    kinds: list[list[Any]] = [
        [("alloc", 1, 8, None, 16), ("free", 1)],
        [{"op": "alloc", "id": 1, "size": 8, "align": 16}, {"op": "free", "id": 1}],
        [Event("alloc", 1, 8, 16), Event("free", 1)],
    ]
    first, *others = [trace.from_events(rows) for rows in kinds]
    assert first.columns == ("op", "id", "size", "align")
    for other in others:
        assert whole(other) == whole(first)
        assert other.sha256 == first.sha256


def test_an_error_in_python_rows_names_the_row() -> None:
    with pytest.raises(InputError, match=r"^mine: row 2: free of id 2, which is not live \(never allocated\)"):
        trace.from_events([("alloc", 1, 8), ("free", 2)], name="mine")
    with pytest.raises(InputError, match="unknown op 'nop'"):
        trace.from_events([("nop", 1, 8)])
    with pytest.raises(InputError, match="events have no column 'sise'"):
        trace.from_events([{"op": "alloc", "id": 1, "sise": 8}])
    with pytest.raises(InputError, match=r"row 1: column 'size': 1\.5 is no whole number"):
        trace.from_events([("alloc", 1, 1.5)])
    with pytest.raises(InputError, match=r"row 2: column 'size': 2361183241434822606848 is no whole number"):
        trace.from_events([("alloc", 1, 8), ("alloc", 2, 1 << 71)])
    with pytest.raises(UsageError, match="the same length"):
        trace.from_columns([0, 0], [1], [8, 8])
    with pytest.raises(UsageError, match="unknown column 'strem'; did you mean 'stream'"):
        trace.from_columns([0], [1], [8], strem=[1])


def test_what_pandas_makes_of_missing_numbers_is_read() -> None:
    rows = [("alloc", 1.0, 8.0, float("nan")), ("free", np.int64(1), float("nan"))]
    assert [row[:3] for row in whole(trace.from_events(rows))] == [[0, 0, 8], [1, 0, 0]]


def test_nothing_is_a_trace_too_if_it_is_made_so() -> None:
    read = trace.from_events([])
    assert (read.facts.events, read.facts.max_live, read.facts.median_request) == (0, 0, 0)
    assert [batch.op.size for batch in read.batches()] == []


def test_a_frame_shows_what_the_trace_says() -> None:
    rows = [
        ("alloc", 1, 8, 5, 64, 2, None, "weights"),
        ("copy", 1, None, 6, None, 2, 1),
        ("trim", None, None, 9),
    ]
    frame = trace.from_events(rows).to_pandas()
    assert list(frame.columns) == ["op", "time", "block", "size", "align", "stream", "dst", "tag"]
    assert frame["op"].tolist() == ["alloc", "copy", "trim"]
    assert frame["time"].tolist() == [5, 6, 9]
    assert frame["dst"].tolist() == [-1, 0, -1]
    assert frame["tag"].isna().tolist() == [False, True, True]
    assert len(trace.from_events([]).to_pandas()) == 0


def test_the_codes_are_those_of_the_engine() -> None:
    from memtrace.contract import ops

    assert all(getattr(ops, op.name) == op for op in Op)
    assert Events._fields == ("op", "block", "size", "align", "stream", "dst", "tag")
