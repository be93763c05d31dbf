"""Recordings as they are found: begun in mid-run, between lines of a program's own, with failures, or of another version."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from conftest import Run

from memtrace import reading
from memtrace.formats.memray import RELEASES, header_version, refusal
from memtrace.trace.sources import open_source

Events = list[tuple[int, int, int]]  # bytes, address, and Total Allocated after the event


def kineto(path: Path, events: Events) -> Path:
    """A Chrome trace as Kineto writes it, of events on one GPU."""
    made = []
    for number, (size, address, total) in enumerate(events):
        args = {"Device Type": 1, "Device Id": 0, "Addr": address, "Bytes": size, "Total Allocated": total}
        args["Total Reserved"] = 6 << 30
        made.append({"ph": "i", "name": "[memory]", "tid": 7, "ts": 10 * number, "args": args})
    path.write_text(json.dumps({"traceEvents": made}))
    return path


def test_what_was_live_before_a_recording_in_mid_run_comes_first(tmp_path: Path) -> None:
    before = 5_367_660_544
    events = [(1 << 20, 1, before + (1 << 20)), (2 << 20, 2, before + (3 << 20)), (-(1 << 20), 1, before + (2 << 20))]
    read = reading.read(kineto(tmp_path / "a.json", events))
    assert read.facts.peak_live_bytes == before + (3 << 20)
    assert (read.facts.allocs, read.facts.frees) == (3, 1)
    assert read.tags == ("before the recording",) and read.to_pandas()["tag"].notna().tolist() == [True, False, False, False]
    assert "5,367,660,544 bytes were live, of which 0 blocks freed later" in read.metadata["assumed"]
    assert read.metadata["live_before_bytes"] == str(before)
    assert read.metadata["recorded_reserved_peak_bytes"] == str(6 << 30)


def test_blocks_that_are_freed_and_never_allocated_are_a_part_of_what_was_live_before(tmp_path: Path) -> None:
    read = reading.read(kineto(tmp_path / "a.json", [(100, 1, 1100), (-300, 9, 800), (-100, 1, 700)]))
    frame = read.to_pandas()
    assert frame["op"].tolist() == ["alloc", "alloc", "alloc", "free", "free"]
    assert frame["size"].tolist()[:3] == [700, 300, 100]
    assert frame["tag"].notna().tolist() == [True, True, False, False, False]
    assert read.facts.peak_live_bytes == 1100 and read.facts.never_freed == 1
    assert "of which 1 block freed later" in read.metadata["assumed"]


def test_totals_that_do_not_follow_are_said(tmp_path: Path) -> None:
    read = reading.read(kineto(tmp_path / "a.json", [(100, 1, 1100), (100, 2, 1250)]))
    assert "they differ by up to 50" in read.metadata["assumed"] and read.facts.peak_live_bytes == 1200


def test_a_recording_from_the_start_has_nothing_before(tmp_path: Path) -> None:
    read = reading.read(kineto(tmp_path / "a.json", [(100, 1, 100), (50, 2, 150), (-100, 1, 50)]))
    assert read.facts.peak_live_bytes == 150 and "assumed" not in read.metadata and read.tags == ()


def test_a_replay_is_held_against_what_the_recorded_allocator_took(memtrace: Run, tmp_path: Path) -> None:
    path = kineto(tmp_path / "a.json", [(1 << 30, 1, 1 << 30), (2 << 30, 2, 3 << 30)])
    done = memtrace("run", path, "-p", "pytorch", "-o", tmp_path / "out", "--no-report")
    assert "recorded: the allocator held at most 6.0 GiB; replayed by pytorch, 3.0 GiB (0.50x)" in done.stdout, done


RMM = """\
starting job
Thread,Time,Action,Pointer,Size,Stream
1,10:00:00.000001,allocate,0x100,1000,0x0
26/01/02 10:00:01 INFO Executor: finished task 3.0 in stage 1.0 (TID 3), 1,024 bytes
1,10:00:00.000002,allocate failure,,99999999,0x0
1,10:00:00.000003,free,0x100,1000,0x0
"""


def test_a_log_of_rmm_between_other_lines_with_a_failure(tmp_path: Path) -> None:
    (tmp_path / "job.log").write_text(RMM)
    read = reading.read(tmp_path / "job.log")
    assert (read.metadata["format"], read.facts.allocs, read.facts.frees, read.facts.invalid_events) == ("rmm", 1, 1, 0)
    assert read.metadata["assumed"].splitlines() == [
        "lines that are not RMM's, left out: 2",
        "requests that failed in the recorded program, left out: 1",
    ]


@pytest.mark.parametrize("version", RELEASES)
def test_a_capture_of_another_memray_is_answered_by_which_to_install(version: int) -> None:
    head = b"memray\0" + version.to_bytes(4, "little") + b"\0\5\0\0"
    said = refusal(head, "The provided input file is incompatible with this version of memray.", "9.9")
    first, end = RELEASES[version]
    assert said.endswith(f"try: pip install 'memray>={first}{',<' + end if end else ''}'") and "memray 9.9 is installed" in said


def test_other_refusals_of_memray_have_their_own_hint() -> None:
    import pyarrow as pa

    aggregated = refusal(b"memray\0", "Can't get all allocations from a pre-aggregated capture file.", "1.19.1")
    assert aggregated.endswith("try: record it again without --aggregate")
    newer = refusal(b"memray\0\xff\0\0\0", "The provided input file is incompatible", "1.19.1")
    assert "a newer memray" in newer and newer.endswith("pip install --upgrade memray")
    head = pa.compress(b"memray\0\x0c\0\0\0" + bytes(40), codec="lz4", asbytes=True)
    assert header_version(head) == 12 and header_version(head[:20]) is None and header_version(b"memray\0") is None
    assert "memray cannot read it: Bad" in refusal(b"memray\0\x0c\0\0\0", "Bad", "1.19.1")


@pytest.mark.parametrize("packed", ["", ".gz", ".zip"])
def test_a_stream_is_read_to_its_end_by_default(packed: str, tmp_path: Path) -> None:
    import gzip
    import zipfile

    path, text = tmp_path / f"a.txt{packed}", b"7: malloc 0x10 8\n" * 1000
    if packed == ".zip":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("a.txt", text)
    else:
        path.write_bytes(gzip.compress(text) if packed else text)
    with open_source(path) as source, source.open() as stream:
        assert stream.read(7) + stream.read() == text and stream.read() == b""
