"""RMM's CSV log (RMM_LOG_FILE, LoggingResourceAdaptor): Thread,Time,Action,Pointer,Size,Stream, also without the header.

Streams are CUDA stream handles, numbered by first appearance. A time of day that goes back by half a day or more is
the next day's. Sizes may be rounded by the layers above the adaptor. Source: rapidsai/rmm, logging_resource_adaptor.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from memtrace.formats import _given
from memtrace.formats._given import Call
from memtrace.formats._lines import blocks
from memtrace.formats._reading import Events, shown

if TYPE_CHECKING:
    from memtrace.trace.raw import Batch
    from memtrace.trace.source import Source

NAME = "rmm"
SUFFIXES = (".csv", ".log", ".dev0", ".txt")

COLUMNS = ("Thread", "Time", "Action", "Pointer", "Size", "Stream")
DAY = 86_400 * 10**9

_HEADER = re.compile(rb"(\xef\xbb\xbf)?Thread,Time,Action,Pointer,Size,Stream\s*$", re.MULTILINE)
_LINE = re.compile(
    rb"\d+,[0-9:. -]+,(allocate|free|deallocate|allocate failure),(0x[0-9a-fA-F]+|\(nil\)|0),\d+,[^,\s]*\s*$", re.MULTILINE
)
_OF_DAY = re.compile(r"(?:\d+-\d+-\d+[ T])?(\d{1,2}):(\d{1,2}):(\d{1,2})(?:[.:](\d{1,9}))?")
_OF_EPOCH = re.compile(r"(\d{1,10})(?:\.(\d{1,9}))?")


def sniff(head: bytes, path: str) -> bool:
    """Whether the first line is RMM's header or an action."""
    return _HEADER.match(head) is not None or _LINE.match(head) is not None


def read(source: Source) -> Iterator[Batch]:
    """Events of numbered blocks, with times and CUDA streams."""
    said: list[str] = []
    threads: set[str] = set()
    events = Events(NAME, ("op", "id", "size", "time", "stream"), True, None)
    events.counted = "streams"
    yield from _given.batches(_calls(source, threads, said), events)
    yield events.last(said, {"threads": str(len(threads))})


def _calls(source: Source, threads: set[str], said: list[str]) -> Iterator[Call]:
    number, clock = 0, _Clock()
    for block in blocks(source, said.append):
        for line in block.text.split(b"\n")[:-1]:
            number += 1
            if not line.strip() or _HEADER.match(line):
                continue
            try:
                yield _call(number, line.decode("ascii"), threads, clock)
            except ValueError as error:
                if block.cut:
                    said.append(f"the last line ({number:,}) is cut: {shown(line)} left out")
                    return
                reason = "not ASCII" if isinstance(error, UnicodeDecodeError) else str(error)
                yield _given.bad(number, f"the line is no action of RMM's ({reason}): {shown(line)}")
        if block.cut:
            said.append(f"the last line ({number:,}) has no line end: taken as it stands")
    if clock.days:
        said.append(f"times of day that go back by half a day or more, taken as the next day: {clock.days}")


class _Clock:
    """Times as they are written -> ns that do not start again at midnight."""

    def __init__(self) -> None:
        self.last, self.days = 0, 0

    def read(self, text: str) -> int:
        found = _OF_DAY.fullmatch(text)
        if found is None:
            epoch = _OF_EPOCH.fullmatch(text)
            if epoch is None:
                raise ValueError(f"{text[:30]!r} is no time")
            return int(epoch[1]) * 10**9 + _fraction(epoch[2])
        hours, minutes, seconds, part = found.groups()
        time = (int(hours) * 3600 + int(minutes) * 60 + int(seconds)) * 10**9 + _fraction(part)
        if self.last - time > DAY // 2:
            self.days += 1
        self.last = time
        return time + self.days * DAY


def _fraction(digits: str | None) -> int:
    return int((digits or "0").ljust(9, "0"))


def _call(number: int, line: str, threads: set[str], clock: _Clock) -> Call:
    fields = [field.strip() for field in line.split(",")]
    if len(fields) != len(COLUMNS):
        raise ValueError(f"{len(fields)} fields, not {len(COLUMNS)}")
    thread, time, action, pointer, size, stream = fields
    threads.add(thread)
    more = {"time": clock.read(time), "thread": _handle(stream)}
    if action == "allocate":
        return _given.alloc(number, _handle(pointer), _whole(size), **more)
    if action in ("free", "deallocate"):
        return _given.free(number, _handle(pointer), **more)
    if action == "allocate failure":
        return _given.alloc(number, 0, _whole(size), **more)
    raise ValueError(f"unknown action {action[:30]!r}")


def _handle(text: str) -> int:
    """A pointer; `(nil)` and an empty one are null, `default` is stream 0."""
    if text in ("(nil)", "", "default", "nullptr"):
        return 0
    number = int(text, 16 if text[:2] in ("0x", "0X") else 10)
    if not 0 <= number < 1 << 64:
        raise ValueError(f"{text[:30]!r} is no pointer")
    return number - (1 << 64) if number >= 1 << 63 else number


def _whole(text: str) -> int:
    if not text.isdecimal() or len(text) > 20:
        raise ValueError(f"{text[:30]!r} is no size")
    return int(text)
