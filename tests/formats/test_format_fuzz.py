"""Damaged, cut, spliced and random files in every format: an answer or one message, in bounded time and memory.

An ordinary run is short; MEMTRACE_FUZZ_SECONDS=600 makes it as long as that, over all formats together.
"""

from __future__ import annotations

import gzip
import os
import sqlite3
import time
import tracemalloc
from contextlib import closing, suppress
from pathlib import Path

import pytest
from conftest import ROOT
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from memtrace import reading
from memtrace.errors import InputError, UsageError
from memtrace.formats import formats
from memtrace.reading.conversion import convert

SAMPLES = ROOT / "tests" / "data" / "formats"
SECONDS = float(os.environ.get("MEMTRACE_FUZZ_SECONDS", "0"))
MOST_SECONDS = 20.0  # of one file: first use may compile
MOST_BYTES = 200 << 20


def unpacked(path: Path) -> bytes:
    from memtrace.trace.sources import open_source

    with open_source(path) as source, source.open() as stream:
        return stream.read(1 << 20)


def database(lines: bytes) -> bytes:
    """Umpire's events as it keeps them in SQLite."""
    with closing(sqlite3.connect(":memory:")) as made:
        made.execute("CREATE TABLE EVENTS (EVENT           JSON    )")
        made.executemany("INSERT INTO EVENTS VALUES(?)", [(line,) for line in lines.decode().splitlines()])
        made.commit()
        return made.serialize()


CORPUS = {
    "android": ["android.zip", "android_times.txt"],
    "chrome": ["chrome.json"],
    "heaptrack": ["sample.heaptrack.gz", "sample.heaptrack.raw"],
    "logalloc": ["logalloc.log", "logalloc_munged.log"],
    "minimalloc": ["lifetimes.csv", "tflite-plan.csv"],
    "mtrace": ["sample.mtrace"],
    "rep": ["sample.rep"],
    "rmm": ["rmm.csv", "rmm_013.csv"],
    "umpire": ["sample.replay", "old.replay"],
    "valgrind": ["valgrind.log"],
    "kmem": ["kmem.txt", "kmem_pages.perf"],
    "template": ["kmem.txt", "valgrind.log"],
    "ltrace": ["sample.ltrace"],
    "strace": ["sample.strace"],
    "utrace": ["utrace.txt", "kdump.txt"],
    "cmt": ["cmt.trace"],
    "vma": ["vma.csv"],
    "freertos": ["freertos.log"],
    "esp-heap": ["esp_heap.log"],
    "torch-timeline": ["timeline.raw.json"],
    "wee_alloc": ["sample.trace"],
    "xla": ["xla-old-buffer-assignment.txt", "xla-mlp.hlo.pb.gz"],
}
TEXTS = {name: [unpacked(SAMPLES / file) for file in files] for name, files in CORPUS.items()}
TEXTS["umpire"].append(database(TEXTS["umpire"][0]))
SPECIAL = st.sampled_from(
    [b"\n", b"\0", b"\xff\xfe", b" ", b"0x", b"(nil)", b"-1", b"99999999999999999999", b"0xffffffffffffffff", b",", b'"', b"{", b"[" * 500, b"1e999", b"NaN", b"null", b"\r", b"\r\n", b"#", b"=" * 70, b"\xe2\x80\xa8", b"\xef\xbb\xbf"]
)  # fmt: skip


@st.composite
def damaged(draw: st.DrawFn, texts: list[bytes]) -> bytes:
    """A sample after some damage."""
    text = bytearray(draw(st.sampled_from(texts)))
    for _ in range(draw(st.integers(0, 8))):
        at = draw(st.integers(0, len(text)))
        kind = draw(st.sampled_from(["cut", "put", "byte", "swap", "repeat", "drop"]))
        other = draw(st.integers(0, len(text)))
        low, high = min(at, other), max(at, other)
        if kind == "cut":
            text = text[: max(at, 1)]
        elif kind == "put":
            text[at:at] = draw(SPECIAL)
        elif kind == "byte" and at < len(text):
            text[at] = draw(st.integers(0, 255))
        elif kind == "swap":
            text = text[high:] + text[low:high] + text[:low]
        elif kind == "repeat" and high - low < 2000:
            text[at:at] = text[low:high] * draw(st.integers(1, 5))
        elif kind == "drop":
            del text[low : min(high, low + 40)]
    return bytes(text)


TEMPLATES = "--{pid}-- {tag}({size}) = {ptr}\n{*}free{*}({ptr})\n{*}ptr={ptr}{*}req={size} {*}"


def asked(name: str) -> str:
    """What `--format` takes for this format."""
    return f"template:{TEMPLATES}" if name == "template" else name


def survives(name: str, content: bytes, path: Path) -> None:
    """Read it, whatever it is: nothing but an InputError may come of it."""
    name = asked(name)
    path.write_bytes(content)
    began = time.monotonic()
    for invalid in ("error", "skip"):
        try:
            reading.read(path, format=name, invalid=invalid)
        except InputError as error:
            assert str(error).startswith(str(path))
    with suppress(InputError):
        reading.check(path, format=name, most=5)
        convert(path, path.with_suffix(".parquet"), format=name, invalid="skip")
    try:
        reading.read(path, invalid="skip")
    except InputError:
        pass
    except UsageError as error:
        assert "needs an extra" in str(error)  # it begins as memray's do
    assert time.monotonic() - began < MOST_SECONDS


def fuzz(name: str, path: Path, examples: int) -> None:
    @settings(max_examples=examples, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(
        st.one_of(
            damaged(TEXTS[name]),
            st.binary(min_size=1, max_size=300),
            damaged([text for texts in TEXTS.values() for text in texts]),
        )
    )
    def run(content: bytes) -> None:
        survives(name, content or b"\n", path)

    run()


@pytest.mark.parametrize("name", CORPUS)
def test_damaged_files(name: str, tmp_path: Path) -> None:
    fuzz(name, tmp_path / "damaged", 30)


@pytest.mark.parametrize("content", [b"\xef\xbb\xbf", b"Event Type,\r\0", b"\xef\xbb\xbf \n"])
def test_files_that_once_failed(content: bytes, tmp_path: Path) -> None:
    for name in CORPUS:
        survives(name, content, tmp_path / "damaged")


@pytest.mark.skipif(not SECONDS, reason="MEMTRACE_FUZZ_SECONDS says how long")
@pytest.mark.parametrize("name", CORPUS)
def test_damaged_files_for_long(name: str, tmp_path: Path) -> None:
    until = time.monotonic() + SECONDS / len(CORPUS)
    while time.monotonic() < until:
        fuzz(name, tmp_path / "damaged", 200)


@pytest.mark.parametrize("name", CORPUS)
def test_damaged_packing(name: str, tmp_path: Path) -> None:
    packed = bytearray(gzip.compress(TEXTS[name][0] * 50))
    for at in (15, len(packed) // 2, len(packed) - 5):
        survives(name, bytes(packed[:at]), tmp_path / "cut")
        survives(name, bytes(packed[:at]) + b"\xff" + bytes(packed[at + 1 :]), tmp_path / "changed")


def endless(name: str) -> bytes:
    """A line that does not end, or numbers that never repeat."""
    if name == "chrome":
        return b'{"traceEvents": [{"ph":"i","name":"[memory]","args":{"Addr":' + b"1" * (40 << 20)
    if name == "torch-timeline":
        return b"[[1, 2, 3, " + b"1" * (40 << 20)
    return TEXTS[name][0].splitlines(keepends=True)[0] + b"1" * (40 << 20)


@pytest.mark.parametrize("name", CORPUS)
def test_memory_is_bounded(name: str, tmp_path: Path) -> None:
    path = tmp_path / "endless.gz"
    path.write_bytes(gzip.compress(endless(name)))
    tracemalloc.start()
    try:
        with pytest.raises(InputError):
            reading.read(path, format=asked(name))
        assert tracemalloc.get_traced_memory()[1] < MOST_BYTES
    finally:
        tracemalloc.stop()


def test_every_format_of_text_is_fuzzed() -> None:
    assert set(CORPUS) == set(formats()) - {"csv", "parquet", "memray", "torch-snapshot", "calls"}
