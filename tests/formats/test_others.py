"""Files that are no traces: each is told what it is, why it cannot be replayed and what to try, and no trace is taken for one."""

from __future__ import annotations

import gzip
import io
import pickle
import tarfile
import tracemalloc
import zipfile
from pathlib import Path

import pytest
from conftest import ROOT, Run

from memtrace import reading
from memtrace.errors import InputError
from memtrace.formats import _others

SAMPLES = ROOT / "tests" / "data" / "formats"


def varint(number: int) -> bytes:
    out = b""
    while number > 127:
        out, number = out + bytes([number & 127 | 128]), number >> 7
    return out + bytes([number])


def field(which: int, data: bytes) -> bytes:
    """One field of a message of protobuf."""
    return varint(which << 3 | 2) + varint(len(data)) + data


def profile() -> bytes:
    """A profile of pprof, compressed as Go writes it: two types of samples, a sample, two texts."""
    types = field(1, b"\x08\x01\x10\x02") + field(1, b"\x08\x03\x10\x04")
    return gzip.compress(types + field(2, b"\x08\x01\x10\x05") + field(6, b"") + field(6, b"inuse_space"))


def archive() -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as made:
        made.addfile(tarfile.TarInfo("trace.csv"))
    return out.getvalue()


def traced() -> bytes:
    tracemalloc.start()
    try:
        kept = [bytes(100) for _ in range(10)]
        return pickle.dumps(tracemalloc.take_snapshot()) if kept else b""
    finally:
        tracemalloc.stop()


def zipped(*names: str) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as made:
        for name in names:
            made.writestr(name, b"x")
    return out.getvalue()


NATIVE = "record native"
# What a file begins with -> a word of what it is said to be, and a word of what to try.
CASES: dict[str, tuple[bytes, str, str]] = {
    "dhat.json": (b'{"dhatFileVersion":2\n,"mode":"heap","verb":"Allocated"\n', "a DHAT profile", NATIVE),
    "massif.out.1": (b"desc: --massif-out-file=massif.out\ncmd: ./t\ntime_unit: i\n#-----------\n", "a massif profile", NATIVE),
    "program.0001.heap": (b"heap profile:      4:   4352 [     5:   5000] @ heapprofile\n", "gperftools", NATIVE),
    "jeprof.9473.0.f.heap": (b"heap_v2/524288\n  t*: 1: 82338 [0: 0]\n", "jemalloc", NATIVE),
    "heap.pb.gz": (profile(), "pprof", NATIVE),
    "memusage.dat": (bytes.fromhex("0000000000000000c5de010000000000a4eee613a05c0000b6de01000000000010000000000000004801eb13a05c0000"), "memusage", NATIVE),
    "memusage.txt": (b"\n\x1b[01;32mMemory usage summary:\x1b[0;0m heap total: 122550, heap peak: 122550\n", "memusage", NATIVE),
    "heapprofd": (field(1, b"\x50\x01\x32\x02\x08\x01") * 4, "Perfetto", "android"),
    "vma.json": (b'{"General": {"API": "Vulkan", "apiVersion": "1.3.0"}, "Total": {}}', "VMA", "id,size"),
    "d3d12ma.json": (b'{\n  "General": {\n    "API": "Direct3D 12",\n', "D3D12MA", "id,size"),
    "old-vma.json": (b'{"Total": {"Blocks": 3, "Allocations": 10}}', "VMA or D3D12MA", "id,size"),
    "tracemalloc.pickle": (traced(), "tracemalloc", "record python"),
    "perf.data": (b"PERFILE2" + bytes(100), "raw data of perf", "perf script -i {path}"),
    "buddyinfo": (b"Node 0, zone      DMA      1      0      0      1\n", "buddyinfo", "kmem:mm_page"),
    "smaps": (b"55d0c0a00000-55d0c0a02000 r--p 00000000 fd:01 123  /bin/cat\n", "map of a process", NATIVE),
    "report.txt": (b"Memory Space: default (color=0)\nTotal bytes: 1428720 (1.36MiB)\n", "XLA", "buffer-assignment"),
    "model.tflite": (b"\x1c\0\0\0TFL3\x14\0", "TensorFlow Lite", "record tflite"),
    "model.pte": (b"\x18\0\0\0ET12" + bytes(20), "ExecuTorch", "memtrace bound"),
    "model.safetensors": (b"\x40\0\0\0\0\0\0\0" + b'{"w":{}}', "safetensors", "_dump_snapshot"),
    "plot.png": (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "a picture (PNG)", "memtrace formats"),
    "plot.csv": (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "a picture (PNG)", "memtrace formats"),
    "report.pdf": (b"%PDF-1.7\n", "a PDF", "memtrace formats"),
    "traces.tar.gz": (archive(), "an archive (tar)", "unpack it"),
    "trace.csv.xz": (b"\xfd7zXZ\0\0\4", "compressed by xz", "xz -dk {path}"),
    "program": (b"\x7fELF\x02\x01\x01" + bytes(9) + b"\x03\0>\0", "a program or library (ELF)", "-- {path}"),
    "core": (b"\x7fELF\x02\x01\x01" + bytes(9) + b"\x04\0>\0", "a core dump", NATIVE),
    "results.sqlite": (b"SQLite format 3\0\x10\0", "SQLite", "op,id,size"),
    "checkpoint.pt": (zipped("archive/data.pkl", "archive/data/0"), "a checkpoint of PyTorch", "unzip"),
    "settings.json": (b'{\n "name": "x"}\n', "JSON, in which no format", "memtrace formats"),
    "feed.xml": (b"<?xml version='1.0'?>\n<feed/>\n", "a page or document", "memtrace formats"),
    "data.bin": (bytes(range(256)), "binary data of no known kind (it begins with 00 01 02", "memtrace formats"),
    "server.log": (b"[2026-01-01 10:00:00] started\n[2026-01-01 10:00:01] stopped\n", "no known format", "--format"),
    "weights.pickle": (pickle.dumps({"a": 1}), "no memory snapshot", "_dump_snapshot"),
    "numbers.pickle": (pickle.dumps([1, 2]), "no memory snapshot", "_dump_snapshot"),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_a_file_that_is_no_trace_is_told_what_it_is(name: str, tmp_path: Path) -> None:
    content, what, advice = CASES[name]
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(InputError) as refused:
        reading.read(path)
    said, _, hints = str(refused.value).partition("\n")
    assert said.startswith(f"{path}:") and what in said
    assert hints.split("try: ")[1] and advice.format(path=path) in hints
    assert refused.value.exit_code == 3


def test_it_is_told_on_standard_error_with_exit_code_3(memtrace: Run, tmp_path: Path) -> None:
    (tmp_path / "dhat.json").write_bytes(CASES["dhat.json"][0])
    done = memtrace("run", "dhat.json")
    assert (done.returncode, done.stdout) == (3, "")
    assert "it holds sums for each call site, and not when each block came and went, so it cannot be replayed" in done.stderr


@pytest.mark.parametrize("file", sorted(path.name for path in SAMPLES.iterdir() if path.is_file()))
def test_no_trace_is_taken_for_another_kind(file: str) -> None:
    from memtrace.trace.sources import open_source

    # A log of Valgrind begins as its report of errors does; the calls in it, which are looked for first, tell them apart.
    with open_source(SAMPLES / file) as source:
        assert _others.known(source.head()) is None or file == "valgrind.log"
