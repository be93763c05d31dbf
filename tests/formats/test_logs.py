"""Logs that are read by patterns: the patterns against regular expressions, and what each format's lines mean."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT, Run
from hypothesis import given, settings
from hypothesis import strategies as st

from memtrace import reading
from memtrace.errors import InputError, MemtraceError, UsageError
from memtrace.formats import _fitting, _matching, valgrind
from memtrace.formats import _text as text_of
from memtrace.formats._calls import new_calls
from memtrace.formats._logs import LogFormat, program_of
from memtrace.formats._patterns import FIELDS, MOST_TEXT, Line
from memtrace.formats.template import line_of
from memtrace.trace.batches import MISSING

SAMPLES = ROOT / "tests" / "data" / "formats"

# The slow twin: a pattern as a regular expression, whose fields give back nothing that they took.
NULL = r"\(nil\)|<nil>|\(null\)|NULL|null|nil"
NUMBERS = {
    "ptr": rf"(?:{NULL}|(?>(?:0x)?[0-9a-f]{{1,16}}))",
    "old": rf"(?:{NULL}|(?>(?:0x)?[0-9a-f]{{1,16}}))",
    "size": r"(?>0x[0-9a-f]{1,16}|[0-9]{1,39})",
    "thread": r"(?>0x[0-9a-f]{1,16}|[0-9]{1,39})",
}


def expression(pattern: str) -> str:
    made, parts = "", re.findall(r"\{([^{}]*)\}|([^{}]+)", pattern)
    for place, (field, literal) in enumerate(parts):
        text_follows = place + 1 < len(parts) and parts[place + 1][1] and not parts[place + 1][1][0].isspace()
        text_follows = text_follows or (place + 1 < len(parts) and parts[place + 1][1] != "")
        if literal:
            made += "".join(r"[ \t]++" if piece.isspace() else re.escape(piece) for piece in re.findall(r"\s+|\S+", literal))
        elif field == "*":
            made += ".*?"
        elif field == " ":
            made += r"[ \t]*+"
        elif field.startswith("?"):
            made += f"(?>(?:{re.escape(field[1:])})?)"
        elif field == "name":
            made += r"(?P<tag>\w++)"
        else:
            made += f"(?P<{field}>{NUMBERS[field]})" + ("" if text_follows else r"(?!\w)")
    return made


PIECES = st.sampled_from(
    ["{*}", "{ptr}", "{size}", "{old}", "{thread}", "{name}", "{ }", "{?kmem:}", " ", "a", "alloc", "(", ")", "=", ":", "0x", "-"]
)


@st.composite
def patterns(draw: st.DrawFn) -> str:
    """Pieces in any order, but no field twice, no two stars in a row, and no number that follows a field at once."""
    made: list[str] = []
    for piece in draw(st.lists(PIECES, min_size=1, max_size=9)):
        field = piece.startswith("{") and piece[1] not in " ?*"
        if (field and piece in made) or (made and made[-1].startswith("{") and piece.startswith("{")):
            continue
        made.append(piece)
    return "".join(made).strip()


WORDS = st.sampled_from(
    ["alloc", "a", "0x10", "ff", "12", "(nil)", "(", ")", "=", ":", "-", " ", "  ", "\t", "kmem:", "x", "0x", "_"]
)


def value(text: str | None, base: int) -> int:
    if text is None:
        return MISSING
    if "n" in text.lower():
        return 0
    found = int(text, 16 if base == 16 or text.startswith("0x") else 10)
    return found if base == 16 or text.startswith("0x") else min(found, 2**63 - 1)


@settings(max_examples=400, deadline=None)
@given(patterns(), st.lists(st.lists(WORDS, min_size=1, max_size=12).map("".join), min_size=1, max_size=6))
def test_a_pattern_takes_what_its_regular_expression_takes(pattern: str, lines: list[str]) -> None:
    if not pattern:
        return
    program, _ = program_of(LogFormat("any", (Line("alloc", pattern),)))
    text = "".join(line + "\n" for line in lines)
    calls, tag = new_calls(64), np.empty(64, np.int64)
    memory = _matching.new_memory()
    with np.errstate(over="ignore"):
        data = np.frombuffer(text.encode(), np.uint8)
        _, count = _matching.match_lines(data, 0, calls, tag, program, memory, _matching.ALL)
    found = list(zip(*(column[:count].tolist() for column in (calls.line, calls.pointer, calls.size, calls.thread)), strict=True))
    known = []
    for number, line in enumerate(lines, 1):
        fits = re.fullmatch(expression(pattern), line.strip(" \t"), re.ASCII) if line.strip(" \t") else None
        if fits is not None:
            given = fits.groupdict()
            size = value(given.get("size"), 10)
            known.append((number, value(given.get("ptr"), 16), 0 if size == MISSING else size, value(given.get("thread"), 10)))
    assert found == known
    assert memory.counts[_matching.FOREIGN] == len([line for line in lines if line.strip(" \t")]) - len(known)


def read(tmp_path: Path, text: str, format: str | None = None, **more: str) -> reading.traces.Trace:  # type: ignore[name-defined]
    path = tmp_path / "log.txt"
    path.write_text(text)
    return reading.read(path, format=format, **more)


def test_templates_read_anybodys_log(tmp_path: Path) -> None:
    log = "boot\n[0.5] T7 alloc 0xa0 100 @f\n[1.5] T8 alloc 0xb0 50 @g\n[2] grow 0xa0 -> 0xc0 300\n[2] free 0xb0 (50 bytes)\n"
    templates = "[{s}] T{thread} alloc {ptr} {size} @{tag}\n[{s}] grow {old} -> {ptr} {size}\n[{*}] free {ptr} ({size} bytes)"
    found = read(tmp_path, log, f"template:{templates}")
    frame = found.to_pandas()
    assert frame["op"].tolist() == ["alloc", "alloc", "realloc", "free"] and frame["size"].tolist()[:3] == [100, 50, 300]
    assert frame["tag"].tolist()[:2] == ["f", "g"] and frame["time"].tolist()[:3] == [5 * 10**8, 15 * 10**8, 2 * 10**9]
    assert found.metadata["assumed"] == "lines that fit no template, left out: 1" and found.metadata["threads"] == "2"


@pytest.mark.parametrize(
    ("template", "kind"),
    [
        ("alloc {ptr} {size}", "alloc"),
        ("malloc({size}) = {ptr}", "alloc"),
        ("F {ptr}", "free"),
        ("free {ptr} {size}", "free"),
        ("delete[] {ptr} of {size}", "free"),
        ("{old} -> {ptr} {size}", "realloc"),
        ("alloc=freelist gave {ptr} {size}", "alloc"),
        ("free=free={ptr}", "free"),
        ("skip=stats {*}", "skip"),
    ],
)
def test_the_kind_of_a_template_follows_from_its_fields(template: str, kind: str) -> None:
    assert line_of(template).kind == kind


@pytest.mark.parametrize(
    ("template", "says"),
    [
        ("alloc {pointer} {size}", "no field {pointer}; did you mean {ptr}"),
        ("alloc {pfn} {size}", "no field {pfn}"),
        ("alloc {ptr} {count}", "a line of alloc needs {size}"),
        ("alloc=x {ptr}", "a line of alloc needs {size}"),
        ("{old} to {size}", "a line of realloc needs {ptr}"),
        ("gone {*}", "a line of free needs {ptr}"),
        ("alloc {ptr {size}", "a brace without its other half at character 7"),
        ("alloc {ptr} {ptr} {size}", "{ptr} stands twice"),
        ("{*}{*} {ptr}", "{*} twice in a row"),
        ("{ptr}" + "x" * MOST_TEXT, "of at most 200"),
        ("", "needs templates"),
    ],
)
def test_what_is_wrong_with_a_template_is_said(template: str, says: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=re.escape(says)):
        read(tmp_path, "alloc 1 2\n", f"template:{template}")


def test_templates_have_names_in_the_folders_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, memtrace: Run) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "log.txt").write_text("new 10 at a0\nnew 20 at b0\ndel a0\n")
    (tmp_path / "memtrace.toml").write_text('[template]\nmine = ["new {size} at {ptr}", "del {ptr}"]\nodd = 3\n')
    assert reading.read("log.txt", format="template:mine").facts.peak_live_bytes == 30
    for name, says in (("mind", "did you mean 'mine'"), ("odd", "no list of texts")):
        with pytest.raises(UsageError, match=says):
            reading.read("log.txt", format=f"template:{name}")
    done = memtrace("info", "log.txt", "--template", "new {size} at {ptr}", "--template", "del {ptr}", "--json")
    assert '"peak_live_bytes": 30' in done.stdout, done
    done = memtrace("info", "log.txt", "--template", "del {ptr}", "--format", "csv")
    assert done.returncode == 2 and "give it or --format" in done.stderr
    with pytest.raises(InputError, match=r"no line fits 'other \{ptr\}'\nthe first line is 'new 10 at a0'"):
        reading.read("log.txt", format="template:other {ptr}")


def test_processes_are_told_apart(tmp_path: Path) -> None:
    sample = SAMPLES / "valgrind.log"
    one, all_ = (reading.read(sample, format=f"valgrind:{part}") for part in ("456", "all"))
    assert (one.facts.allocs, one.facts.peak_live_bytes) == (1, 9)
    assert all_.facts.allocs == 6 and all_.facts.never_freed == 2
    assert "2 processes in one trace, each with pointers of its own" in all_.metadata["assumed"]
    with pytest.raises(UsageError, match="takes the number of a process"):
        reading.read(sample, format="valgrind:x")


def test_valgrinds_functions_are_tags_and_align(tmp_path: Path) -> None:
    frame = reading.read(SAMPLES / "valgrind.log").to_pandas()
    allocs = frame[frame["op"] != "free"]
    names = ["malloc", "memalign", "calloc", "realloc", "malloc", "_ZnwmSt11align_val_t"]
    assert allocs["tag"].tolist()[:6] == names and allocs["align"].max() == 128 and allocs["size"].tolist()[2] == 20


@pytest.mark.parametrize(
    ("line", "op"),
    [
        ("realloc(0x0,8)malloc(8) = 0x30", "alloc"),
        ("reallocarray(0x10,3,8) = 0x30", "realloc"),
        ("zone_malloc(0x1, 8) = 0x30", "alloc"),
        ("zone_calloc(0x1, 2,4) = 0x30", "alloc"),
        ("zone_free(0x1, 0x10)", "free"),
        ("__builtin_new(8) = 0x30", "alloc"),
        ("_ZdlPvRKSt9nothrow_t(0x10)", "free"),
        ("_ZdlPvmSt11align_val_t(0x10, 0x20)", "free"),
        ("aligned_alloc(al 64, size 8) = 0x30", "alloc"),
        ("realloc(0x10,0) = 0x0", "free"),
    ],
)
def test_the_forms_of_all_versions_of_valgrind(line: str, op: str, tmp_path: Path) -> None:
    frame = read(tmp_path, f"--1-- malloc(8) = 0x10\n--1-- {line}\n").to_pandas()
    assert frame["op"].tolist() == ["alloc", op]
    assert frame["size"].tolist()[1] in (8, 24) or op == "free"


def test_damaged_calls_are_errors_with_their_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r":2: the line is not of this format: '--1-- free\(0xzz\)'"):
        read(tmp_path, "--1-- malloc(8) = 0x10\n--1-- free(0xzz)\n")
    assert read(tmp_path, "--1-- malloc(8) = 0x10\n--1-- free(0xzz)\n", invalid="skip").facts.invalid_events == 1


def test_kernel_events_say_their_cache_cpu_and_time() -> None:
    frame = reading.read(SAMPLES / "kmem.txt").to_pandas()
    assert frame["tag"].tolist()[:2] == ["kmalloc", "task_struct"] and frame["stream"].tolist()[:3] == [0, 1, 1]
    assert frame["time"].tolist()[0] == 37986_462553000
    assert reading.read(SAMPLES / "kmem.txt", format="kmem:bytes_alloc").facts.peak_live_bytes == 96 + 5888 + 16
    assert reading.read(SAMPLES / "kmem.txt", format="kmem:pages").facts.peak_live_bytes == 4096
    pages = reading.read(SAMPLES / "kmem_pages.perf").to_pandas()
    assert pages["size"].tolist()[:2] == [4096, 32768] and pages["tag"].tolist()[:2] == ["1", "0"]
    plan = reading.read(SAMPLES / "kmem_pages.perf", keep_plan=True).plan
    assert plan is not None and plan.offset.tolist() == [0x10554E << 12, 0x1000 << 12] and plan.place.tolist() == [1, 2]
    with pytest.raises(UsageError, match="takes slab, bytes_alloc, pages"):
        reading.read(SAMPLES / "kmem.txt", format="kmem:x")


def test_page_events_of_old_kernels_are_read(tmp_path: Path) -> None:
    lead = " app-100 [001] 10.000001: "
    log = (
        f"{lead}mm_page_alloc: page=ffffea0000040000 pfn=4096 order=1 migratetype=0 gfp_flags=GFP_KERNEL\n"
        f"{lead}mm_page_free_direct: page=ffffea0000040000 pfn=4096 order=1\n"
        f"{lead}mm_page_alloc: page=ffffea0000040000 pfn=4096 order=0 migratetype=2 gfp_flags=GFP_KERNEL\n"
        f"{lead}mm_pagevec_free: page=ffffea0000040000 pfn=4096 order=0 cold=0\n"
    )
    found = read(tmp_path, log)
    assert (found.facts.allocs, found.facts.frees, found.facts.peak_live_bytes) == (2, 2, 8192)


def test_time_grows_with_the_line_only() -> None:
    """A line on which every star is tried at every place: twice the length, twice the steps."""
    pattern = "{*}a{*}ab{*}{?x}b c"
    program, _ = program_of(LogFormat("any", (Line("skip", pattern),)))
    steps = []
    for length in (500, 1000):
        text = np.frombuffer(b"a" * length, np.uint8)
        counted = Counted(text)
        with np.errstate(over="ignore"):
            _fitting.fit(counted, 0, length, program, program.lines[0, 0], np.zeros(10, np.int64), np.zeros(8, np.int64))
        steps.append(counted.reads)
    assert steps[1] < 2.2 * steps[0] < 50_000


class Counted:
    """A text that counts how often a byte of it is read."""

    def __init__(self, text: np.ndarray) -> None:
        self.text, self.size, self.reads = text, text.size, 0

    def __getitem__(self, at: int) -> np.uint8:
        self.reads += 1
        byte: np.uint8 = self.text[at]
        return byte


def test_blocks_and_batches_may_be_of_any_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from memtrace.formats import _logs, _reading

    lines = [f"--7-- f{number % 50}({number}) = 0x{number * 16:x}\n" for number in range(1, 500)]
    (tmp_path / "a.log").write_text("".join(lines))
    whole = reading.read(tmp_path / "a.log").to_pandas()
    monkeypatch.setattr(text_of, "BLOCK_BYTES", 333)
    monkeypatch.setattr(_logs, "BATCH_ROWS", 7)
    monkeypatch.setattr(_reading, "BATCH_ROWS", 7)
    again = reading.read(tmp_path / "a.log").to_pandas()
    assert whole["tag"].tolist() == again["tag"].tolist() and whole["size"].tolist() == again["size"].tolist()
    assert sorted(set(whole["tag"])) == sorted(f"f{number}" for number in range(50))
    assert valgrind.sniff(lines[0].encode(), "x") is True and set(FIELDS) >= {"ptr", "size"} and MemtraceError


def test_two_halves_of_a_call_are_joined_on_their_thread(tmp_path: Path) -> None:
    log = (
        "1 malloc(8 <unfinished ...>\n2 calloc(2, 4 <unfinished ...>\n2 <... calloc resumed> ) = 0x20\n"
        "1 <... malloc resumed> ) = 0x10\n1 realloc(0x10, 64 <unfinished ...>\n1 <... realloc resumed> ) = 0x30\n"
        "3 <... malloc resumed> ) = 0x40\n2 malloc(7 <unfinished ...>\n2 malloc(9 <unfinished ...>\n2 <... malloc resumed> ) = 0x50\n"
    )
    found = read(tmp_path, log)
    frame = found.to_pandas()
    assert frame["size"].tolist() == [8, 8, 64, 9] and frame["op"].tolist() == ["alloc", "alloc", "realloc", "alloc"]
    assert frame["tag"].tolist() == ["calloc", "malloc", "realloc", "malloc"] and frame["stream"].tolist() == [0, 1, 1, 0]
    assert "only one half is in the file, left out: 2" in found.metadata["assumed"]


@pytest.mark.parametrize("lead", ["", "12 ", "[pid  12] ", "14:21:19.5 ", "12 14:21:19 ", "1700000000.250000 ", "[pid 12] 1.5 "])
def test_what_stands_before_a_call_is_the_thread_and_the_time(lead: str, tmp_path: Path) -> None:
    frame = read(tmp_path, f"{lead}prog->malloc(8) = 0x10\n{lead}free(0x10) = <void>\n", "ltrace").to_pandas()
    assert frame["op"].tolist() == ["alloc", "free"]
    times = {
        "14:21:19.5": 51679_500000000,
        "12 14:21:19": 51679 * 10**9,
        "1700000000.250000": 1700000000_250000000,
        "1.5": 15 * 10**8,
    }
    expected = [time for text, time in times.items() if lead.strip().endswith(text)][-1:]
    assert frame.get("time", frame["op"]).tolist()[:1] == (expected or ["alloc"])


def test_times_since_the_line_before_are_added_up(tmp_path: Path) -> None:
    log = "7  0.000000 mmap(NULL, 4096, 3, 34, -1, 0) = 0x9000\n7  0.25 openat(1) = 3\n7  0.5 munmap(0x9000, 4096) = 0\n"
    times = read(tmp_path, log, "strace").to_pandas()["time"].tolist()
    assert times == [0, 75 * 10**7]


@pytest.mark.parametrize(
    ("log", "format"),
    [
        ("--00:00:00:01.442 7-- _Znwm(4) = 0x4D6EC80\n--00:00:00:01.443 7-- _ZdlPv(0x4D6EC80)\n", "valgrind"),
        (
            "7 02:33:18.14 operator new(unsigned long)(4, 0x7f) = 0x55\n7 02:33:18.2 operator delete(void*)(0x55, 1) = 1\n",
            "ltrace",
        ),
        ("7 1796092398.2 [0x563a3ca702d3] _Znwm(4) = 0x55\n7 1796092398.3 [0x563a3ca702d3] _ZdlPvm(0x55, 4) = 1\n", "ltrace"),
        ("7 [00007f7e0976eca3] mmap(NULL, 4, 0x3, 0x22, -1, 0) = 0x7000\n7 [00007f7e0976eca3] munmap(0x7000, 4) = 0\n", "strace"),
        ("7 mmap(NULL, 4, 0x3, MAP_PRIVATE, 3</lib/x (a), b>, 0) = 0x7000 <0.01>\n7 munmap(0x7000, 4) = 0 <0.02>\n", "strace"),
    ],
)
def test_lines_of_the_tools_other_options(log: str, format: str, tmp_path: Path) -> None:
    found = read(tmp_path, log)
    assert (found.metadata["format"], found.facts.allocs, found.facts.frees, found.facts.peak_live_bytes) == (format, 1, 1, 4)


def test_a_time_of_day_goes_on_past_midnight(tmp_path: Path) -> None:
    log = "23:59:59.5 malloc(8) = 0x10\n00:00:01.5 malloc(8) = 0x20\n00:00:02.5 free(0x10) = <void>\n"
    times = read(tmp_path, log, "ltrace").to_pandas()["time"].tolist()
    assert [time - times[0] for time in times] == [0, 2 * 10**9, 3 * 10**9]
