"""Run the events of a trace through a real malloc and free, and read back the addresses and the memory footprint.

The calls are made by a C program, the driver (`driver.c`), in a process of its own, with the allocator loaded by LD_PRELOAD.
The trace is written to the driver's input file; the driver writes its answers to an output file. The records of both
files are the NumPy types below, which match the structs of `driver.c`.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from memtrace import temporary
from memtrace.errors import PolicyError, UsageError
from memtrace.native.compiler import compile_source
from memtrace.native.libraries import SYSTEM, find
from memtrace.trace import Op

if TYPE_CHECKING:
    from memtrace.trace import Events, Trace

Ints = NDArray[np.int64]

SOURCE = Path(__file__).with_name("driver.c")
FLAGS = ("-fno-builtin", "-pthread")  # the compiler must not replace calls of malloc by code of its own
MOST_THREADS = 1000  # as many streams may have a thread of their own
# Room for readings besides the samples: one each time that allocated bytes pass their peak by 1/256, and they double at
# most some 60 times.
EXTRA_READINGS = 1 << 14
NO_SLOT = 0xFFFFFFFF  # slot of an event that is about no block
NO_SETTINGS: Mapping[str, str] = MappingProxyType({})
NO_TAG = -2  # a tag code that no event has
# Op codes of the driver alone, in place of those of a copy and a swap: an alloc by calloc; an event that is ignored.
CALLOC, OTHER = 3, 4

# The header of the input file; behind it are the sampled event numbers, and an EVENT for each event of the trace.
INPUT_NAMES = (
    "events",  # number of events
    "slots",  # number of slots
    "samples",  # number of sampled events
    "capacity",  # bytes that may be mapped, 0: no limit
    "touch",  # 1: write to every page of every block
    "threads",  # number of threads
    "stop",  # 1: end at the first request that fails
    "most_readings",  # room for readings in the output file
    "heap",  # 1: read glibc's own count as well
    "base_mapped",  # bytes mapped by a driver without events, taken off every reading
    "base_resident",  # bytes resident likewise
)
INPUT = np.dtype([(name, "<u8") for name in INPUT_NAMES])
# size in bytes; slot or NO_SLOT; thread number; op code; log2 of the alignment in bytes, 0 for none
EVENT = np.dtype([("size", "<i8"), ("slot", "<u4"), ("thread", "<u2"), ("op", "u1"), ("align", "u1")])
# The header of the output file: counts of answers, readings and replayed events; ns in the replay; bytes mapped and resident
# before the first event; the path of the library that malloc is called in. Behind it are the ANSWERs and the READINGs.
OUTPUT = np.dtype(
    [
        *((n, "<u8") for n in ("requests", "readings", "events", "nanoseconds", "base_mapped", "base_resident")),
        ("library", "S216"),
    ]
)
# A request's address (0: it failed) and usable bytes.
ANSWER = np.dtype([("address", "<u8"), ("usable", "<u8")])
# The number of an event, and after it: calls made so far, bytes mapped, resident, and held by glibc's own count (0: not read).
READING = np.dtype([(name, "<i8") for name in ("event", "calls", "mapped", "resident", "heap")])


@dataclass(frozen=True)
class DriverResult:
    """The answers of one run of the driver.

    A request is an alloc or realloc that was made; a realloc of a block whose alloc failed is not made.
    """

    library: str  # path of the library that malloc was called in
    addresses: Ints  # [request] -1 where it failed
    usable: Ints  # [request] bytes that the block has for the program, by malloc_usable_size; 0 where it failed
    readings: Any  # [reading] of type READING, less the footprint of a driver without events
    events: int  # events replayed
    nanoseconds: int  # spent in the replay, without the readings


def run_driver(
    trace: Trace,
    library: str,
    samples: Ints,
    *,
    capacity: int | None,
    touch: bool,
    threads: bool,
    stop: bool,
    heap: bool = False,
    settings: Mapping[str, str] = NO_SETTINGS,
) -> DriverResult:
    """Replay ``trace`` through the allocator ``library``, a known name or a path, and return its answers.

    The footprint is read after the events ``samples`` (ascending numbers), where allocated bytes pass their peak, and where a
    request fails; ``heap``: with glibc's own count. ``capacity`` limits the mapped bytes, ``touch`` writes to every page of every
    block, ``threads`` gives each stream a thread of its own, and ``stop`` ends the run at the first request that fails.
    ``settings`` are variables of the allocator's environment, besides those of this process's.
    Raises UsageError where the library or a compiler is missing or cannot serve, PolicyError where the driver's process fails.
    """
    if not sys.platform.startswith("linux"):
        raise UsageError("native needs Linux: it reads /proc and loads libraries with LD_PRELOAD")
    file, driver = find(library), compile_source(SOURCE, *FLAGS)
    with temporary.folder() as folder:
        given, made = folder / "input", folder / "output"
        most = samples.size + EXTRA_READINGS
        header = np.zeros(1, INPUT)
        header[0] = (trace.facts.events, trace.facts.max_live, samples.size, capacity or 0, touch, 1, stop, most, heap, 0, 0)
        header["threads"] = _write(trace, given, header, samples, threads)
        _measure_base(driver, folder, header)
        with given.open("r+b") as file_given:
            file_given.write(header.tobytes())
        with made.open("wb") as out:
            out.truncate(OUTPUT.itemsize + trace.facts.events * ANSWER.itemsize + most * READING.itemsize)
        _run([str(driver), str(given), str(made)], library, file, settings)
        driven = _read(made, trace.facts.events)
    if file is not None and Path(driven.library).resolve() != file:
        raise UsageError(f"native:{library}: {file} does not define malloc: {driven.library} was called instead")
    return driven


def _measure_base(driver: Path, folder: Path, header: Any) -> None:
    """Measure the bytes mapped and resident of a driver that replays no events, and store them in ``header`` in place.

    That run uses glibc's malloc, which takes no memory if it is not called. The run's files are written to ``folder``.
    """
    given, made, none = folder / "no-events", folder / "nothing", header.copy()
    for name in ("events", "samples", "capacity", "heap"):
        none[name] = 0
    given.write_bytes(none.tobytes())
    made.write_bytes(bytes(OUTPUT.itemsize + int(header["most_readings"][0]) * READING.itemsize))
    _run([str(driver), str(given), str(made)], SYSTEM, None, NO_SETTINGS)
    out = np.fromfile(made, OUTPUT, 1)
    header["base_mapped"], header["base_resident"] = out["base_mapped"], out["base_resident"]


def _write(trace: Trace, path: Path, header: Any, samples: Ints, threads: bool) -> int:
    """Write the driver's input file: ``header``, ``samples`` and a record per event, a batch at a time.

    Return the number of threads, which is 1 if ``threads`` is False. The caller writes the final header over the first one.
    """
    numbers: dict[int, int] = {}
    calloc = trace.tags.index("calloc") if "calloc" in trace.tags else NO_TAG
    with path.open("wb") as file:
        file.write(header.tobytes())
        file.write(samples.astype("<i8").tobytes())
        for events in trace.batches():
            rows = np.empty(events.op.size, EVENT)
            rows["size"], rows["op"], rows["align"] = events.size, _ops(events, calloc), _log2(events.align)
            rows["slot"] = np.where(events.block < 0, NO_SLOT, events.block).astype(np.uint32)
            rows["thread"] = _threads(events.stream, numbers) if threads else 0
            file.write(rows.tobytes())
    return max(len(numbers), 1)


def _ops(events: Events, calloc: int) -> NDArray[np.uint8]:
    """Return the driver's op code of each event: the code of `Op`, but OTHER for a copy or swap, and CALLOC for some allocs.

    An alloc is made by calloc if its tag has code ``calloc`` and it asks for no alignment, since allocators tell calls of
    calloc from calls of malloc.
    """
    ops = np.where((events.op == Op.COPY) | (events.op == Op.SWAP), OTHER, events.op)
    wanted = (events.op == Op.ALLOC) & (events.tag == calloc) & (events.align <= 1)
    found: NDArray[np.uint8] = np.where(wanted, CALLOC, ops).astype(np.uint8)
    return found


def _log2(align: Ints) -> NDArray[np.uint8]:
    """Return log2, rounded down, of each alignment in bytes; 0 where there is none."""
    found: NDArray[np.uint8] = np.log2(np.maximum(align, 1)).astype(np.uint8)
    return found


def _threads(stream: Any, numbers: dict[int, int]) -> Any:
    """Return the thread number of each stream in ``stream``.

    ``numbers`` maps the streams of earlier batches to threads and is extended in place; new streams are numbered in ascending
    order. Raises UsageError if there are more than MOST_THREADS.
    """
    values, where = np.unique(stream, return_inverse=True)
    codes = np.array([numbers.setdefault(value, len(numbers)) for value in values.tolist()], np.uint16)
    if len(numbers) > MOST_THREADS:
        raise UsageError(f"the trace has more than {MOST_THREADS} streams, too many threads\ntry: native:...,threads=false")
    return codes[where]


def _run(command: list[str], library: str, file: Path | None, settings: Mapping[str, str]) -> None:
    """Run the driver's ``command`` with the library ``file`` in LD_PRELOAD (None: glibc's malloc), and wait for it to end.

    ``settings`` are added to the environment.
    Raises PolicyError, which names ``library``, if the process fails.
    """
    environment = {name: value for name, value in os.environ.items() if name != "LD_PRELOAD"} | dict(settings)
    if file is not None:
        environment["LD_PRELOAD"] = str(file)
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    if done.returncode:
        said = done.stderr.strip().splitlines()
        ended = f"was ended by signal {-done.returncode}" if done.returncode < 0 else f"ended with {done.returncode}"
        raise PolicyError(f"native:{library}: the process {ended}{': ' + said[-1] if said else ''}")


def _read(path: Path, events: int) -> DriverResult:
    """Read the driver's output file ``path``; ``events`` of the trace tell where its tables begin."""
    header = np.fromfile(path, OUTPUT, 1)[0]
    answers = np.fromfile(path, ANSWER, int(header["requests"]), offset=OUTPUT.itemsize)
    at = OUTPUT.itemsize + events * ANSWER.itemsize
    readings = np.fromfile(path, READING, int(header["readings"]), offset=at)
    addresses = np.where(answers["address"] == 0, -1, answers["address"].astype(np.int64))
    return DriverResult(
        bytes(header["library"]).decode(errors="replace"),
        addresses,
        answers["usable"].astype(np.int64),
        readings,
        int(header["events"]),
        int(header["nanoseconds"]),
    )
