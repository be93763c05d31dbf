"""`memtrace show` of a folder of `memtrace tiers`, against a replay of a few events and what was drawn by hand."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from conftest import Run

from memtrace.cli.show_tiers import FLOWS, drawn, samples, step_ends, steps
from memtrace.results.folder import write_tables
from memtrace.tiers.replay import replay_tiers
from memtrace.tiers.results import TierResults, gather, manifest_of, shown_evictions, tables
from memtrace.tiers.tier import Plan, Tier
from memtrace.trace import from_events

# Two blocks of 64 in a tier of 64: the second drives the first out, whose free brings it up again.
EVENTS = [("alloc", 1, 64), ("alloc", 2, 64), ("free", 1), ("free", 2)]
TIERS = [Tier("fast", 64, 1e9, 0), Tier("a-tier-with-a-long-name", 128, 1e8, 5), Tier("slow", 4096, 1e7, 5)]


def found_of(events: list[Any], tiers: list[Tier], **how: Any) -> TierResults:
    trace = from_events(events)
    return gather(replay_tiers(trace, tiers, Plan(uses="lifetimes"), interpret=True, **how), [], manifest_of(trace, 1))


def test_drawn_by_hand() -> None:
    assert list(drawn(found_of(EVENTS, TIERS))) == [
        "",
        "live bytes over 4 events, full height the peak of the tier",
        "fast                64 B ██",
        "a-tier-with…        64 B  ██",
        "slow                 0 B",
        "",
        "bytes over the link fast - a-tier-with…, full height 64 B a step",
        "down               128 B  ██",
        "up                 128 B   ██",
        "",
        "evictions, full height 1 a step",
        "fast                   2  ██",
    ]


def test_steps_add_up_to_the_totals() -> None:
    """Over more events than there are steps, with blocks that stay below."""
    events: list[Any] = []
    for k in range(120):
        events += [("alloc", k, 8 + k % 5 * 60), ("access", max(0, k - 3))] + ([("free", k - 4)] if k > 3 else [])
    found = found_of(events, [Tier("a", 200, 1e9), Tier("b", 256, 1e8), Tier("c", 1 << 20, 1e7)])
    ends = step_ends(found)
    assert len(ends) == 50 and ends[-1] == len(events) - 1
    for row, own in zip(found.summary, samples(found), strict=True):
        for column in (*FLOWS.values(), "evictions"):
            assert sum(steps(own[column], ends)) == row[column]
    assert all(found.summary[1][column] > 0 for column in (*FLOWS.values(), "evictions"))
    lines = list(drawn(found))
    assert all(len(line) <= 80 for line in lines)
    assert [line[:12].rstrip() for line in lines[7:10]] == ["down", "up", "in place"]
    assert max("".join(lines[7:10])) == "█"


def test_nothing_moved_and_nothing_replayed() -> None:
    assert [line[:4] for line in drawn(found_of(EVENTS[:1], TIERS[:1]))] == ["", "live", "fast"]
    assert list(drawn(found_of([], TIERS[:1]))) == []


def test_the_command(memtrace: Run, tmp_path: Path) -> None:
    found = found_of(EVENTS, TIERS)
    write_tables(tables(found), found.manifest, tmp_path / "found", lambda stage: [])
    done = memtrace("show", str(tmp_path / "found"))
    assert done.returncode == 0
    assert all(line in done.stdout for line in drawn(found))
    assert "modelled stall" in done.stdout and "link to" in done.stdout
    assert all(len(line) <= 80 for line in done.stdout.splitlines())
    told = json.loads(memtrace("show", str(tmp_path / "found"), "--json").stdout)
    assert told["schema"] == "memtrace.show/1" and [row["name"] for row in told["results"]] == [tier.name for tier in TIERS]


@pytest.mark.parametrize("missing", ["tiers", "tier_timeline"])
def test_a_folder_without_a_table(memtrace: Run, tmp_path: Path, missing: str) -> None:
    found = found_of(EVENTS, TIERS)
    write_tables(tables(found), found.manifest, tmp_path / "found", lambda stage: [])
    (tmp_path / "found" / f"{missing}.parquet").unlink()
    done = memtrace("show", str(tmp_path / "found"))
    assert done.returncode == 3 and "has no results of memtrace tiers that can be read" in done.stderr


def test_evictions_of_many_tags_are_added_up_by_kind() -> None:
    kinds = ("weight", "state")
    events = [{"op": "alloc", "id": i, "size": 64, "tag": f"{kinds[i % 2]} {i}"} for i in range(20)]
    found = found_of(events, [Tier("a", 64, 1e9), Tier("b", 4096, 1e8)])
    assert len(found.evictions) > 12 and sum(row["evictions"] for row in found.evictions) == 19
    assert [(row["tag"], row["evictions"], row["bytes"]) for row in shown_evictions(found)] == [
        ("weight", 10, 640),
        ("state", 9, 576),
    ]
    assert shown_evictions(replace(found, manifest={"tags": "name"})) == found.evictions
