"""What a trace need not hold: lists of live bytes per event, worked out from whole lifetimes, and examples by hand."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest
from conftest import Run
from hypothesis import given, settings
from hypothesis import strategies as st

from memtrace.questions.reuse import plan
from memtrace.trace import Trace, from_events

Row = tuple[str, int, int | None, int | None]  # op, id, size, dst


def rows_of(seed: int, n: int, accesses: bool) -> list[Row]:
    dice, live, made = random.Random(seed), [], 0
    rows: list[Row] = []
    for _ in range(n):
        op = dice.choice(("alloc", "alloc", "free", "free", "realloc", "copy", *(("access",) * 2 if accesses else ())))
        if not live or op == "alloc" or (op == "copy" and len(live) < 2):
            live.append(made)
            rows.append(("alloc", made, dice.choice((0, 5, 10, 20, 20, 30)), None))
            made += 1
            continue
        id = dice.choice(live)
        if op == "free":
            live.remove(id)
        other = dice.choice([one for one in live if one != id]) if op == "copy" else None
        rows.append((op, id, dice.randint(1, 40) if op == "realloc" else None, other))
    return rows


def trace_of(rows: list[Row], tags: bool = True) -> Trace:
    return from_events(
        [
            {"op": op, "id": id, "size": size, "dst": dst, "tag": f"t{id % 3}" if op == "alloc" and tags else None}
            for op, id, size, dst in rows
        ]
    )


def live_after(rows: list[Row]) -> list[int]:
    """Live bytes after each event."""
    sizes: dict[int, int] = {}
    found = []
    for op, id, size, _ in rows:
        if op in ("alloc", "realloc"):
            sizes[id] = size or 0
        if op == "free":
            del sizes[id]
        found.append(sum(sizes.values()))
    return found


def in_place_peak(rows: list[Row], window: int) -> tuple[int, int]:
    """Pairs, and the peak that is left: for each free the largest block, the earliest of equals, that fits and is there."""
    live = live_after(rows)
    taken: set[int] = set()
    for end, (op, id, _, _) in enumerate(rows):
        if op != "free":
            continue
        size_of = [size for o, i, size, _ in rows[:end] if i == id and o in ("alloc", "realloc")][-1] or 0
        born = next(e for e, row in enumerate(rows) if row[:2] == ("alloc", id))
        best = None
        for start in range(max(end - window, born + 1), end):
            op, other, size, _ = rows[start]
            gone = any(i == other and o in ("free", "realloc") for o, i, _, _ in rows[start:end])
            if (
                op == "alloc"
                and not gone
                and other not in taken
                and size
                and size <= size_of
                and (best is None or size > rows[best][2])
            ):  # type: ignore[operator]
                best = start
        if best is not None:
            taken.add(rows[best][1])
            for event in range(best, end):
                live[event] -= rows[best][2] or 0
    return len(taken), max(live, default=0)


def idle_peaks(rows: list[Row], least: int) -> dict[bool, tuple[int, int]]:
    """Late or not -> blocks that lie idle over the peak, and the peak without them."""
    live = live_after(rows)
    peak = live.index(max(live))
    accesses = any(row[0] == "access" for row in rows)
    found = {}
    for late in (False, True):
        left, count = list(live), 0
        for id in {row[1] for row in rows}:
            mine = [(e, op) for e, (op, i, _, other) in enumerate(rows) if id in (i, other)]
            uses = [e for e, op in mine if op != "free" or not accesses]
            ends = [e for e, op in mine if op == "free"]
            before, after = [e for e in uses if e <= peak], [e for e in uses if e > peak]
            if not before or (ends and ends[0] <= peak):
                continue
            if bool(after) == late or (late and not ends):
                continue
            until = ends[0] if late else after[0]
            size = [size for e, (o, i, size, _) in enumerate(rows) if i == id and e <= peak and o in ("alloc", "realloc")][
                -1
            ] or 0
            if size and until - before[-1] > least and before[-1] < peak:
                count += 1
                for event in range(before[-1] + 1, until):
                    left[event] -= size
        found[late] = (count, max(left))
    return found


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 90), st.integers(1, 6), st.integers(1, 12), st.booleans())
def test_as_the_twin(seed: int, n: int, window: int, least: int, accesses: bool) -> None:
    rows = rows_of(seed, n, accesses)
    found = plan(trace_of(rows), window, least)
    pairs, peak = in_place_peak(rows, window)
    assert (sum(tag.blocks for tag in found.in_place.tags), found.in_place.peak_live_bytes) == (pairs, peak)
    idle = idle_peaks(rows, least)
    for late, kind in ((False, found.recompute), (True, found.free_early)):
        assert (sum(tag.blocks for tag in kind.tags), kind.peak_live_bytes) == idle[late]


def test_a_chain_by_hand() -> None:
    """Each layer's output takes the place of its input: of 3 blocks of 10, never more than one and the first are held."""
    rows: list[Row] = [
        ("alloc", 1, 10, None),
        ("alloc", 2, 10, None),
        ("free", 1, None, None),
        ("alloc", 3, 10, None),
        ("free", 2, None, None),
    ]
    found = plan(trace_of(rows))
    assert (found.peak_live_bytes, found.peak_live_event, found.in_place.peak_live_bytes) == (20, 1, 10)
    assert [(tag.tag, tag.blocks, tag.bytes, tag.peak_bytes) for tag in found.in_place.tags] == [
        ("t2", 1, 10, 10),
        ("t0", 1, 10, 0),
    ]


def test_a_block_larger_than_what_is_freed_does_not_fit() -> None:
    rows: list[Row] = [("alloc", 1, 10, None), ("alloc", 2, 11, None), ("free", 1, None, None)]
    assert plan(trace_of(rows)).in_place.tags == ()


def test_other_streams_do_not_share() -> None:
    rows = [("alloc", 1, 8, None, None, 1), ("alloc", 2, 8, None, None, 2), ("free", 1)]
    assert plan(from_events(rows)).in_place.tags == ()


def test_the_cost_of_recomputing_is_the_step_that_made_the_block() -> None:
    rows: list[Any] = [("alloc", 1, 100, 0), ("alloc", 2, 50, 7), ("free", 2, None, 20), ("free", 1, None, 60)]
    found = plan(from_events(rows), least_idle=1).recompute
    assert (found.peak_live_bytes, found.rebuilt_bytes, found.rebuilt_ns) == (100, 100, 7)


def test_batches_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = rows_of(8, 500, True)
    trace = trace_of(rows)
    whole = plan(trace, 3, 5)
    batches = Trace.batches
    monkeypatch.setattr(Trace, "batches", lambda self: batches(self, 13))
    assert plan(trace, 3, 5) == whole


def test_tags_are_added_up_by_kind(memtrace: Run, tmp_path: Any) -> None:
    kinds = ("weight", "state")
    allocs = "".join(f"alloc,{i},{10 + i},{kinds[i % 2]} {i}\n" for i in range(12))
    (tmp_path / "t.csv").write_text("op,id,size,tag\n" + allocs + "".join(f"free,{i},,\n" for i in range(12)))
    plain, grouped = (
        json.loads(memtrace("reuse", "t.csv", "--idle", "1", *options, "--json").stdout)["recompute"]["tags"]
        for options in ((), ("--tags", "kind"))
    )
    assert len(plain) > 2 and [row["tag"] for row in grouped] == ["weight", "state"]
    for row in grouped:
        parts = [share for share in plain if share["tag"].startswith(row["tag"])]
        assert all(row[name] == sum(share[name] for share in parts) for name in ("blocks", "bytes", "peak_bytes"))
    assert "state 11 " not in memtrace("reuse", "t.csv", "--idle", "1").stdout
    assert "state 9 " in memtrace("reuse", "t.csv", "--idle", "1", "--tags", "name").stdout
    kept = json.loads(memtrace("reuse", "t.csv", "--idle", "1", "--keep", "weight", "--json").stdout)["recompute"]["tags"]
    assert kept and all(row["tag"].startswith("state") for row in kept)


def test_the_command(memtrace: Run, small_trace: Any) -> None:
    done = memtrace("reuse", small_trace, "--json")
    assert json.loads(done.stdout)["peak_live_bytes"] == 150
    assert memtrace("reuse", small_trace, "--keep", "weight").returncode == 2
    text = memtrace("reuse", small_trace).stdout
    assert "in place" in text and max(map(len, text.splitlines())) <= 80
