"""The order of policies, the sentences on them, and the commands to try next."""

from __future__ import annotations

from typing import Any

import pytest

from memtrace.results.suggestions import suggestions
from memtrace.results.verdict import best, rank, verdict

MIB, GIB = 1 << 20, 1 << 30


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


# Pools of fixed size


def pool(policy: str, end: int, **more: Any) -> dict[str, Any]:
    """A summary row of a fixed pool of 1 GiB whose highest block ends at `end`, with 100 MiB live at most."""
    known = {"peak_reserved_event": 0, "reserve_calls": 0, "release_calls": 0, "highest_end_bytes": end, "capacity_bytes": None}
    return row(policy, GIB, **{"lower_bound_bytes": 100 * MIB, "peak_allocated_bytes": end, **known, **more})


def test_pools_are_ranked_by_how_far_up_they_were_used() -> None:
    rows = [pool("a", 300 * MIB), pool("b", 200 * MIB), pool("paged", 1, highest_end_bytes=None, peak_allocated_bytes=250 * MIB)]
    assert named(rank(rows)) == ["b", "paged", "a"] and named(best(rank(rows))) == ["b"]
    first, second, *_ = verdict(rows)
    assert first == "b needs least: 200.0 MiB of a pool of 1.0 GiB, 2.00x the lower bound of 100.0 MiB (peak live)."
    assert second == "a needs most: 300.0 MiB, 1.50x as much."
    grown = [pool("a", 300 * MIB), row("grows", 400 * MIB, capacity_bytes=None)]
    assert named(rank(grown)) == ["a", "grows"]
    assert named(rank([pool("a", 300 * MIB, reserve_calls=1), grown[1]])) == ["grows", "a"], "that one has grown"


def test_a_pool_says_how_little_of_it_was_ever_free() -> None:
    said = verdict([pool("a", 300 * MIB, least_free_bytes=5 * MIB, least_largest_hole_bytes=MIB, external_frag_max=0.969)])
    assert said[0] == "a needs 300.0 MiB of a pool of 1.0 GiB, 3.00x the lower bound of 100.0 MiB (peak live)."
    assert said[1] == (
        "Of the pool of a at least 5.0 MiB were free at any time, and at least 1.0 MiB in one hole; "
        "at worst 96.9% of what was free lay outside the largest hole."
    )


@pytest.mark.parametrize(
    ("label", "typed"),
    [
        ("best-fit:initial=65536", "best-fit"),
        ("tlsf:header=8,initial=65536,zero=null", "tlsf:header=8,zero=null"),
        ("tlsf:initial=65536,header=8", "tlsf:header=8"),
        ("arenas:policy=[best-fit:align=64,initial=512],count=4", "'arenas:policy=[best-fit:align=64],count=4'"),
        ("arenas:policy=[best-fit:initial=512],count=4", "'arenas:policy=[best-fit],count=4'"),
        ("mine", "./mine.py"),
    ],
)
def test_after_a_pool_comes_the_smallest_memory_that_works(label: str, typed: str) -> None:
    found = suggestions([pool(label, MIB), pool("other", 2 * MIB)], "t.csv", {"mine": "./mine.py"})
    assert found[0].command == f"memtrace mincap t.csv -p {typed}"
    assert not any("--capacity" in each.command for each in found)


# What is held after the load


def held(policy: str, end: int, live: int = MIB, **more: Any) -> dict[str, Any]:
    """A summary row of a policy that reserves 100 MiB at most and `end` bytes at the end."""
    known = {"lower_bound_bytes": 90 * MIB, "peak_live_bytes": 90 * MIB, "live_end_bytes": live, "capacity_bytes": None}
    return row(policy, 100 * MIB, **{"reserved_end_bytes": end, **known, **more})


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([held("a", 100 * MIB)], "After the load a still holds 100.0 MiB for 1.0 MiB live."),
        (
            [held("a", 100 * MIB, empty_pages_4k_bytes=80 * MIB, empty_pages_2m_bytes=0)],
            "After the load a still holds 100.0 MiB for 1.0 MiB live; of that, 80.0 MiB lie in empty pages of 4 KiB.",
        ),
        ([held("a", 100 * MIB), held("b", 100 * MIB)], "After the load every policy still holds 100.0 MiB for 1.0 MiB live."),
        (
            [held("a", 100 * MIB), held("b", 120 * MIB, peak_reserved_bytes=120 * MIB)],
            "After the load every policy still holds at least 100.0 MiB for 1.0 MiB live.",
        ),
        (
            [held("a", 100 * MIB), held("b", 8 * MIB), held("c", 60 * MIB)],
            "After the load b holds least, 8.0 MiB, and a most, 100.0 MiB, for 1.0 MiB live.",
        ),
        ([held("a", 100 * MIB), held("b", 0, live=0)], "After the load b holds least, 0 B, and a most, 100.0 MiB, for"),
        ([held("a", 100 * MIB, live=60 * MIB)], ""),  # the load is not over
        ([held("a", 8 * MIB)], ""),  # nothing remarkable
        ([held("a", 100 * MIB, live=0)], ""),  # the program has ended
        ([row("a", MIB)], ""),  # an older folder does not say
    ],
)
def test_what_is_held_after_the_load_is_said(rows: list[dict[str, Any]], words: str) -> None:
    said = " ".join(verdict(rows))
    assert words in said if words else "After the load" not in said


# Suggestions


def commands(rows: list[dict[str, Any]]) -> list[str]:
    return [suggestion.command for suggestion in suggestions(rows, "my trace.csv")]


def test_suggestions_fit_what_happened() -> None:
    fits, other = row("best-fit", 7 * GIB), row("a", 9 * GIB)
    trace = "memtrace run 'my trace.csv'"
    assert commands([]) == []
    assert commands([fits, other]) == []
    free, more = {**fits, "capacity_bytes": None}, {**other, "capacity_bytes": None}
    assert commands([free, more]) == [f"{trace} -p best-fit -p a --capacity 7168MiB"]
    assert commands([free, {**more, "policy": "buddy"}]) == [f"{trace} --capacity 7168MiB"], "these are compared in any case"
    small = [{**each, "peak_reserved_bytes": each["peak_reserved_bytes"] >> 20} for each in (free, more)]
    assert commands(small) == [f"{trace} -p best-fit -p a --capacity 7168B"]
    assert commands([free, {**more, "peak_reserved_bytes": 7 * GIB}]) == [], "nobody would fail"
    assert commands([fits, oom("first-fit", 4)]) == [f"{trace} -p first-fit --capacity {fits['capacity_bytes']} --on-oom skip"]
    assert commands([fits]) == [f"{trace} -p default"]
    assert commands([{**fits, "invalid_events": 3}])[0] == "memtrace check 'my trace.csv'"


def test_no_more_than_three_suggestions() -> None:
    rows = [row("a", 9 * GIB, invalid_events=1, capacity_bytes=None), row("b", 10 * GIB, capacity_bytes=None)]
    assert len(commands([*rows, {**oom("c", 9), "capacity_bytes": None}])) == 3
