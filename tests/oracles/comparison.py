"""One seeded random case through the oracle and through a policy: every figure that both know, side by side."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

from oracle import Event, Outcome, simulate
from strategies import random_events, random_options

from memtrace.contract import ledger as led
from memtrace.engine import recorder as rec
from memtrace.engine.replay import Placement, replay
from memtrace.trace import from_events

TEXTBOOK = {
    "header": 8,
    "align": 8,
    "min_block": 16,
    "base": 16,
    "initial": 4096,
    "chunk": 4096,
    "extend": "full",
    "realloc": "move",
    "zero": "null",
}


def spec(policy: str, options: dict[str, Any]) -> str:
    """The policy and its options as one writes them."""
    words = [f"{name}={str(value).lower() if isinstance(value, bool) else value}" for name, value in options.items()]
    return f"{policy}:{','.join(words)}" if words else policy


def random_case(policy: str, seed: int, events: int = 300) -> tuple[list[Event], int | None, str, dict[str, Any], int]:
    """Events, capacity, on_oom, options and batch rows: with the policy's defaults, random options, or the textbook's."""
    chance = random.Random(seed)
    rows = random_events(seed, events, aligned_percent=chance.choice([0, 0, 15, 50]), max_live=chance.choice([5, 20, 60]))
    options = ({}, random_options(seed), random_options(seed), TEXTBOOK if policy not in ("bump", "buddy") else {})[seed % 4]
    capacity = chance.choice([None, None, 4000, 8000, 20000, 100000])
    if capacity is not None:
        capacity = max(capacity, options.get("base", 0) + options.get("initial", 0))
    return rows, capacity, chance.choice(["stop", "skip"]), options, chance.choice([7, 1 << 20])


def replayed(
    policy: str,
    events: Sequence[Event],
    capacity: int | None,
    on_oom: Any,
    options: dict[str, Any],
    batch_rows: int = 1 << 20,
    interpret: bool = False,
) -> Placement:
    trace = from_events([{k: v for k, v in event._asdict().items() if v is not None} for event in events])
    return replay(
        trace,
        spec(policy, options),
        capacity,
        on_oom=on_oom,
        samples=1 << 62,
        keep=True,
        batch_rows=batch_rows,
        interpret=interpret,
    )


def expected(
    policy: str, events: Sequence[Event], capacity: int | None, on_oom: str, options: dict[str, Any], placement: Placement
) -> dict[str, Any]:
    """What the oracle says, in the form of ``found``."""
    out = simulate(policy, events, capacity, on_oom, **options)
    facts = placement.trace.facts
    return {**oracle_states(out, facts.median_request, facts.p99_request), **oracle_counts(out)}


def oracle_states(out: Outcome, median: int, p99: int) -> dict[str, Any]:
    rows = []
    for event, holes in enumerate(out.holes):
        sizes = [end - start for start, end in holes]
        rows.append(
            (
                (event, out.live[event], out.allocated[event], out.reserved[event]),
                (sum(sizes), len(sizes), max(sizes, default=0), sum(size * size for size in sizes)),
                (sum(size for size in sizes if size < median), sum(size for size in sizes if size < p99)),
            )
        )
    return {"addresses": out.addresses, "states": rows}


def oracle_counts(out: Outcome) -> dict[str, Any]:
    searches = [length for length in out.searches if length is not None]
    names = ("splits", "merges", "moved_bytes", "reserve_calls", "release_calls", "failed_allocs", "skipped_events")
    return {
        "searches": (len(searches), sum(searches), max(searches, default=0)),
        "fits": (len(out.fits), round(sum(out.fit_ratios), 6)),
        "status": (out.status, out.oom_event),
        **{name: getattr(out, name) for name in names},
    }


def found(placement: Placement) -> dict[str, Any]:
    totals, ledger = placement.recorder.totals, placement.ledger
    assert placement.addresses is not None
    states = []
    for row in placement.recorder.samples[: placement.events].tolist():
        at = dict(zip(rec.ROW, row, strict=True))
        states.append(
            (
                (at["event"], at["live"], at["allocated"], at["reserved"]),
                (at["free"], at["holes"], at["largest"], at["squares_high"] * led.SQUARE_UNIT + at["squares"]),
                (at["below_median"], at["below_p99"]),
            )
        )
    return {
        "addresses": [None if address < 0 else address for address in placement.addresses.tolist()],
        "states": states,
        "searches": tuple(totals[[rec.REQUESTS, rec.SEARCH_SUM, rec.SEARCH_MAX]].tolist()),
        "fits": (int(totals[rec.FITS]), round(float(placement.recorder.sums[rec.FIT_RATIO]), 6)),
        "status": (placement.status, placement.oom_event),
        "splits": int(ledger[led.SPLITS]),
        "merges": int(ledger[led.MERGES]),
        "moved_bytes": int(totals[rec.MOVED] + ledger[led.MOVED]),
        "reserve_calls": int(ledger[led.RESERVE_CALLS]),
        "release_calls": int(ledger[led.RELEASE_CALLS]),
        "failed_allocs": int(totals[rec.FAILED]),
        "skipped_events": int(totals[rec.SKIPPED]),
    }


def differences(policy: str, case: Any, interpret: bool = False) -> dict[str, tuple[Any, Any]]:
    """Figure -> what was found and what was expected, where they differ."""
    events, capacity, on_oom, options, batch_rows = case
    placement = replayed(policy, events, capacity, on_oom, options, batch_rows, interpret)
    have, want = found(placement), expected(policy, events, capacity, on_oom, options, placement)
    return {name: (have[name], want[name]) for name in want if have[name] != want[name]}
