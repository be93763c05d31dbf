"""XLA's dumps: the lifetimes that a plan of ours is known to have, by the texts and by the bytes, and what is wrong with others."""

from __future__ import annotations

import csv
import gzip
from pathlib import Path

import pytest
from conftest import ROOT, Run

from memtrace import reading
from memtrace.errors import InputError
from memtrace.formats._xla_proto import arenas
from memtrace.trace import Trace

SAMPLES = ROOT / "tests" / "data" / "formats"
PLANS = ROOT.parent / "shared" / "data" / "plans"


def lifetimes(trace: Trace) -> list[tuple[int, int, int]]:
    """(begin, end, bytes) of each block."""
    begun: dict[int, tuple[int, int]] = {}
    found = []
    for event in trace.to_pandas().itertuples():
        if event.op == "alloc":
            begun[event.block] = (event.time, event.size)
        else:
            begin, size = begun.pop(event.block)
            found.append((begin, event.time, size))
    return sorted(found)


@pytest.mark.parametrize("file", ["xla-mlp-buffer-assignment.txt", "xla-mlp-live-range.txt"])
def test_the_texts_are_found_by_each_other(file: str) -> None:
    read = reading.read(SAMPLES / file, keep_plan=True)
    assert (read.facts.allocs, read.facts.peak_live_bytes, read.metadata["allocation_bytes"]) == (19, 787456, "787456")
    # Inclusive ranges; add_tanh_fusion.1 and multiply_add_fusion.1, computed in its place, are one block over 18 to 45.
    assert {(11, 48, 262144), (18, 46, 131072), (49, 52, 65536)} <= set(lifetimes(read))
    assert "copy copy.2" in read.tags and read.plan is not None
    assert read.plan.offset.max() == 786432 and read.plan.word == "line"


def test_an_older_dump_has_both_in_one_file(tmp_path: Path) -> None:
    read = reading.read(SAMPLES / "xla-old-buffer-assignment.txt")
    assert (read.facts.allocs, read.facts.peak_live_bytes) == (19, 790528)


def test_a_loop_is_one_block(tmp_path: Path) -> None:
    text = """BufferAssignment:
allocation 3: size 1000, preallocated-temp:
 value: <1 copy.1 @0> (size=1000,offset=0): f32[250]{0}
 value: <2 arg_tuple.3{1} (phi) @0> (size=1000,offset=0): f32[250]{0}
 value: <3 tanh @0> (size=1000,offset=0): f32[250]{0}
 value: <4 while.11{1} (phi) @0> (size=1000,offset=0): f32[250]{0}
 value: <5 later @0> (size=8,offset=0): f32[2]{0}
 value: <6 dead @0> (size=8,offset=0): f32[2]{0}
HloLiveRange (max 9):
  BufferLiveRange:
    copy.1{}:0-2
    arg_tuple.3{1}:2-3
    tanh{}:3-4
    while.11{1}:4-6
    later{}:7-8
"""
    (tmp_path / "loop.txt").write_text(text)
    read = reading.read(tmp_path / "loop.txt")
    assert lifetimes(read) == [(0, 7, 1000), (7, 9, 8)]
    assert "values without a live range, left out: 1" in read.metadata["assumed"]


def test_the_bytes_give_the_simulators_lifetimes(tmp_path: Path) -> None:
    read = reading.read(SAMPLES / "xla-mlp.hlo.pb.gz", keep_plan=True)
    assert (read.facts.allocs, read.facts.peak_live_bytes) == (19, 787456)
    assert {(0, 41, 262144), (7, 16, 512), (44, 47, 1024)} <= set(lifetimes(read))
    data = gzip.decompress((SAMPLES / "xla-mlp.hlo.pb.gz").read_bytes())
    found = arenas(data)
    assert found is not None
    assert [(arena.number, arena.size, len(arena.blocks), arena.added) for arena in found] == [(43, 787456, 19, 0)]
    (tmp_path / "cut.hlo.pb").write_bytes(data[:-100])
    with pytest.raises(InputError, match="the HloProto is damaged: a field ends behind"):
        reading.read(tmp_path / "cut.hlo.pb")
    (tmp_path / "module.hlo.pb").write_bytes(data[: 4 + 29595])
    with pytest.raises(InputError, match=r"(?s)without a buffer assignment.*after optimizations"):
        reading.read(tmp_path / "module.hlo.pb")


def test_one_text_without_the_other_is_refused_with_what_is_missing(tmp_path: Path, memtrace: Run) -> None:
    (tmp_path / "a-buffer-assignment.txt").write_bytes((SAMPLES / "xla-mlp-buffer-assignment.txt").read_bytes())
    done = memtrace("bound", "a-buffer-assignment.txt")
    assert done.returncode == 3
    assert "holds no live ranges, and a-live-range.txt is not beside it" in done.stderr
    (tmp_path / "a-live-range.txt").write_text("HloLiveRange (max 2):\n  BufferLiveRange:\n    copy.2{}:11\n")
    with pytest.raises(InputError, match=r"no live range: 'copy\.2"):
        reading.read(tmp_path / "a-live-range.txt", format="xla")


def test_another_allocation_can_be_chosen() -> None:
    with pytest.raises(InputError, match=r"(?s)there is no allocation 7\n.*one of 43"):
        reading.read(SAMPLES / "xla-mlp.hlo.pb.gz", format="xla:7")
    assert reading.read(SAMPLES / "xla-mlp-buffer-assignment.txt", format="xla:2").metadata["allocation"] == "2"


@pytest.mark.skipif(not PLANS.is_dir(), reason="needs ../shared/data/plans")
@pytest.mark.parametrize("plan", ["xla-mlp", "xla-grad"])
@pytest.mark.parametrize("kind", ["text", "trace"])
def test_plans_of_other_programs(plan: str, kind: str) -> None:
    file = next((PLANS / plan).glob("*buffer-assignment.txt" if kind == "text" else "*.hlo.pb"))
    rows = csv.DictReader((PLANS / plan / f"lifetimes-{kind}.csv").read_text().splitlines())
    owed = sorted((int(row["lower"]), int(row["upper"]), int(row["size"])) for row in rows)
    assert lifetimes(reading.read(file)) == owed
