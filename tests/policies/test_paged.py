"""Paged equals lists of page numbers in every figure and every page; what is lost is less than a page per block."""

from __future__ import annotations

import os
import random
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from comparison import replayed
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from oracle import Event
from oracle_paged import Paged
from oracle_space import UNBOUNDED, Options
from spaces import drive, twice_the_same, unlike
from strategies import event_lists, random_events

import memtrace
from memtrace.engine.recorder import ROW
from memtrace.engine.replay import Placement
from memtrace.trace import from_events
from memtrace.validation.placements import validate
from memtrace.validation.policies import check_policy

SEEDS = int(os.environ.get("MEMTRACE_SEEDS", "60"))
OPTIONS: dict[str, tuple[Any, ...]] = {
    "page": (1, 16, 64, 100, 1000, 4096),
    "initial": (0, 1, 500, 4096),
    "chunk": (1, 100, 2000),
    "realloc": ("inplace", "move"),
    "zero": ("block", "null"),
    "trim": (False, True),
    "swap": ("scratch", "inplace"),
    "order": ("head", "tail"),
    "skip": (0, 1, 3),
}


def options_from(dice: random.Random) -> dict[str, Any]:
    return {name: dice.choice(values) for name, values in OPTIONS.items() if name == "page" or dice.random() < 0.6}


def compare(events: list[Event], capacity: int | None, on_oom: str, options: dict[str, Any], batch_rows: int) -> None:
    placement = replayed("paged", events, capacity, on_oom, options, batch_rows)
    own = {name: value for name, value in options.items() if name in ("page", "order", "skip")}
    common = {name: value for name, value in options.items() if name not in own}
    space = Paged(Options(**common), UNBOUNDED if capacity is None else capacity, **own)
    pages: list[int] = []

    def note(event: Event, address: int | None) -> None:
        if event.op in ("alloc", "realloc") and address is not None:
            pages.extend(number * space.page for number in space.tables[address])

    outcome = drive(space, events, on_oom, note)
    assert unlike(placement, outcome) == {}
    assert placement.places is not None and placement.places[:, 2].tolist() == pages
    assert validate(placement) is None


def test_seeded_traces() -> None:
    for seed in range(SEEDS):
        dice = random.Random(seed)
        options = options_from(dice)
        capacity = dice.choice([None, None, 5000, 20000, 100000])
        floor = max(-(-options.get("initial", 0) // options["page"]), options.get("skip", 0))
        if capacity is not None and floor > capacity // options["page"]:
            continue
        events = random_events(seed, 300, aligned_percent=15)
        compare(events, capacity, dice.choice(["stop", "skip"]), options, dice.choice([7, 1 << 20]))


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(event_lists(), st.sampled_from((1, 16, 100, 1000)), st.none() | st.integers(0, 3000), st.booleans())
def test_searched_for_counterexamples(events: list[Event], page: int, capacity: int | None, trim: bool) -> None:
    compare(events, capacity, "skip", {"page": page, "trim": trim}, 5)


def test_compiled_equals_interpreted_and_pieces_the_whole() -> None:
    for seed in range(8):
        options = options_from(random.Random(seed)) | {"initial": 0}
        twice_the_same("paged", (random_events(seed, 120), (None, 6000)[seed % 2], "skip", options))


@pytest.mark.parametrize("page", [48, 4096, 65536])
def test_less_than_a_page_is_lost_per_block(page: int) -> None:
    dice = random.Random(page)
    rows: list[tuple[Any, ...]] = []
    live: list[int] = []
    blocks = []
    for event in range(3000):
        if live and dice.random() < 0.45:
            rows.append(("free", live.pop(dice.randrange(len(live)))))
        else:
            live.append(event)
            rows.append(("alloc", event, dice.randrange(1, 5 * page)))
        blocks.append(len(live))
    row = memtrace.measure(placed := memtrace.replay(from_events(rows), f"paged:page={page}", samples=1 << 62))
    at = dict(zip(ROW, placed.recorder.samples.T, strict=True))
    lost = at["allocated"] - at["live"]
    assert ((lost >= 0) & (lost <= (page - 1) * np.array(blocks))).all()
    assert 0.45 * page < (lost[-1] / blocks[-1]) < 0.55 * page  # sizes are uniform: half a page
    assert row["external_frag_max"] == row["squares_frag_mean"] == row["unusable_p99_at_peak"] == 0.0
    assert row["holes_max"] == 1 and row["fit_ratio_mean"] is None
    assert row["peak_reserved_bytes"] == row["peak_allocated_bytes"]


def test_all_free_bytes_serve_one_request_however_they_lie() -> None:
    rows: list[tuple[Any, ...]] = [("alloc", i, 100) for i in range(64)]
    rows += [("free", i) for i in range(0, 64, 2)] + [("alloc", 99, 3200)]
    kept = memtrace.replay(from_events(rows), "paged:page=100", 6400, keep=True)
    assert kept.status == "ok" and validate(kept) is None
    assert memtrace.replay(from_events(rows), "best-fit:align=4,min_block=4", 6400).status == "oom"


def test_it_is_sound() -> None:
    for spec in ("paged:page=100", "paged:page=16,trim=true,chunk=64,initial=80"):
        report = check_policy(spec, traces=5)
        assert report.ok, report.text()


def spoilt(placement: Placement, row: int, column: int, change: int) -> Placement:
    assert placement.places is not None
    places = placement.places.copy()
    places[row, column] += change
    return replace(placement, places=places)


def test_the_validator_looks_at_pages() -> None:
    trace = from_events([("alloc", 1, 250), ("alloc", 2, 150), ("free", 1), ("alloc", 3, 120), ("realloc", 3, 400)])
    placement = memtrace.replay(trace, "paged:page=100", 10_000, keep=True)
    assert placement.places is not None
    assert placement.places[:, 2].tolist() == [0, 100, 200, 300, 400, 0, 100, 0, 100, 500, 200]
    assert validate(placement) is None
    for change, kind in (((4, 2, -100), "overlap"), ((4, 2, 1_000_000), "beyond"), ((2, 3, -51), "short")):
        offence = validate(spoilt(placement, *change))
        assert offence is not None and offence.kind == kind
    assert placement.reserved is not None
    lessened = placement.reserved - np.array([0, 0, 0, 0, 1])
    offence = validate(replace(placement, reserved=lessened))
    assert offence is not None and (offence.event, offence.kind) == (4, "outside")
    offence = validate(replace(placement, places=placement.places[3:]))
    assert offence is not None and (offence.event, offence.kind) == (0, "short")
