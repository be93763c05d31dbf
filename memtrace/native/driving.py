"""A trace -> what a real allocator did with it: the driver (`driver.c`) is handed it in a file, and answers in another."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from memtrace.compiler import compiled
from memtrace.errors import PolicyError, UsageError
from memtrace.native.libraries import SYSTEM, find
from memtrace.trace import Op

if TYPE_CHECKING:
    from memtrace.trace import Events, Trace

Ints = NDArray[np.int64]

SOURCE = Path(__file__).with_name("driver.c")
FLAGS = ("-fno-builtin", "-pthread")
MOST_THREADS = 1000
EXTRA_READINGS = 1 << 14  # besides the samples: allocated bytes at most double some 60 times, in steps of 1/256
NO_SLOT = 0xFFFFFFFF
NO_TAG = -2  # no event's
CALLOC, OTHER = 3, 4  # codes of the driver's own

INPUT_NAMES = (
    "events",
    "slots",
    "samples",
    "capacity",
    "touch",
    "threads",
    "stop",
    "most_readings",
    "base_mapped",
    "base_resident",
)
INPUT = np.dtype([(name, "<u8") for name in INPUT_NAMES])
EVENT = np.dtype([("size", "<i8"), ("slot", "<u4"), ("thread", "<u2"), ("op", "u1"), ("align", "u1")])
OUTPUT = np.dtype(
    [
        *((n, "<u8") for n in ("requests", "readings", "events", "nanoseconds", "base_mapped", "base_resident")),
        ("library", "S216"),
    ]
)
ANSWER = np.dtype([("address", "<u8"), ("usable", "<u8")])
READING = np.dtype([("event", "<i8"), ("calls", "<i8"), ("mapped", "<i8"), ("resident", "<i8")])


@dataclass(frozen=True)
class Driven:
    """What the library did. Addresses and usable sizes are one per request, -1 and 0 where it failed."""

    library: str
    addresses: Ints
    usable: Ints  # bytes that the block has for the program, by malloc_usable_size
    readings: Any  # READING: bytes mapped and resident after an event, and calls made by then
    events: int
    nanoseconds: int  # in the replay, without the readings


def drive(trace: Trace, library: str, samples: Ints, *, capacity: int | None, touch: bool, threads: bool, stop: bool) -> Driven:
    """Replay a trace through a library by name or path; footprints are read after the events ``samples`` and at new peaks.

    Raises UsageError where the library or a compiler is missing, PolicyError where the library fails.
    """
    if not sys.platform.startswith("linux"):
        raise UsageError("native needs Linux: it reads /proc and loads libraries with LD_PRELOAD")
    file, driver = find(library), compiled(SOURCE, *FLAGS)
    with tempfile.TemporaryDirectory(prefix="memtrace-") as folder:
        given, made = Path(folder) / "input", Path(folder) / "output"
        most = samples.size + EXTRA_READINGS
        header = np.zeros(1, INPUT)
        header[0] = (trace.facts.events, trace.facts.max_live, samples.size, capacity or 0, touch, 1, stop, most, 0, 0)
        header["threads"] = _write(trace, given, header, samples, threads)
        _measure_base(driver, Path(folder), header)
        with given.open("r+b") as file_given:
            file_given.write(header.tobytes())
        with made.open("wb") as out:
            out.truncate(OUTPUT.itemsize + trace.facts.events * ANSWER.itemsize + most * READING.itemsize)
        _run([str(driver), str(given), str(made)], library, file)
        driven = _read(made, trace.facts.events)
    if file is not None and Path(driven.library).resolve() != file:
        raise UsageError(f"native:{library}: {file} does not define malloc: {driven.library} was called instead")
    return driven


def _measure_base(driver: Path, folder: Path, header: Any) -> None:
    """Note what the driver has that replays no events, and whose malloc is glibc's, which then takes nothing."""
    given, made, none = folder / "no-events", folder / "nothing", header.copy()
    for name in ("events", "samples", "capacity"):
        none[name] = 0
    given.write_bytes(none.tobytes())
    made.write_bytes(bytes(OUTPUT.itemsize + int(header["most_readings"][0]) * READING.itemsize))
    _run([str(driver), str(given), str(made)], SYSTEM, None)
    out = np.fromfile(made, OUTPUT, 1)
    header["base_mapped"], header["base_resident"] = out["base_mapped"], out["base_resident"]


def _write(trace: Trace, path: Path, header: Any, samples: Ints, threads: bool) -> int:
    """Write the driver's input, a batch at a time; returns how many threads it takes."""
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
    """The driver's codes: those of Op, but that a block tagged calloc is asked for by calloc; allocators tell them apart."""
    ops = np.where((events.op == Op.COPY) | (events.op == Op.SWAP), OTHER, events.op)
    wanted = (events.op == Op.ALLOC) & (events.tag == calloc) & (events.align <= 1)
    found: NDArray[np.uint8] = np.where(wanted, CALLOC, ops).astype(np.uint8)
    return found


def _log2(align: Ints) -> NDArray[np.uint8]:
    found: NDArray[np.uint8] = np.log2(np.maximum(align, 1)).astype(np.uint8)
    return found


def _threads(stream: Any, numbers: dict[int, int]) -> Any:
    """Streams as threads, numbered by first appearance."""
    values, where = np.unique(stream, return_inverse=True)
    codes = np.array([numbers.setdefault(value, len(numbers)) for value in values.tolist()], np.uint16)
    if len(numbers) > MOST_THREADS:
        raise UsageError(f"the trace has more than {MOST_THREADS} streams, too many threads\ntry: native:...,threads=false")
    return codes[where]


def _run(command: list[str], library: str, file: Path | None) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "LD_PRELOAD"}
    if file is not None:
        environment["LD_PRELOAD"] = str(file)
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    if done.returncode:
        said = done.stderr.strip().splitlines()
        ended = f"was ended by signal {-done.returncode}" if done.returncode < 0 else f"ended with {done.returncode}"
        raise PolicyError(f"native:{library}: the process {ended}{': ' + said[-1] if said else ''}")


def _read(path: Path, events: int) -> Driven:
    header = np.fromfile(path, OUTPUT, 1)[0]
    answers = np.fromfile(path, ANSWER, int(header["requests"]), offset=OUTPUT.itemsize)
    at = OUTPUT.itemsize + events * ANSWER.itemsize
    readings = np.fromfile(path, READING, int(header["readings"]), offset=at)
    addresses = np.where(answers["address"] == 0, -1, answers["address"].astype(np.int64))
    return Driven(
        bytes(header["library"]).decode(errors="replace"),
        addresses,
        answers["usable"].astype(np.int64),
        readings,
        int(header["events"]),
        int(header["nanoseconds"]),
    )
