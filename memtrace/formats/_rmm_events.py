"""The CSV log of RMM before 0.14 (`rmm.csv_log()`): Event Type,Device ID,Address,Stream,Size (bytes),...,Start,....

A free has no size. A Realloc names the new pointer only: where that is live it is the block's, else it is a new block.
Times are seconds since the log began. Source: rapidsai/rmm 0.13, src/memory_manager.cpp.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from typing import TYPE_CHECKING

from memtrace.errors import InputError
from memtrace.formats import _given
from memtrace.formats._given import Call
from memtrace.formats._lines import blocks
from memtrace.formats._reading import Events, shown

if TYPE_CHECKING:
    from memtrace.trace.raw import Batch
    from memtrace.trace.source import Source

START = b"Event Type,"
NEEDED = ("Event Type", "Device ID", "Address", "Stream", "Size (bytes)", "Start")


def read(source: Source, name: str) -> Iterator[Batch]:
    """Events of numbered blocks, with times and CUDA streams; of several devices each has its own pointers."""
    said: list[str] = []
    events = Events(name, ("op", "id", "size", "time", "stream"), True, None)
    events.counted = "streams"
    log = _Log()
    yield from _given.batches(_calls(source, log, said), events)
    if len(log.devices) > 1:
        said.append(f"events of {len(log.devices)} devices in one trace")
    if log.lost:
        said.append(f"reallocs whose old pointer the log does not name, taken as new blocks: {log.lost:,}")
    yield events.last(said, {})


class _Log:
    def __init__(self) -> None:
        self.devices: dict[str, int] = {}
        self.live: set[int] = set()
        self.lost = 0

    def call(self, line: int, fields: dict[str, str]) -> Call:
        """ValueError or KeyError if it is no event."""
        device = self.devices.setdefault(fields["Device ID"].strip(), len(self.devices))
        given = int(fields["Address"], 16)
        pointer = given + (device << 58) if given else 0
        more = {"time": round(float(fields["Start"]) * 1e9), "thread": int(fields["Stream"], 16)}
        kind, size = fields["Event Type"], int(fields["Size (bytes)"])
        if kind == "Free":
            self.live.discard(pointer)
            return _given.free(line, pointer, **more)
        known = pointer in self.live
        self.live.add(pointer)
        if kind == "Realloc" and known:
            return _given.realloc(line, pointer, pointer, size, **more)
        if kind not in ("Alloc", "Realloc"):
            raise ValueError(f"{kind[:20]!r} is none of Alloc, Realloc, Free")
        self.lost += kind == "Realloc"
        return _given.alloc(line, pointer, size, **more)


def _calls(source: Source, log: _Log, said: list[str]) -> Iterator[Call]:
    number = 0
    names: list[str] = []
    for block in blocks(source, said.append):
        for line in block.text.split(b"\n")[:-1]:
            number += 1
            if not line.strip():
                continue
            fields = _fields(line)
            if not names:
                names = fields
                missing = [name for name in NEEDED if name not in names]
                if missing:
                    raise InputError(f"{source.label}:{number}: no column {missing[0]!r} in a log of RMM")
                continue
            try:
                yield log.call(number, dict(zip(names, fields, strict=False)))
            except (ValueError, KeyError, OverflowError) as error:
                if block.cut:
                    said.append(f"the last line ({number:,}) is cut: {shown(line)} left out")
                    return
                yield _given.bad(number, f"the line is no event of RMM's ({str(error)[:60]}): {shown(line)}")
        if block.cut:
            said.append(f"the last line ({number:,}) has no line end: taken as it stands")


def _fields(line: bytes) -> list[str]:
    try:
        return next(csv.reader(io.StringIO(line.decode(errors="replace").strip())), [])
    except csv.Error:
        return []
