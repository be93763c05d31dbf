"""Know files that are no traces by their first bytes, to say what they hold and what records a trace of the same program.

A profile holds sums by call site, a dump holds one moment, and a model, a picture or an archive holds no allocations: none of
them says when each block was allocated and freed, which a replay needs.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from memtrace.errors import InputError

SUMS = "sums for each call site, and not when each block came and went"
MOMENT = "the blocks of one moment, and not what was allocated and freed before it"
TOTALS = "totals over time, and no single blocks"
NOTHING = "no allocations"

NATIVE = "memtrace record native -o trace.parquet -- PROGRAM"
PYTHON = "memtrace record python -o trace.parquet -- script.py"
TORCH = "torch.cuda.memory._record_memory_history() and ._dump_snapshot('snapshot.pickle') in the program"
KERNEL = "perf record -a -e 'kmem:mm_page_*' -- sleep 10; perf script > pages.txt"
ENGINE = "calls of alloc and free logged by the engine as CSV (op,id,size), around VMA's or D3D12MA's own"
UNPACK = "unpack it, and give the file inside that is a trace"
TRACE = "`memtrace formats` lists what is read; `memtrace record` makes a trace of a program"


class Kind(NamedTuple):
    """A kind of file that is no trace."""

    start: bytes  # a regular expression, at the file's first byte
    name: str
    holds: str
    instead: str  # what to try; FILE stands for the file's own name
    so: str = "so it cannot be replayed"


def _kind(start: bytes, name: str, holds: str, instead: str, so: str = "so it cannot be replayed") -> Kind:
    """Return a kind; ``start`` is a regular expression in which `.` stands for any byte."""
    return Kind(b"(?s:" + start + b")", name, holds, instead, so)


def _packed(start: bytes, name: str, holds: str, instead: str) -> Kind:
    """Return a kind of file that may have a trace inside."""
    return _kind(start, name, holds, instead, "and cannot be read as it is")


def _json(start: bytes) -> bytes:
    """Return a regular expression of JSON in which blanks are left out: they may stand between all its marks."""
    return rb"\s*" + rb"\s*".join(re.findall(rb'"[^"]*"|\[\^?[^\]]*\]|\\?.', start))


PROFILES = (
    _kind(_json(rb'\{"dhatFileVersion":'), "a DHAT profile (valgrind)", SUMS, NATIVE),
    _kind(rb"desc: [^\n]*\ncmd: [^\n]*\ntime_unit:", "a massif profile (valgrind)", TOTALS, NATIVE),
    _kind(rb"heap profile: +\d+: ", "a heap profile of gperftools (tcmalloc)", SUMS, NATIVE),
    _kind(rb"heap_v2/\d+\n", "a heap profile of jemalloc", SUMS, NATIVE),
    _kind(rb"\s*(\x1b\[[0-9;]*m)*Memory usage summary:", "the summary of memusage", "sums and a histogram of sizes", NATIVE),
    # Entries of 24 bytes: bytes of the heap, of the stack, and a time; the first one has no heap.
    _kind(rb"\0{8}.{6}\0\0(?!\0{8}).{8}.{6}\0\0.{6}\0\0(?!\0{8}).{8}", "data of memusage (-d)", TOTALS, NATIVE),
    _kind(
        rb"# callgrind format|version: 1\n(creator: callgrind|.*\nevents: Ir)",
        "a callgrind profile",
        "instruction counts",
        NATIVE,
    ),
    _kind(rb"desc: I1 cache:", "a cachegrind profile", "instruction counts", NATIVE),
    _kind(rb"gmon\x01\0\0\0", "a gprof profile", "samples of time", NATIVE),
    _kind(
        rb"==\d+==\s*(Memcheck|ERROR: (Address|Leak|Memory)Sanitizer)|=+\n==\d+==ERROR: ",
        "a report of memory errors",
        SUMS,
        f"{NATIVE}; or valgrind --trace-malloc=yes PROGRAM 2> calls.log",
    ),
    _kind(
        rb"JAVA PROFILE 1\.0", "a heap dump of Java (hprof)", MOMENT, "a log of the allocator below, or of the JVM's own events"
    ),
    _kind(_json(rb'\{"snapshot":\{"meta":'), "a heap snapshot of V8", MOMENT, NATIVE),
    _kind(_json(rb'\{"head":\{"callFrame":'), "a heap profile of V8", SUMS, NATIVE),
    _kind(rb"go1\.\d+ heap dump\n", "a heap dump of Go", MOMENT, NATIVE),
    _kind(rb"\x80[\x02-\x05].{0,40}tracemalloc", "a snapshot of Python's tracemalloc", MOMENT, PYTHON),
    _kind(rb"\s*<malloc version=", "malloc_info of glibc", MOMENT, NATIVE),
    _kind(rb"\s*_* ?Begin jemalloc statistics", "jemalloc's statistics", TOTALS, NATIVE),
    _kind(rb"-*\n?MALLOC: ", "tcmalloc's statistics", TOTALS, NATIVE),
    _kind(rb"[^\n]*\n?\+-+\+\n\| NVIDIA-SMI", "the output of nvidia-smi", "the memory of each process at one moment", TORCH),
    _packed(rb"PERFILE2", "raw data of perf", "events that perf itself has to print", "perf script -i FILE > events.txt"),
    _kind(
        rb"\x17\x08Dtracing", "raw data of trace-cmd", "events that trace-cmd has to print", "trace-cmd report FILE > events.txt"
    ),
)
GRAPHICS = (
    _kind(_json(rb'\{"General":\{"API":"Vulkan"'), "a JSON dump of VMA (Vulkan)", MOMENT, ENGINE),
    _kind(_json(rb'\{"General":\{"API":"Direct3D12"'), "a JSON dump of D3D12MA", MOMENT, ENGINE),
    _kind(rb'\s*\{\s*"General"\s*:\s*\{\s*"API"\s*:\s*"Direct3D 12"', "a JSON dump of D3D12MA", MOMENT, ENGINE),
    _kind(_json(rb'\{"Total":\{"(?:Blocks|BlockCount|Allocations|Stats)":'), "a JSON dump of VMA or D3D12MA", MOMENT, ENGINE),
)
KERNELS = (
    _kind(rb"Node \d+, zone +\w+ ", "/proc/buddyinfo", "the free pages of one moment", KERNEL),
    _kind(rb"slabinfo - version", "/proc/slabinfo", MOMENT, KERNEL),
    _kind(rb"MemTotal: +\d+ kB", "/proc/meminfo", "totals of one moment", KERNEL),
    _kind(rb"nr_free_pages \d+\n", "/proc/vmstat", "counts of one moment", KERNEL),
    _kind(rb"[0-9a-f]{6,}-[0-9a-f]{6,} [r-][w-][x-][ps] ", "the map of a process", "its regions at one moment", NATIVE),
)
PLANS = (
    _kind(
        rb"Memory Space: |Total bytes used: \d", "a report of XLA on memory use", "sizes without lifetimes",
        "the file beside it that ends in -buffer-assignment.txt, or the .hlo.pb",
    ),
    _kind(
        rb"HloModule ", "a program of XLA as text", "a program without its plan",
        "XLA_FLAGS='--xla_dump_to=DIR --xla_dump_hlo_as_text', and its file that ends in -buffer-assignment.txt",
    ),
    _kind(
        rb"....TFL3", "a model of TensorFlow Lite", "a graph: its tensors get their places from the interpreter",
        "memtrace record tflite MODEL.tflite -o plan.csv; memtrace bound plan.csv",
    ),
    _kind(
        rb"....ET1\d", "a program of ExecuTorch (.pte)", "a plan of memory in a form that is not read",
        "lifetimes as CSV (id,lower,upper,size,offset), from the exporter's specs; memtrace bound FILE.csv",
    ),
    _kind(
        rb"....IREE|....iree", "a module of IREE", "compiled code: its plan is not in it",
        "lifetimes as CSV (id,lower,upper,size,offset); memtrace bound FILE.csv",
    ),
)  # fmt: skip
DATA = (
    _kind(rb"GGUF", "a model (GGUF)", "weights, and " + NOTHING, NATIVE),
    _kind(rb".{4}\0{4}\{\"", "a file of safetensors", "weights, and " + NOTHING, TORCH),
    _kind(rb"\x08[\x01-\x20]\x12[\x01-\x40][ -~]{3}", "a model (ONNX)", "a graph, and " + NOTHING, NATIVE),
    _kind(rb"\x89HDF\r\n", "a file of HDF5", "arrays, and " + NOTHING, TRACE),
    _kind(rb"\x93NUMPY", "an array of NumPy", NOTHING, TRACE),
    _kind(rb"SQLite format 3\0", "a SQLite database without Umpire's events", NOTHING, "the table as CSV (op,id,size)"),
    _kind(
        rb"ARROW1",
        "a file of Arrow (Feather)",
        "a table in a form that is not read",
        "the same table as Parquet or CSV (op,id,size)",
    ),
    _kind(rb"[\xd4\xa1]\xc3\xb2\xa1|\xa1\xb2\xc3\xd4|\n\r\r\n", "a capture of network packets", NOTHING, TRACE),
)
PICTURES = (
    _kind(rb"\x89PNG\r\n", "a picture (PNG)", NOTHING, TRACE),
    _kind(rb"\xff\xd8\xff", "a picture (JPEG)", NOTHING, TRACE),
    _kind(rb"GIF8", "a picture (GIF)", NOTHING, TRACE),
    _kind(rb"BM.{4}\0\0\0\0", "a picture (BMP)", NOTHING, TRACE),
    _kind(rb"RIFF....WEBP", "a picture (WebP)", NOTHING, TRACE),
    _kind(rb"\s*(<\?xml[^>]*>\s*)?(<!--.{0,400}?-->\s*)?(<!DOCTYPE svg[^>]*>\s*)?<svg", "a picture (SVG)", NOTHING, TRACE),
    _kind(rb"%PDF-", "a PDF", NOTHING, TRACE),
    _kind(rb"....ftyp|\x1aE\xdf\xa3|RIFF....(AVI |WAVE)|ID3|OggS|fLaC", "a film or a sound", NOTHING, TRACE),
)
PACKED = (
    _packed(rb".{257}ustar", "an archive (tar)", "files, of which one may be a trace", UNPACK),
    _packed(rb"\xfd7zXZ\0", "a file compressed by xz", "a file to be unpacked", "xz -dk FILE"),
    _packed(rb"BZh[1-9]1AY", "a file compressed by bzip2", "a file to be unpacked", "bzip2 -dk FILE"),
    _packed(rb"\x04\x22M\x18", "a file compressed by lz4", "a file to be unpacked", "lz4 -d FILE"),
    _packed(rb"7z\xbc\xaf\x27\x1c|Rar!\x1a|!<arch>\n|MSCF\0", "an archive", "files, of which one may be a trace", UNPACK),
)
PROGRAMS = (
    _kind(rb"\x7fELF.{12}[\x04]\0|\x7fELF.{12}\0[\x04]", "a core dump", "the memory of one moment", NATIVE),
    _kind(rb"\x7fELF", "a program or library (ELF)", "code, and " + NOTHING, "memtrace record native -o trace.parquet -- ./FILE"),
    _kind(
        rb"MZ.\0|[\xfe\xcf\xce]\xfa\xed\xfe|\xfe\xed\xfa[\xce\xcf]|\xca\xfe\xba\xbe",
        "a program or library",
        "code, and " + NOTHING,
        TRACE,
    ),
    _kind(rb"\0asm", "a module of WebAssembly", "code, and " + NOTHING, TRACE),
    _kind(rb"#![ /]", "a script", "code, and " + NOTHING, "memtrace record native -o trace.parquet -- ./FILE"),
)
KINDS = (*PROFILES, *GRAPHICS, *KERNELS, *PLANS, *PICTURES, *PACKED, *PROGRAMS, *DATA)
PPROF = Kind(b"", "a profile of pprof", SUMS, NATIVE)
PERFETTO = Kind(
    b"", "a trace of Perfetto", "samples and sums (heapprofd counts the blocks of each call site)",
    "malloc_debug's record_allocs (format android) on Android; elsewhere " + NATIVE,
)  # fmt: skip
# pprof begins with a type of samples, of two numbers, and another type or the samples behind it.
_PPROF = re.compile(rb"\x0a[\x02-\x08](\x08[\x01-\x7f])?\x10[\x01-\x7f]+[\x0a\x12]", re.DOTALL)
_JSON = re.compile(rb'\{\s*("|\})|\[\s*([{["]|-?[\d.]+\s*,)')  # and not a line such as "[12.5] started"
JSON = "JSON, in which no format finds events of an allocator"
MARKUP = "a page or document (HTML or XML)"
MOST_TEXT = 4096  # bytes that are looked at for what no text has


def known(head: bytes) -> str | None:
    """Return a sentence on a file that is known to be no trace, and what to try; None for one that may be anything."""
    for kind in KINDS:
        if re.match(kind.start, head):
            return _sentence(kind)
    if _PPROF.match(head):
        return _sentence(PPROF)
    return _sentence(PERFETTO) if _packets(head) else None


def general(head: bytes) -> str | None:
    """Return a sentence on a file of a general kind, JSON, a page or bytes of no known kind; None for other text."""
    start = head.lstrip()[:200].lower()
    if _JSON.match(start):
        return f"{JSON}\ntry: {TRACE}"
    if start.startswith((b"<!doctype", b"<?xml", b"<html")):
        return f"{MARKUP}, with no snapshot of PyTorch inside: {NOTHING}\ntry: {TRACE}"
    if b"\0" in head[:MOST_TEXT]:
        return f"binary data of no known kind (it begins with {head[:8].hex(' ')})\ntry: {TRACE}"
    return None


def refusal(label: str, said: str) -> InputError:
    """Return (not raise) the error that says what the file `label` is; `said` is of `known` or `general`."""
    here = label if "/" in label else f"./{label}"  # what a shell runs
    return InputError(f"{label}: " + said.replace("./FILE", here).replace("FILE", label))


def _sentence(kind: Kind) -> str:
    """Return what a file of a kind holds, why it cannot be replayed, and what to try."""
    return f"{kind.name}: it holds {kind.holds}, {kind.so}\ntry: {kind.instead}"


def _packets(head: bytes) -> bool:
    """Return whether a file begins with three packets of a Perfetto trace: messages of field 1 that begin with another."""
    at, count = 0, 0
    while at < len(head) and count < 3:
        if head[at] != 0x0A:
            return False
        length, shift, at = 0, 0, at + 1
        while at < len(head) and shift < 35:
            length |= (head[at] & 127) << shift
            shift, at = shift + 7, at + 1
            if head[at - 1] < 128:
                break
        if head[at : at + 1] in (b"", b"\x0a"):
            return False
        at += length
        count += 1
    return count == 3
