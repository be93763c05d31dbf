"""Lock conflicts in the model: a twin that looks through everything, an example by hand, and what does not matter."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from conftest import Run
from hypothesis import given, settings
from hypothesis import strategies as st
from oracle_contention import Operation
from oracle_contention import contend as slowly

from memtrace.engine.replay import replay
from memtrace.errors import InputError
from memtrace.questions.contention import Timing, compare, contend
from memtrace.trace import Trace, from_events

TIMING = Timing(7, 5, 11, 2, 3)
HOLD = {"alloc": 7, "free": 5, "realloc": 11}


def operations(seed: int, n: int, threads: int, spread: int) -> list[Operation]:
    dice, live, time, made = random.Random(seed), [], 0, 0
    found: list[Operation] = []
    for _ in range(n):
        time += dice.choice((0, 0, 1, spread))
        thread = dice.randrange(threads)
        op = dice.choice(("alloc", "alloc", "free", "realloc")) if live else "alloc"
        if op == "alloc":
            live.append(made)
            made += 1
        id = live[-1] if op == "alloc" else dice.choice(live)
        if op == "free":
            live.remove(id)
        found.append((op, id, dice.choice((1, 16, 17, 100, 1024, 1025)), time, thread))
    return found


def trace_of(found: list[Operation]) -> Trace:
    return from_events([(op, id, None if op == "free" else size, time, None, thread) for op, id, size, time, thread in found])


@settings(max_examples=80, deadline=None)
@given(st.integers(0, 10**6), st.integers(30, 120), st.integers(2, 5), st.integers(1, 40), st.integers(1, 4), st.integers(0, 3))
def test_as_the_twin(seed: int, n: int, threads: int, spread: int, arenas: int, room: int) -> None:
    found = operations(seed, n, threads, spread)
    trace = trace_of(found)
    if len({o[4] for o in found}) < 2 or not any(o[0] == "free" and o[4] for o in found):
        return
    fast = contend(trace, arenas, TIMING, room, batch_rows=17)
    slow = slowly(found, arenas, HOLD, 2, room)
    assert {name: getattr(fast, name) for name in slow} == slow
    assert sum(lock[1] for lock in fast.locks) == fast.conflicts and sum(lock[2] for lock in fast.locks) == fast.waited_ns


def test_a_long_backlog_as_the_twin() -> None:
    found = [(op, id, size, 0, thread) for op, id, size, _, thread in operations(3, 1500, 4, 1)]
    fast, slow = contend(trace_of(found), 2, TIMING), slowly(found, 2, HOLD, 2, 0)
    assert {name: getattr(fast, name) for name in slow} == slow


def test_an_example_by_hand() -> None:
    """One lock, 100 ns per alloc and 50 per free. Thread 1 arrives at 0; thread 2 at 40 waits 60, and has the lock up to 200;

    thread 1 is there again at 120 and waits 80, up to 250; thread 2's free at 300 finds nobody.
    """
    rows = [
        ("alloc", 1, 8, 0, None, 1),
        ("alloc", 2, 8, 40, None, 2),
        ("free", 1, None, 120, None, 1),
        ("free", 2, None, 300, None, 2),
    ]
    one = contend(from_events(rows), 1, Timing())
    assert (one.lock_operations, one.conflicts, one.waited_ns, one.longest_wait_ns, one.end_ns) == (4, 2, 140, 80, 350)
    two = contend(from_events(rows), 2, Timing())
    assert (two.conflicts, two.waited_ns, two.end_ns) == (0, 0, 350)


def test_a_free_by_another_thread_takes_the_owners_lock() -> None:
    rows = [("alloc", 1, 8, 0, None, 0), ("alloc", 2, 8, 200, None, 0), ("free", 1, None, 210, None, 1)]
    found = contend(from_events(rows), 2, Timing())
    assert (found.foreign_frees, found.conflicts, found.waited_ns, found.locks) == (1, 1, 90, ((3, 1, 90), (0, 0, 0)))


def test_without_times_events_come_a_gap_apart() -> None:
    rows = [("alloc", 1, 8, None, None, 1), ("alloc", 2, 8, None, None, 2), ("free", 1, None, None, None, 1)]
    assert contend(from_events(rows), 1, Timing(gap=100)).conflicts == 0
    assert contend(from_events(rows), 1, Timing(gap=60)).waited_ns == 40 + 80


def test_frees_without_threads_are_by_the_owner() -> None:
    rows = [("alloc", 1, 8, 0, None, 1), ("alloc", 2, 8, 0, None, 2), ("free", 1), ("free", 2)]
    rows[2:] = [("free", 1, None, 900, None, None), ("free", 2, None, 900, None, None)]
    assert contend(from_events(rows), 2, Timing()).foreign_frees == 0


def test_one_thread_is_refused() -> None:
    with pytest.raises(InputError, match="has no column stream, so nothing can conflict"):
        contend(from_events([("alloc", 1, 8)]), 2, Timing())


def test_any_number_of_processes_gives_the_same() -> None:
    trace = trace_of(operations(11, 600, 4, 20))
    one = compare(trace, [1, 2, 3], "first-fit", TIMING, 2, 64, jobs=1)
    assert one == compare(trace, [1, 2, 3], "first-fit", TIMING, 2, 64, jobs=2)
    assert (
        one[0].blow_up == 1.0
        and one[1].peak_reserved_bytes == replay(trace, "arenas:policy=first-fit,count=2,page=64").peak_reserved_bytes
    )


def test_the_command(memtrace: Run, tmp_path: Path) -> None:
    path = tmp_path / "threads.csv"
    rows = [
        f"{op},{id},{'' if op == 'free' else size},{time},{thread}" for op, id, size, time, thread in operations(2, 300, 3, 90)
    ]
    path.write_text("\n".join(["op,id,size,time,stream", *rows]) + "\n")
    done = memtrace("contention", path, "--arenas", "1,2", "-p", "first-fit", "-o", "a.png")
    assert done.returncode == 0 and max(map(len, done.stdout.splitlines())) <= 100, done.stderr
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
    assert memtrace("contention", path, "--arenas", "0").returncode == 2
    assert memtrace("contention", path, "--hold", "1,2").returncode == 2


def test_arenas_are_those_of_the_policy() -> None:
    """Streams 2 and 4 share an arena of two, whatever their ranks are."""
    rows = [("alloc", 1, 8, 0, None, 2), ("alloc", 2, 8, 0, None, 4), ("free", 1, None, 900, None, 2)]
    assert contend(from_events(rows), 2, Timing()).conflicts == 1
