"""Every format by a small sample: what is read, what is said about it, and that each knows its own and no other."""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest
from conftest import ROOT, Run

from memtrace import reading, trace
from memtrace.errors import InputError, UsageError
from memtrace.formats import formats
from memtrace.trace.sources import open_source

SAMPLES = ROOT / "tests" / "data" / "formats"
PUBLIC = ROOT.parent / "shared" / "data" / "public"


@dataclass(frozen=True)
class Sample:
    file: str
    format: str
    ops: tuple[int, int, int]  # allocs, frees, reallocs
    peak: int
    metadata: dict[str, str]
    said: tuple[str, ...] = ()


CASES = [
    Sample("sample.mtrace", "mtrace", (5, 2, 2), 100231, {}, ("that failed in the recorded program, left out: 2", "never allocates (it began later), left out: 1")),
    Sample("sample.rep", "rep", (3, 4, 2), 896, {}),
    Sample("android.zip", "android", (6, 4, 1), 1340, {"threads": "3"}, ("failed in the recorded program, left out: 1", "without a recorded free, taken as freed by then: 1", "never allocates (it began later), left out: 1")),
    Sample("android_times.txt", "android", (2, 1, 0), 48, {"threads": "2"}, ("times that go back, taken as the time before: 1",)),
    Sample("sample.heaptrack.gz", "heaptrack", (4, 3, 0), 528, {}, ("a free ends the latest live block of its size and call site",)),
    Sample("sample.heaptrack.raw", "heaptrack", (3, 1, 0), 73752, {}, ("recorded from a running process", "left out: 1")),
    Sample("sample.trace", "wee_alloc", (3, 2, 0), 1144, {}),
    Sample("lifetimes.csv", "minimalloc", (6, 6, 0), 112, {}, ("empty lifetimes, allocated and freed at once: 1",)),
    Sample("tflite-plan.csv", "minimalloc", (25, 25, 0), 108544, {}),
    Sample("xla-old-buffer-assignment.txt", "xla", (19, 19, 0), 790528, {"allocation": "52", "allocation_bytes": "790528"}, ("allocation 52", "1 is added; values: 24", "are one block: 5")),
    Sample("xla-mlp.hlo.pb.gz", "xla", (19, 19, 0), 787456, {"allocation": "43", "allocation_bytes": "787456"}, ("allocation 43",)),
    Sample("sample.replay", "umpire", (3, 2, 1), 212, {"allocators": "2"}, ("releases and coalesces of pools, left out: 1",)),
    Sample("old.replay", "umpire", (1, 1, 0), 470, {"allocators": "1"}),
    Sample("rmm.csv", "rmm", (2, 1, 0), 768, {"threads": "2", "streams": "2"}, ("taken as the next day: 1", "left out: 1")),
    Sample("logalloc.log", "logalloc", (4, 2, 1), 452, {"threads": "2"}, ("other processes than 18545, left out: 1", "move no memory, left out: 1", "failed in the recorded program, left out: 1")),
    Sample("logalloc_munged.log", "logalloc", (3, 1, 1), 452, {"threads": "1"}, ("move no memory, left out: 1",)),
    Sample("valgrind.log", "valgrind", (5, 5, 1), 2133, {"processes": "2"}, ("other processes than 123, left out: 1 (456 with 1; --format valgrind:456", "other lines, left out: 3", "failed in the recorded program, left out: 1")),
    Sample("kmem.txt", "kmem", (3, 3, 0), 5920, {"cpus": "2"}, ("began on a running kernel", "events of the page allocator, left out (--format kmem:pages reads them): 1", "other lines, left out: 4")),
    Sample("kmem_pages.perf", "kmem", (2, 2, 0), 36864, {"cpus": "2"}, ("began on a running kernel", "another migratetype's pages served (mm_page_alloc_extfrag), not events of their own: 1", "twice, read once: 1", "failed in the recorded program, left out: 1", "left out: 1")),
    Sample("sample.ltrace", "ltrace", (5, 2, 1), 2157, {"threads": "2"}, ("calls of posix_memalign, whose pointer ltrace does not write, left out: 1", "other lines, left out: 3", "failed in the recorded program, left out: 1")),
    Sample("sample.strace", "strace", (6, 2, 3), 134373376, {"threads": "2"}, ("system calls that failed, left out: 1", "other lines, left out: 2", "made smaller: 1", "made two: 1", "took the place of others, or of parts of them: 1")),
    Sample("utrace.txt", "utrace", (2, 1, 1), 34880, {"processes": "2"}, ("other processes than 31532, left out: 1",)),
    Sample("kdump.txt", "utrace", (1, 1, 0), 34816, {"processes": "1"}, ("other lines, left out: 1",)),
    Sample("cmt.trace", "cmt", (2, 1, 1), 46, {}),
    Sample("vma.csv", "vma", (2, 2, 0), 66304, {"threads": "2"}, ("images, whose size is not in a recording, left out: 1", "calls that move no memory, left out: 1", "header and the configuration, left out: 5", "twice, read once: 1")),
    Sample("freertos.log", "freertos", (3, 2, 0), 224, {}, ("other lines, left out: 1",)),
    Sample("esp_heap.log", "esp-heap", (3, 2, 0), 128, {"threads": "2"}, ("at the latest that can be", "other lines, left out: 3")),
    Sample("timeline.raw.json", "torch-timeline", (3, 2, 0), 5120, {}, ("latest live block of its size and category", "existed when the profiler began, allocated first: 1", "new versions of tensors, which move no memory: 1", "no block is live, left out: 1")),
    Sample("chrome.json", "chrome", (1, 1, 0), 512, {"threads": "1", "device": "cuda:0"}, ("other devices than cuda:0, left out: 1",)),
]  # fmt: skip
IDS = [case.file for case in CASES]


@pytest.mark.parametrize("case", CASES, ids=IDS)
def test_a_sample_is_read(case: Sample) -> None:
    read = reading.read(SAMPLES / case.file)
    assert (read.facts.allocs, read.facts.frees, read.facts.reallocs) == case.ops
    assert read.facts.peak_live_bytes == case.peak
    known = dict(read.metadata)
    said = known.pop("assumed", "").splitlines()
    assert known == {"format": case.format, **case.metadata}
    assert len(said) == len(case.said)
    assert all(any(part in line for line in said) for part in case.said)


@pytest.mark.parametrize("case", CASES, ids=IDS)
def test_it_is_known_by_its_first_bytes_alone(case: Sample) -> None:
    with open_source(SAMPLES / case.file) as source:
        assert [name for name, known in formats().items() if known.sniff(source.head(), "x")] == [case.format]


@pytest.mark.parametrize("case", CASES, ids=IDS)
def test_converted_it_is_the_same_trace_and_says_the_same(case: Sample, tmp_path: Path) -> None:
    first = reading.read(SAMPLES / case.file)
    told: dict[str, str] = {}
    reading.convert(SAMPLES / case.file, tmp_path / "t.parquet", metadata=told)
    again = reading.read(tmp_path / "t.parquet")
    assert again.metadata == first.metadata == told
    assert again.facts.peak_live_bytes == first.facts.peak_live_bytes and again.facts.events == first.facts.events
    if case.format != "minimalloc":
        reading.convert(SAMPLES / case.file, tmp_path / "t.csv")
        assert reading.read(tmp_path / "t.csv").facts.events == first.facts.events


def test_lifetimes_are_written_and_read_back(tmp_path: Path) -> None:
    rows = [
        ("alloc", 1, 100),
        ("alloc", 2, 50),
        ("realloc", 1, 300),
        ("free", 2, None),
        ("alloc", 2, 7),
        ("free", None, None),
        ("realloc", 2, 0),
    ]
    trace.write(trace.from_events(rows), tmp_path / "t.csv")
    reading.convert(tmp_path / "t.csv", tmp_path / "lifetimes.csv", to="minimalloc")
    lines = (tmp_path / "lifetimes.csv").read_text().splitlines()
    assert lines == ["id,lower,upper,size,alignment", "1,0,2,100,1", "2,1,3,50,1", "3,4,6,7,1", "4,2,7,300,1"]
    again = reading.read(tmp_path / "lifetimes.csv")
    assert (again.metadata["format"], again.facts.peak_live_bytes, again.facts.never_freed) == ("minimalloc", 350, 0)
    with pytest.raises(UsageError, match=r"unknown format to write 'minmalloc'; did you mean 'minimalloc'"):
        reading.convert(tmp_path / "t.csv", tmp_path / "x.csv", to="minmalloc")


def test_alignments_threads_times_and_tags_arrive() -> None:
    android = reading.read(SAMPLES / "android.zip").to_pandas()
    assert android["align"].tolist()[2] == 4096 and android["stream"].tolist()[:3] == [202, 203, 202]
    assert reading.read(SAMPLES / "android_times.txt").to_pandas()["time"].tolist() == [1000, 1000, 2000]
    assert reading.read(SAMPLES / "lifetimes.csv").to_pandas()["align"].max() == 16
    assert reading.read(SAMPLES / "sample.replay").tags == ("HOST", "pool")
    times = reading.read(SAMPLES / "rmm.csv").to_pandas()["time"].tolist()
    assert times[0] == (23 * 3600 + 21 * 60 + 19) * 10**9 + 998533000 and times[2] - times[0] == 3612_663342000


def test_the_five_lines_of_the_docs_are_read(tmp_path: Path) -> None:
    text = (ROOT / "docs" / "formats.md").read_text()
    sections = dict(re.findall(r"^## ([\w-]+)\n(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL))
    assert set(sections) == set(formats())
    for name in set(formats()) - {"parquet", "memray", "torch-snapshot", "calls", "template"}:
        lines = re.findall(r"^    (.*)$", sections[name], re.MULTILINE)
        assert len(lines) >= 4, name
        (tmp_path / "example").write_text("\n".join(lines) + "\n")
        read = reading.read(tmp_path / "example")
        assert read.facts.events >= 2 and read.metadata.get("format", "csv") == name


def test_memray_captures(tmp_path: Path) -> None:
    memray = pytest.importorskip("memray")
    with memray.Tracker(tmp_path / "capture.memray"):
        blocks = [bytearray(1000 * size) for size in range(1, 60)]
        blocks.clear()
    read = reading.read(tmp_path / "capture.memray")
    with memray.FileReader(tmp_path / "capture.memray") as reader:
        assert read.facts.allocs == reader.metadata.total_allocations - read.facts.frees
        assert read.facts.peak_live_bytes == reader.metadata.peak_memory
    assert "malloc" in read.tags and read.metadata["format"] == "memray"
    whole = (tmp_path / "capture.memray").read_bytes()
    for number in range(30):  # memray's own reader crashes on some of these
        damaged = bytearray(whole)
        damaged[10 + number * (len(whole) - 20) // 30] ^= 0x55
        (tmp_path / "damaged.memray").write_bytes(damaged)
        with suppress(InputError):
            reading.read(tmp_path / "damaged.memray", invalid="skip")


@pytest.mark.parametrize(
    ("file", "content", "says"),
    [
        ("a.txt", b"7: malloc 0x10 8\nnonsense\n7: free 0x10\n", r":2: the line is not of this format: 'nonsense'"),
        ("a.rep", b"1\n1\n2\n1\na 0 8\nf 0\nf 0\n", r":7: free of id 0, which is not live \(freed at line 6\)"),
        ("a.trace", b"Alloc(8),\nFree(1),\n", r":2: free of id 1, which is not live \(never allocated\)"),
        ("a.mtrace", b"= Start\n@ x:[0x1] + 0x10 0x1ffffffffffffff0\n", r":2: alloc of id 0: size 2305843009213693936 is more"),
        ("a.csv", b"id,lower,upper,size\n1,0,4,8\n2,5,4,8\n", r":3: the lifetime ends at 4, before it begins at 5"),
        ("a.csv", b"id,lower,upper,size\n1,0,x,8\n", r":2: column 'upper': 'x' is no whole number"),
        ("a.replay", b'{"category":"operation","name":"allocate","timestamp":1,"string_args":{"pointer":"0x1"}}\n', r":1: the line is no event of Umpire's \('size' is missing\)"),
        ("a.csv", b"Thread,Time,Action,Pointer,Size,Stream\n1,12:00,allocate,0x1,8,0x0\n", r":2: the line is not of this format: .1,12:00,allocate"),
        ("a.json", b'{"traceEvents": [{"ph":"X","name":"mm","ts":1}]}', r": none of its 1 events is a memory event"),
        ("a.json", b'{"traceEvents": [{"ph":"i","name":"[memory]","ts":1,"args":{"Bytes":8}}]}', r": its 1 memory events lack an address"),
        ("a.json", b'{"traceEvents": [{"ph":"v","name":"dump","ts":1}]}', r": memory dumps hold sums, no single allocations"),
        ("a.pftrace", b"\x0a\x20\x00\x01\x02", r": no array of trace events in JSON; Perfetto's binary traces"),
        ("a.memray", b"memray\0nothing", r": memray cannot read it|extra"),
        ("a.txt", b"Dear diary, 7: malloc 0x10 8\n", r": no known format"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_with_its_place(file: str, content: bytes, says: str, tmp_path: Path) -> None:
    from memtrace.errors import MemtraceError

    (tmp_path / file).write_bytes(content)
    with pytest.raises(MemtraceError, match=says):
        reading.read(tmp_path / file)


RMM_013 = (SAMPLES / "rmm_013.csv").read_bytes()
OLDEST_REALLOCS = b"""\
{ "kind":"replay", "uid":1, "timestamp":1, "event": "makeMemoryResource", "payload": { "name": "HOST" }, "result": "0x10" }
{ "kind":"replay", "uid":1, "timestamp":2, "event": "allocate", "payload": { "allocator_ref": "0x10", "size": 8 } }
{ "kind":"replay", "uid":1, "timestamp":3, "event": "allocate", "payload": { "allocator_ref": "0x10", "size": 8 }, "result": { "memory_ptr": "0xa0" } }
{ "kind":"replay", "uid":1, "timestamp":4, "event": "reallocate", "payload": { "ptr": "0xa0", "size": 16 } }
{ "kind":"replay", "uid":1, "timestamp":5, "event": "reallocate", "payload": { "ptr": "0xa0", "size": 16 }, "result": { "memory_ptr": "0xb0" } }
{ "kind":"replay", "uid":1, "timestamp":6, "event": "reallocate", "payload": { "ptr": "0xb0", "size": 24 } }
{ "kind":"replay", "uid":1, "timestamp":7, "event": "allocate", "payload": { "allocator_ref": "0x10", "size": 24 }, "result": { "memory_ptr": "0xc0" } }
{ "kind":"replay", "uid":1, "timestamp":8, "event": "deallocate", "payload": { "allocator_ref": "0x10", "memory_ptr": "0xb0" } }
{ "kind":"replay", "uid":1, "timestamp":9, "event": "reallocate", "payload": { "ptr": "0xb0", "size": 24 }, "result": { "memory_ptr": "0xc0" } }
{ "kind":"replay", "uid":1, "timestamp":10, "event": "deallocate", "payload": { "allocator_ref": "0x10", "memory_ptr": "0xb0" } }
{ "kind":"replay", "uid":1, "timestamp":11, "event": "deallocate", "payload": { "allocator_ref": "0x10", "memory_ptr": "0xc0" } }
"""


@pytest.mark.parametrize(
    ("file", "content", "events", "said"),
    [
        ("a.txt", b"7: malloc 0x10 8\n7: free 0x", 1, "the last line (2) is cut: '7: free 0x' left out"),
        ("a.txt", b"7: malloc 0x10 8\n7: free 0x10", 2, "the last line (2) has no line end: taken as it stands"),
        ("a.mtrace", b"= Start\n@ x:[0x1] + 0x10 0x8\n@ x:[0x1] < 0x10\n", 1, "the file ends in the middle of a realloc: left out"),
        ("a.mtrace", b"= Start\n@ x:[0x1] + 0x10 0x8\n@ x:[0x1] < 0x10\n@ x:[0x1] + 0x30 0x8\n", 3, "first half is recorded, taken as frees: 1"),
        ("a.rep", b"1\n1\n9\n1\na 0 8\n", 1, "the header announces 9 operations, the file has 1"),
        ("a.rep", b"3\r\n2\r\na 0 8\r\nf\t0\r\n", 2, "the header has 2 numbers, not 4: taken as ids and operations"),
        ("a.rep", b"20000 1 3 1\na 0 8\nf 0\n", 2, "the header announces 3 operations, the file has 2"),
        ("a.script", b"# small\na 0 8\nr  0   16\n\n# end\nf 0\n", 3, "comments, left out: 2"),
        ("a.raw", b"v 10500 3\nx 9 /bin/bash\nX bash -c for i in 1\ndo ls\na b; done\nI 1000 7d55\n+ 8 1 ff0\n- ff0\n", 2, "further lines of the recorded command, left out: 2"),
        ("a.csv", b"1,12:00:00.1,allocate,0x10,8,0x0\nThread,Time,Action,Pointer,Size,Stream\n2,12:00:00.2,free,0x10,8,0x0\n2,11:00:00.2,allocate,0x10,8,0x0\n", 3, "times that go back"),
        ("a.csv", RMM_013, 5, "reallocs of pointers that the recording never allocates, taken as new blocks: 1"),
        ("a.replay", OLDEST_REALLOCS, 5, "frees of pointers that the recording never allocates (it began later), left out: 1"),
        ("a.heaptrack", b"v 10500 3\nX a\na 8 1\n+ 0\n", 1, "the file lacks the lines that end an interpreted file"),
        ("a.csv", b"id,start,end,size\n1,0,3,8\n2,4,5,8\n", 4, "column 'end' is the last time of a lifetime: 1 is added"),
        ("a.csv", b"id,lower,upper,size,hint\n1,0,3,8,0\n", 2, "columns left out: hint"),
        ("a.replay", b'{"category":"operation","name":"allocate","timestamp":1,"numeric_args":{"size":8},"string_args":{"pointer":"0x1"}}\n{"categ', 1, "the last line (2) is cut"),
        ("a.json", b'[{"ph":"i","name":"[memory]","ts":1,"args":{"Addr":1,"Bytes":8}}, {"ph":', 1, "the file ends in the middle of an event"),
    ],
)  # fmt: skip
def test_ends_and_misfits_are_handled_and_said(file: str, content: bytes, events: int, said: str, tmp_path: Path) -> None:
    (tmp_path / file).write_bytes(content)
    read = reading.read(tmp_path / file)
    assert read.facts.events == events and said in read.metadata["assumed"]


def test_a_cut_packed_recording_is_read_to_its_last_byte(tmp_path: Path) -> None:
    import gzip
    import random

    random.seed(5)
    lines = "".join(f"7: malloc 0x{16 * number:x} {random.randrange(10**6)}\n" for number in range(1, 20_000))
    packed = gzip.compress(lines.encode())
    (tmp_path / "a.txt.gz").write_bytes(packed[: len(packed) // 2])
    read = reading.read(tmp_path / "a.txt.gz")
    assert 9_000 < read.facts.events < 11_000
    assert "the packed file is cut" in read.metadata["assumed"]


@pytest.mark.parametrize(
    "case", [case for case in CASES if case.file.endswith((".txt", ".log", ".csv", ".rep", ".mtrace", ".replay"))]
)
def test_files_of_other_systems_are_read_the_same(case: Sample, tmp_path: Path) -> None:
    """Line ends of two bytes, and a mark of UTF-8 in front."""
    content = (SAMPLES / case.file).read_bytes()
    (tmp_path / case.file).write_bytes(b"\xef\xbb\xbf" + content.replace(b"\n", b"\r\n"))
    there, here = reading.read(tmp_path / case.file), reading.read(SAMPLES / case.file)
    assert there.metadata == here.metadata and there.to_pandas().equals(here.to_pandas())


def test_a_database_of_events_is_read_as_their_text(tmp_path: Path) -> None:
    import sqlite3

    lines = [line for line in (SAMPLES / "sample.replay").read_text().splitlines() if line.startswith("{")]
    database = sqlite3.connect(tmp_path / "a.replay")
    database.execute("CREATE TABLE EVENTS (EVENT           JSON    )")
    database.executemany("INSERT INTO EVENTS VALUES(?)", [(line,) for line in lines])
    database.commit()
    database.close()
    there, here = reading.read(tmp_path / "a.replay"), reading.read(SAMPLES / "sample.replay")
    assert there.metadata == here.metadata and there.to_pandas().equals(here.to_pandas())
    whole = (tmp_path / "a.replay").read_bytes()
    (tmp_path / "cut.replay").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match="SQLite cannot read it"):
        reading.read(tmp_path / "cut.replay")
    sqlite3.connect(tmp_path / "other.db").execute("CREATE TABLE notes (text)").connection.commit()
    with pytest.raises(InputError, match="a SQLite database without Umpire"):
        reading.read(tmp_path / "other.db")


def test_devices_by_name_and_addresses_as_text(tmp_path: Path) -> None:
    event = '{"ph":"i","name":"[memory]","ts":%s,"args":{"Addr":%s,"Bytes":%s,%s}}'
    gpu, cpu = '"Device Id":0', '"Device Type":"CPU"'
    events = [(1, '"0x10"', 64, gpu), (2, "16", 8, cpu), (3, "16", -64, '"Device Id":0,"Device Type":"CUDA"')]
    (tmp_path / "a.json").write_text('{"traceEvents": [' + ",".join(event % some for some in events) + "]}")
    read = reading.read(tmp_path / "a.json")
    assert (read.facts.events, read.facts.peak_live_bytes, read.metadata["device"]) == (2, 64, "cuda:0")


def test_a_zip_of_several_files_is_refused(tmp_path: Path) -> None:
    import zipfile

    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("one.txt", "1: free 0x0\n")
        archive.writestr("two.txt", "1: free 0x0\n")
    with pytest.raises(InputError, match=r"a zip of 2 files \(one\.txt, two\.txt\) is no trace"):
        reading.read(tmp_path / "a.zip")
    (tmp_path / "b.zip").write_bytes((SAMPLES / "android.zip").read_bytes()[:100])
    with pytest.raises(InputError, match=r"b\.zip: cannot be read"):
        reading.read(tmp_path / "b.zip")


def test_the_command_line_says_what_was_assumed(memtrace: Run, tmp_path: Path) -> None:
    for command in (["info"], ["check"], ["convert"]):
        target = ["t.parquet"] if command == ["convert"] else []
        done = memtrace(*command, SAMPLES / "android.zip", *target)
        assert "note: pointers given out again without a recorded free, taken as freed by then: 1" in done.stderr, done
    assert "threads" in memtrace("info", SAMPLES / "android.zip").stdout
    assert "note:" not in memtrace("info", SAMPLES / "android.zip", "-q").stderr
    assert '"threads": "3"' in memtrace("info", SAMPLES / "android.zip", "--json").stdout


def public(name: str) -> Path:
    path = PUBLIC / name
    if not path.exists():
        pytest.skip("the published traces are not here")
    return path


def test_the_published_android_trace() -> None:
    read = reading.read(public("android/systemui.zip"))
    assert read.facts.peak_live_bytes == 10_441_709 and read.metadata["threads"] == "393"
    assert read.facts.events == 786_454 - 357  # lines without those that end threads
    assert "assumed" not in read.metadata


@pytest.mark.parametrize(
    ("file", "ops", "peak"),
    [
        ("wee_alloc/dogfood.trace", (32_472, 13_604, 0), 1_359_176),
        ("heaptrack/heaptrack.david.18594.gz", (2_896, 2_859, 0), 996_970),
        ("heaptrack/heaptrack.test_sysroot.raw", (3, 0, 0), 73_760),
        ("umpire/output.replay", (177, 177, 27), 372),
        ("umpire/output.omp.replay", (382, 382, 27), 496),
        ("umpire/output.devices.replay", (1_642, 1_642, 27), 496),
        ("minimalloc/A.1048576.csv", (154, 154, 0), 1_048_576),
        ("minimalloc/K.1048576.csv", (454, 454, 0), 1_048_576),
        ("minimalloc/input.12.csv", (5, 5, 0), 12),
    ],
)
def test_other_published_traces(file: str, ops: tuple[int, int, int], peak: int) -> None:
    facts = reading.read(public(file)).facts
    assert (facts.allocs, facts.frees, facts.reallocs, facts.peak_live_bytes) == (*ops, peak)


def test_every_published_trace_is_read() -> None:
    known = ("android", "heaptrack", "minimalloc", "omnimalloc-small", "umpire", "wee_alloc")
    files = [path for name in known for path in sorted(public(name).iterdir()) if path.name != "LICENSE"]
    for path in files:
        assert reading.read(path).facts.invalid_events == 0
    assert len(files) > 20
