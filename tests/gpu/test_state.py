"""Snapshots without events: what is reserved, in use and free, what can go back, who holds it, and what the blocks need anew."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from conftest import Run
from sample_snapshots import GPU, SHARED, plain, written

import memtrace as library

STATES = [GPU / name for name in ("state_only.pickle.gz", "no_history.pickle.gz", "segments_list.pickle")]
MORE = sorted((SHARED / "public" / "torch-snapshots").glob("*state_only*"))


def segments_of(path: Path) -> list[dict[str, Any]]:
    """The segments, read by Python itself."""
    if path.suffix == ".gz":
        return list(plain(path)["segments"])
    import pickle

    return list(pickle.loads(path.read_bytes()))


def expected(segments: list[dict[str, Any]]) -> dict[str, int]:
    """The state added up block by block."""
    found = dict.fromkeys(("reserved", "active", "cached", "splits", "releasable", "largest_free"), 0)
    for segment in segments:
        free = [block["size"] for block in segment["blocks"] if block["state"] == "inactive"]
        used = [block["size"] for block in segment["blocks"] if block["state"] != "inactive"]
        found["reserved"] += segment["total_size"]
        found["active"] += sum(used)
        found["cached"] += sum(free)
        found["splits" if used else "releasable"] += sum(free)
        found["largest_free"] = max(found["largest_free"], *free, 0)
    return found


@pytest.mark.parametrize("path", [*STATES, *MORE], ids=lambda path: path.name)
def test_the_state_adds_up(path: Path) -> None:
    found = library.whatif(path)
    state = found.state
    assert state is not None
    assert {name: getattr(state, name) for name in expected(segments_of(path))} == expected(segments_of(path))
    assert sum(size for _, _, size in state.holders) == state.active and state.request is None
    assert sum(pin.free for pin in state.pins) == state.splits
    live = [block for one in segments_of(path) for block in one["blocks"] if block["state"] != "inactive"]
    assert found.trace.facts.allocs == len(live) and found.trace.facts.peak_live_bytes == sum(b["requested_size"] for b in live)
    anew = next(row for row in found.rows if row.conf == "")
    assert anew.peak_reserved is not None and state.active <= anew.peak_reserved <= max(state.reserved, 2 * state.active)
    assert found.line is None and found.trusted is None


def test_the_numbers_that_are_owed(memtrace: Run) -> None:
    done = memtrace("info", STATES[0], "--json", "-q")
    state = json.loads(done.stdout)["state"]
    assert (state["reserved"], state["active"]) == (553648128, 430964736) and done.stderr == ""
    assert state["holders"] == [["train.py:8 E", 19, 430964736]]


def test_every_command_opens_it(memtrace: Run) -> None:
    text = memtrace("info", STATES[0]).stdout
    for words in (
        "reserved at the dump",
        "528.0 MiB",
        "in use, by call site",
        "can go back",
        "84.0 MiB in segments without",
        "free, and kept",
    ):
        assert words in text
    shown = memtrace("show", STATES[0]).stdout
    assert "laid out anew these blocks would need 424.0 MiB" in shown and shown == memtrace("whatif", STATES[0]).stdout
    assert all(len(line) <= 80 for line in shown.splitlines())
    ran = memtrace("run", STATES[0], "-p", "best-fit", "--no-report", "-o", "out")
    assert ran.returncode == 0 and "no events" in ran.stderr
    table = memtrace("whatif", STATES[2], "--json")
    assert json.loads(table.stdout)["state"]["reserved"] == 553648128


def test_hints_are_those_that_people_need(memtrace: Run, tmp_path: Path) -> None:
    said = memtrace("info", STATES[1]).stderr
    assert "dump before you stop the recording" in said and "_record_memory_history" in said
    value = plain(STATES[1])
    for segment in value["segments"]:
        for block in segment["blocks"]:
            block["state"] = "inactive"
    done = memtrace("info", written(value, tmp_path / "empty.pickle"))
    assert done.returncode == 3 and "no block in use" in done.stderr


def test_blocks_without_a_requested_size_count_whole(tmp_path: Path) -> None:
    value = copy.deepcopy(plain(STATES[1]))
    for segment in value["segments"]:
        for block in segment["blocks"]:
            del block["requested_size"]
    assert library.read(written(value, tmp_path / "old.pickle")).facts.peak_live_bytes == 430964736
