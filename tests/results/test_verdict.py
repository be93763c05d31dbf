"""The order of policies, the sentences on them, and the commands to try next."""

from __future__ import annotations

from typing import Any

import pytest

from memtrace.results.suggestions import suggestions
from memtrace.results.verdict import best, rank, verdict

GIB = 1 << 30


def row(policy: str, peak: int, **more: Any) -> dict[str, Any]:
    """A summary row of a run in 8 GiB, of a trace that has 7 GiB live at most."""
    known = {
        "policy": policy,
        "peak_reserved_bytes": peak,
        "peak_allocated_bytes": peak,
        "lower_bound_bytes": 7 * GIB,
        "capacity_bytes": 8 * GIB,
        "events": 10_000,
        "status": "ok",
        "oom_event": None,
        "failed_allocs": 0,
    }
    return {**known, **more}


def oom(policy: str, event: int, peak: int = GIB) -> dict[str, Any]:
    return row(policy, peak, status="oom", oom_event=event, failed_allocs=1)


def named(rows: list[dict[str, Any]]) -> list[str]:
    return [found["policy"] for found in rows]


# Rank


def test_the_smallest_peak_is_best_then_allocated_then_name() -> None:
    rows = [
        row("d", 5, peak_allocated_bytes=4),
        row("c", 5, peak_allocated_bytes=3),
        row("b", 5),
        row("a", 4),
    ]
    assert named(rank(rows)) == ["a", "c", "d", "b"]


def test_who_ran_out_of_memory_is_last_whatever_its_peak_and_the_furthest_before_the_others() -> None:
    assert named(rank([oom("early", 3, 1), oom("late", 900, 9), row("fits", 99)])) == [
        "fits",
        "late",
        "early",
    ]


def test_who_skipped_requests_stands_between() -> None:
    assert named(rank([oom("oom", 3), row("skips", 1, failed_allocs=2), row("fits", 9)])) == [
        "fits",
        "skips",
        "oom",
    ]


def test_the_best_policies_are_all_with_the_least_peak_but_not_the_one_that_knows_the_future() -> None:
    rows = [row("b", 5), row("a", 5), row("c", 6), row("optimum", 4)]
    assert named(best(rank(rows))) == ["a", "b"]
    assert named(best([row("optimum", 4)])) == ["optimum"]
    assert best([oom("a", 1)]) == []


# Verdict


def test_the_first_sentence_names_the_best_policy_and_its_distance_to_the_bound() -> None:
    first, second, third = verdict([row("worst-fit", 8 * GIB), row("best-fit", 7 * GIB + 300 * 2**20)])
    assert first == "best-fit needs least: 7.3 GiB, 1.04x the lower bound of 7.0 GiB (peak live)."
    assert second == "worst-fit needs most: 8.0 GiB, 1.10x as much."
    assert third == "No policy ran out of the 8.0 GiB."


def test_who_ran_out_of_memory_is_said_with_the_event() -> None:
    said = verdict([row("best-fit", 7 * GIB), oom("worst-fit", 8123)])
    assert said[0] == "best-fit needs least: 7.0 GiB, which is the lower bound itself: no placement can do with less."
    assert said[1] == "worst-fit ran out of memory at event 8,123 of 10,000 (capacity 8.0 GiB)."
    several = verdict([row("a", 7 * GIB), oom("b", 5), oom("c", 6)])[1]
    assert several == "2 policies ran out of memory (capacity 8.0 GiB): c at event 6 and b at event 5, of 10,000 events."


def test_no_policy_is_best_if_all_ran_out_of_memory() -> None:
    assert verdict([oom("a", 1), oom("b", 1)]) == ["Every policy ran out of memory at event 1 of 10,000 (capacity 8.0 GiB)."]
    small = [{**found, "capacity_bytes": GIB} for found in (oom("a", 1), oom("b", 2))]
    assert verdict(small)[0] == "No placement can fit: 7.0 GiB are live at once, more than the capacity."


def test_many_names_are_left_to_the_table() -> None:
    said = verdict([row(name, 8 * GIB) for name in "abcdef"])
    assert said[0].startswith("a, b, c and 3 others (see the table) need least: 8.0 GiB")


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([], "Nothing was replayed."),
        ([row("a", 8 * GIB)], "a needs 8.0 GiB, 1.14x the lower bound"),
        ([row("a", 0, lower_bound_bytes=0)], "a needs 0 B. No bytes were live"),
        ([row("a", 8, failed_allocs=2)], "a refused 2 requests; their blocks were left out of its sums."),
        ([row("a", 8, invalid_events=1)], "1 invalid event was skipped."),
        ([row("a", 8, never_freed=1200)], "1,200 blocks were never freed."),
        (
            [row("a", 9), row("optimum", 8 * GIB)],
            "The best packing found by optimum, which knows the future, takes 8.0",
        ),
        (
            [row("a", 8, utilisation_at_peak=0.8, internal_frag_at_peak=0.2)],
            "80.0% of that is live, 20.0% is rounding",
        ),
        ([row("a", 8, utilisation_at_peak=None, internal_frag_at_peak=None)], "a needs 8 B"),
    ],
)
def test_what_else_is_worth_saying(rows: list[dict[str, Any]], words: str) -> None:
    assert words in " ".join(verdict(rows))


# Suggestions


def commands(rows: list[dict[str, Any]]) -> list[str]:
    return [suggestion.command for suggestion in suggestions(rows, "my trace.csv")]


def test_suggestions_fit_what_happened() -> None:
    fits, other = row("best-fit", 7 * GIB), row("a", 9 * GIB)
    trace = "memtrace run 'my trace.csv'"
    assert commands([]) == []
    assert commands([fits, other]) == []
    assert commands([{**fits, "capacity_bytes": None}, {**other, "capacity_bytes": None}]) == [f"{trace} --capacity 7168MiB"]
    assert commands([fits, oom("first-fit", 4)]) == [f"{trace} -p first-fit --capacity {fits['capacity_bytes']} --on-oom skip"]
    assert commands([fits]) == [f"{trace} -p default"]
    assert commands([{**fits, "invalid_events": 3}])[0] == "memtrace check 'my trace.csv'"


def test_no_more_than_three_suggestions() -> None:
    rows = [row("a", 9 * GIB, invalid_events=1, capacity_bytes=None), row("b", 10 * GIB, capacity_bytes=None)]
    assert len(commands([*rows, {**oom("c", 9), "capacity_bytes": None}])) == 3
