"""Stitch equals lists of byte ranges, in every figure and every piece; no large request fails while enough memory is idle."""

from __future__ import annotations

import os
import random
from typing import Any

from comparison import replayed
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from oracle import Event
from oracle_space import UNBOUNDED
from oracle_stitch import PAGE, Stitch
from spaces import drive, twice_the_same, unlike
from strategies import event_lists, random_events

import memtrace
from memtrace.policies.stitch import COUNTERS
from memtrace.structures.stitching import EXACT_REQUESTS
from memtrace.trace import from_events
from memtrace.validation.placements import validate
from memtrace.validation.policies import check_policy

SEEDS = int(os.environ.get("MEMTRACE_SEEDS", "60"))
OWN_SCALE_NOTE = (1, 2000, 20_000, 300_000)
ROOM = (None, PAGE - 1, 3 * PAGE, 20 * PAGE + 5, 100 * PAGE, 1 << 34)


def scaled(events: list[Event], scale: int) -> list[Event]:
    return [event._replace(size=None if event.size is None else event.size * scale, align=None) for event in events]


def compare(events: list[Event], capacity: int | None, on_oom: str, stitched: int, batch_rows: int) -> None:
    placement = replayed("stitch", events, capacity, on_oom, {"stitched": stitched}, batch_rows)
    space = Stitch(UNBOUNDED if capacity is None else capacity, stitched)
    pieces: list[tuple[int, int]] = []

    def note(event: Event, address: int | None) -> None:
        if event.op in ("alloc", "realloc") and address is not None:
            pieces.extend((start, end - start) for start, end in space.tables[address])

    outcome = drive(space, events, on_oom, note)
    assert unlike(placement, outcome) == {}
    assert placement.places is not None and [tuple(row) for row in placement.places[:, 2:].tolist()] == pieces
    served = placement.state.pool[EXACT_REQUESTS : EXACT_REQUESTS + 4].tolist()
    assert served == [space.served.count(how) for how in COUNTERS[:4]]
    assert validate(placement) is None


def test_seeded_traces() -> None:
    for seed in range(SEEDS):
        dice = random.Random(seed)
        events = scaled(random_events(seed, 300, max_live=dice.choice([3, 20, 60])), dice.choice(OWN_SCALE_NOTE))
        compare(
            events,
            dice.choice(ROOM),
            dice.choice(["stop", "skip", "skip"]),
            dice.choice([1, 2, 8, 1024]),
            dice.choice([7, 1 << 20]),
        )


def phases(seed: int) -> list[Event]:
    """A program that repeats itself, with a size of its own now and then."""
    dice = random.Random(seed)
    sizes = [dice.randrange(1, 40) * PAGE for _ in range(8)]
    events, number = [], 0
    for _ in range(25):
        live = []
        for size in sizes:
            live.append(number)
            events.append(Event("alloc", number, dice.randrange(1, 40) * PAGE if dice.random() < 0.1 else size))
            number += 1
        dice.shuffle(live)
        events += [Event("free", block) for block in live if dice.random() < 0.97]
    return events


def test_programs_that_repeat_themselves() -> None:
    for seed in range(SEEDS // 10):
        for stitched in (1, 5, 1024):
            compare(phases(seed), None, "skip", stitched, 1 << 20)


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(event_lists(), st.sampled_from(OWN_SCALE_NOTE), st.none() | st.integers(0, 40 * PAGE), st.integers(1, 4))
def test_searched_for_counterexamples(events: list[Event], scale: int, capacity: int | None, stitched: int) -> None:
    compare(scaled(events, scale), capacity, "skip", stitched, 5)


def test_compiled_equals_interpreted_and_pieces_the_whole() -> None:
    for seed in range(4):
        events = scaled(random_events(seed, 120), OWN_SCALE_NOTE[seed])
        twice_the_same("stitch", (events, (None, 20 * PAGE)[seed % 2], "skip", {"stitched": 1 + seed}))


def test_no_request_of_pages_fails_while_as_much_is_idle() -> None:
    dice = random.Random(1)
    rows: list[tuple[Any, ...]] = []
    live: dict[int, int] = {}
    for block in range(3000):
        size = dice.randrange(1, 30)
        while live and (sum(live.values()) + size > 100 or dice.random() < 0.3):
            gone = dice.choice(list(live))
            del live[gone]
            rows.append(("free", gone))
        live[block] = size
        rows.append(("alloc", block, size * PAGE))
    placed = memtrace.replay(from_events(rows), "stitch", 100 * PAGE)
    assert placed.status == "ok"
    assert memtrace.replay(from_events(rows), "best-fit", 100 * PAGE).status == "oom"


def test_the_four_ways_by_hand() -> None:
    rows = [("alloc", 1, 4 * PAGE), ("alloc", 2, PAGE), ("alloc", 3, 3 * PAGE), ("free", 1), ("free", 3)]  # grown, three times
    rows += [("alloc", 4, 3 * PAGE), ("free", 4)]  # exact
    rows += [("alloc", 5, 2 * PAGE), ("free", 5)]  # single: of the three, one is left
    rows += [("alloc", 6, 6 * PAGE), ("free", 6)]  # stitched: four and two
    rows += [("alloc", 7, 8 * PAGE), ("free", 7)]  # grown: one page is new
    rows += [("alloc", 8, 6 * PAGE), ("free", 8), ("alloc", 9, 3 * PAGE)]  # exact, both: stitched blocks from before
    placed = memtrace.replay(from_events(rows), "stitch", keep=True)
    assert placed.places is not None
    found = [(event, start // PAGE, size // PAGE) for event, _, start, size in placed.places.tolist()]
    assert found == [
        *[(0, 0, 4), (1, 4, 1), (2, 5, 3)],
        *[(5, 5, 3), (7, 5, 2)],
        *[(9, 0, 4), (9, 5, 2)],
        *[(11, 0, 4), (11, 5, 2), (11, 7, 1), (11, 8, 1)],
        *[(13, 0, 4), (13, 5, 2), (15, 5, 3)],
    ]
    assert placed.state.pool[EXACT_REQUESTS : EXACT_REQUESTS + 4].tolist() == [3, 1, 1, 4]


def test_it_is_sound() -> None:
    for spec in ("stitch", "stitch:stitched=1"):
        report = check_policy(spec, traces=5)
        assert report.ok, report.text()
