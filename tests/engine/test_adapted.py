"""Policies without a ledger: what the engine works out is what a ledger counts, and what cannot be known is null."""

from __future__ import annotations

from math import isqrt

import pytest
from naive_gaps import gaps_after
from stripped import stripped

import memtrace
from memtrace.engine.recorder import ROW
from memtrace.engine.registry import policy
from memtrace.engine.replay import replay
from memtrace.errors import PolicyError
from memtrace.measures import declared, measure
from memtrace.measures.occupancy import Contents
from memtrace.results.gather import gather
from memtrace.trace import from_events
from memtrace.validation.policies import random_trace

WORK = {"search_mean", "search_max", "fit_ratio_mean", "splits", "merges"}
BLOCKS = {"peak_allocated_bytes", "peak_allocated_event", "internal_frag_mean", "internal_frag_at_peak"}
# What has no value in a heap that grows, of a trace without times that is served to its end.
ABSENT = {"oom_event", "least_free_bytes", "least_largest_hole_bytes", "reserved_bytes_clock_mean", "unused_bytes_clock_mean"}
HEAPS = ("first-fit", "best-fit:header=8,align=8", "worst-fit:chunk=512,trim=true", "next-fit:initial=2048", "tlsf")


@pytest.mark.parametrize("text", HEAPS)
def test_a_policy_without_a_ledger_has_the_measures_of_the_same_policy_with_one(text: str) -> None:
    """Holes of these policies are maximal free ranges, so the engine's account is that of the ledger, sizes and all."""
    trace = random_trace(7, 250)
    known, found = (replay(trace, each, interpret=True, samples=50) for each in (text, stripped(text)))
    expected, row = measure(known), measure(found)
    unknown = {name for name, value in row.items() if value is None and expected[name] is not None}
    assert unknown <= WORK and all(row[name] is None for name in WORK)
    for name in set(row) - WORK:
        assert row[name] == expected[name], name
    assert (found.recorder.classes == known.recorder.classes).all()


@pytest.mark.parametrize("surveys", [True, False])
@pytest.mark.parametrize("text", ["first-fit", "buddy", "segregated", "bump"])
def test_the_holes_are_those_of_a_list_of_intervals(text: str, surveys: bool) -> None:
    """After every event, beside a list of blocks that is sorted anew each time."""
    trace = random_trace(3, 150)
    found = replay(trace, stripped(text, surveys), interpret=True, samples=1 << 62, keep=True)
    column = {name: found.recorder.samples[:, i] for i, name in enumerate(ROW)}
    widths = blocks_of(text, trace) if surveys else None
    for event, gaps in enumerate(gaps_after(found, widths)):
        squares = sum(gap * gap for gap in gaps)
        assert column["squares"][event] + (int(column["squares_high"][event]) << 62) == squares
        assert column["below_median"][event] == sum(gap for gap in gaps if gap < trace.facts.median_request)
        if not surveys:
            assert column["holes"][event] == len(gaps) and column["free"][event] == sum(gaps)
            assert column["largest"][event] == max(gaps, default=0)
            assert isqrt(squares) <= max(1, sum(gaps))


def blocks_of(text: str, trace: memtrace.Trace) -> list[int]:
    """Return by how much the allocated bytes grew at each event of the policy with its ledger."""
    found = replay(trace, text, interpret=True, samples=1 << 62)
    allocated = found.recorder.samples[:, ROW.index("allocated")].tolist()
    return [now - before for before, now in zip([0, *allocated], allocated, strict=False)]


def test_without_a_survey_the_blocks_are_not_known_either() -> None:
    trace = random_trace(5, 200)
    row = measure(replay(trace, stripped("first-fit", surveys=False), interpret=True))
    assert {name for name, value in row.items() if value is None} == WORK | BLOCKS | ABSENT
    known = measure(replay(trace, "first-fit", interpret=True))
    for name in ("peak_reserved_bytes", "jw1", "jw4", "reserve_calls", "release_calls", "moved_bytes", "utilisation_at_peak"):
        assert row[name] == known[name], name


def test_of_virtual_addresses_the_holes_are_not_known_without_a_survey() -> None:
    def far(state, request):
        return inner(state, request) + (1 << 40)

    for surveys in (True, False):
        whole = stripped("bump", surveys)
        inner = vars(whole.module)["alloc"]
        given = {name: value for name, value in vars(whole.module).items() if name in ("init", "reserved", "survey", "State")}
        row = measure(replay(random_trace(5, 60), policy(**given, alloc=far, free=nothing, VIRTUAL=True), interpret=True))
        assert row["squares_frag_mean"] is None and (row["holes_max"] is None) == (not surveys)


def nothing(state, request, address):
    """Free nothing."""


def test_the_tables_have_nulls() -> None:
    trace = random_trace(5, 200)
    whole = stripped("first-fit", surveys=False)
    contents = Contents(trace, whole, 50)
    part = gather(replay(trace, whole, 4096, interpret=True, samples=50), contents)
    assert "allocated_bytes" not in part.tables["timeline"] and "holes" in part.tables["timeline"]
    assert "block_bytes" not in part.tables["requests"] and "allocated_bytes" not in part.tables["failures"]
    assert "needed_bytes" not in part.tables["failures"], "what it rounds a request to is not known"
    assert part.tables["failures"]["largest_hole_bytes"][0] >= 0 and part.tables["holes"]["holes"].size


def test_a_policy_with_a_ledger_says_what_it_does_not_count() -> None:
    trace = random_trace(5, 100)
    module = policy("first-fit").module
    row = measure(replay(trace, policy(module, NOT_COUNTED=("searches", "sizes"), name="some"), interpret=True))
    unknown = {name for name, value in row.items() if value is None}
    assert unknown == {metric.name for metric in declared() if {"searches", "sizes"} & set(metric.needs)} | ABSENT


def test_a_replay_without_measures_has_none() -> None:
    trace = from_events([("alloc", 1, 100), ("alloc", 2, 50), ("free", 1)])
    for detail in ("bare", "search"):
        row = measure(replay(trace, "first-fit", detail=detail, interpret=True))
        known = {name: value for name, value in row.items() if value is not None}
        assert known == {
            "lower_bound_bytes": 150, "peak_reserved_bytes": 176, "moved_bytes": 0, "status": "ok", "failed_allocs": 0,
            "skipped_events": 0, "invalid_events": 0, "never_freed": 1,
        }  # fmt: skip


def test_what_is_not_counted_has_to_be_a_word_of_the_contract() -> None:
    with pytest.raises(PolicyError, match="NOT_COUNTED"):
        policy(policy("first-fit").module, NOT_COUNTED=("splitting",))
