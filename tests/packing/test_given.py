"""The packing that a file states itself: its height, and overlaps, against every pair looked at."""

from __future__ import annotations

import json
import random
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT, Run

from memtrace import reading
from memtrace.packing.buffers import Buffers
from memtrace.packing.given import judge, overlapping

SAMPLES = ROOT / "tests" / "data" / "formats"


@pytest.mark.parametrize("seed", range(30))
@pytest.mark.parametrize("chunk", [2, 1000])
def test_overlaps_are_those_of_all_pairs(seed: int, chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("memtrace.packing.given.MOST_IN_CHUNK", chunk)
    chance = random.Random(seed)
    count = chance.randrange(1, 60)
    lower = np.array([chance.randrange(40) for _ in range(count)])
    upper = lower + [chance.randrange(1, 12) for _ in range(count)]
    size = np.array([chance.randrange(0, 30) for _ in range(count)])
    offset = np.array([chance.choice([-1, *range(chance.choice([40, 2000]))]) for _ in range(count)])
    buffers = Buffers(lower, upper, size, np.ones(count, np.int64), np.full(count, -1))
    owed = {
        (i, j)
        for i in range(count)
        for j in range(i)
        if offset[i] >= 0 and offset[j] >= 0
        and max(lower[i], lower[j]) < min(upper[i], upper[j])
        and max(offset[i], offset[j]) < min(offset[i] + size[i], offset[j] + size[j])
    }  # fmt: skip
    found = overlapping(buffers, offset)
    assert {(max(pair), min(pair)) for pair in found} == owed and len(found) == len(owed)


def test_a_plan_of_tflite_is_judged_beside_ours(memtrace: Run) -> None:
    done = memtrace("bound", SAMPLES / "tflite-plan.csv", "--effort", "0")
    row = next(line for line in done.stdout.splitlines() if line.startswith("the file's own packing"))
    assert row.split()[-3:] == ["119.0", "KiB", "1.123x"] and done.returncode == 0
    assert "is sound: of 25 blocks no two that live at once overlap" in done.stdout


def test_what_it_writes_is_judged_and_overlaps_are_named_by_line(memtrace: Run, tmp_path: Path) -> None:
    assert memtrace("bound", SAMPLES / "tflite-plan.csv", "--effort", "0", "-o", "ours.csv").returncode == 0
    own = json.loads(memtrace("bound", "ours.csv", "--effort", "0", "--json").stdout)["own"]
    assert own["sound"] and own["height_bytes"] >= own["lower_bound_bytes"] == 108544
    lines = (tmp_path / "ours.csv").read_text().splitlines()
    lines[2] = lines[2].rpartition(",")[0] + ",0"
    lines[3] = lines[3].rpartition(",")[0] + ",0"
    (tmp_path / "ours.csv").write_text("\n".join(lines) + "\n")
    done = memtrace("bound", "ours.csv", "--effort", "0")
    assert done.returncode == 1
    assert "line 3 (bytes 0 to 10,240) and line 4 (bytes 0 to 5,120)" in done.stdout
    document = memtrace("bound", "ours.csv", "--effort", "0", "--json")
    overlaps = json.loads(document.stdout)["own"]["overlaps"]
    assert {(pair["first"]["line"], pair["second"]["line"]) for pair in overlaps} >= {(3, 4)} and document.returncode == 1


def test_alignment_is_held_and_an_empty_offset_is_unknown(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("id,lower,upper,size,alignment,offset\na,0,2,10,64,32\nb,1,3,10,64,64\nc,1,3,10,,\n")
    found = judge(reading.read(tmp_path / "a.csv", keep_plan=True))
    assert found is not None and not found.sound
    assert (found.height, found.bound, found.overlaps, found.misaligned, found.unknown) == (74, 30, [], [0], 1)


def test_a_file_without_a_plan_has_none(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("id,lower,upper,size\na,0,2,10\n")
    assert judge(reading.read(tmp_path / "a.csv", keep_plan=True)) is None
