"""Umpire's replay log (UMPIRE_REPLAY): JSON lines of allocate, deallocate, reallocate, move, release and others.

The calls of the program are read, on whatever allocator; the memory that pools get from below is not in the log. The
tag is the allocator's name. Pointers of one allocator are told apart from the same pointers of another. Lines of a
reallocate come in pairs, with its own allocate and deallocate between where it moved. Both the form since 2022 and
the older one ("kind":"replay") are read, and SQLite databases of such events.
Source: LLNL/Umpire, src/umpire/event and tools/replay.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from memtrace.formats import _events, _given
from memtrace.formats._given import Call
from memtrace.formats._lines import blocks
from memtrace.formats._reading import Events, shown

if TYPE_CHECKING:
    from memtrace.trace.raw import Batch
    from memtrace.trace.source import Source

NAME = "umpire"
SUFFIXES = (".replay", ".stats")

QUIET = {"version", "make_memory_resource", "make_allocator", "set_default_allocator", "deregister_external_allocation", "memset"}
OLD_NAMES = {
    "makeMemoryResource": "make_memory_resource",
    "makeAllocator": "make_allocator",
    "setDefaultAllocator": "set_default_allocator",
}


def sniff(head: bytes, path: str) -> bool:
    """Whether the first line that is no comment is an event of Umpire's, or it is a database with their table."""
    if head.startswith(_events.MAGIC):
        return _events.TABLE in head
    for line in head.splitlines()[:100]:
        if line.strip() and not line.startswith(b"#"):
            new = line.startswith(b'{"category":') and b'"name":' in line
            return new or (line.lstrip().startswith(b"{") and b'"kind":"replay"' in line.replace(b" ", b""))
    return False


def read(source: Source) -> Iterator[Batch]:
    """Events of numbered blocks, with times, and allocators as tags."""
    said: list[str] = []
    log = _Log()
    events = Events(NAME, ("op", "id", "size", "time", "tag"), False, None)
    yield from _given.batches(_calls(source, log, said), events)
    yield events.last([*said, *log.notes()], {"allocators": str(len(log.names))})


def _calls(source: Source, log: _Log, said: list[str]) -> Iterator[Call]:
    for number, line, cut in _lines(source, said):
        if not line.strip() or line.startswith(b"#"):
            continue
        try:
            yield from log.calls(number, json.loads(line))
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            if cut:
                said.append(f"the last line ({number:,}) is cut: {shown(line)} left out")
                return
            yield _given.bad(number, f"the line is no event of Umpire's ({_reason(error)}): {shown(line)}")
        if cut:
            said.append(f"the last line ({number:,}) has no line end: taken as it stands")


def _lines(source: Source, said: list[str]) -> Iterator[tuple[int, bytes, bool]]:
    """(number, text, whether its end is missing) of each event, from text or a database."""
    if source.head().startswith(_events.MAGIC):
        for number, line in enumerate(_events.texts(source), 1):
            yield number, line, False
        return
    number = 0
    for block in blocks(source, said.append):
        for line in block.text.split(b"\n")[:-1]:
            number += 1
            yield number, line, block.cut


def _reason(error: Exception) -> str:
    return f"{error.args[0]!r} is missing" if isinstance(error, KeyError) else str(error)[:60]


class _Log:
    """What the lines so far have said."""

    def __init__(self) -> None:
        self.names: dict[int, str] = {}  # of allocators, by reference
        self.live: dict[tuple[int, int], int] = {}  # allocator and pointer -> a pointer like no other
        self.owner: dict[int, int] = {}  # pointer -> the allocator that gave it last
        self.default = 0  # allocator
        self.next = 1
        self.opened: tuple[int, int, int, int] | None = None  # a reallocate: allocator, old, size, blocks made before it
        self.counts: dict[str, int] = {}

    def notes(self) -> list[str]:
        texts = {
            "copy": "copies between parts of blocks, which place nothing, left out",
            "external": "external allocations, which Umpire did not place, left out",
            "release": "releases and coalesces of pools, left out",
            "other": "other events, left out",
            "half": "reallocates of which only the first half is recorded, left out",
        }
        if self.opened is not None:
            self._count("half")
        return [f"{text}: {self.counts[name]:,}" for name, text in texts.items() if name in self.counts]

    def _count(self, what: str) -> None:
        self.counts[what] = self.counts.get(what, 0) + 1

    def calls(self, line: int, event: Any) -> Iterator[Call]:
        """The calls of one line; ValueError, KeyError or TypeError if it is no event."""
        name, fields, time = _fields(event)
        allocator = _reference(fields.get("allocator_ref", "0"))
        if name in ("make_memory_resource", "make_allocator") and "allocator_name" in fields:
            self.names[allocator] = str(fields["allocator_name"])
        if name == "set_default_allocator":
            self.default = allocator
        more = {"time": time, "tag": self.names.get(allocator) or fields.get("allocator_name")}
        if name in ("allocate", "named_allocate"):
            if "pointer" in fields:  # the older form says it twice, at first without the pointer
                pointer, size = _reference(fields["pointer"]), _whole(fields["size"])
                yield _given.alloc(line, self._born(allocator, pointer), size, **more)
        elif name == "deallocate":
            yield _given.free(line, self._gone(allocator, _reference(fields["pointer"])), time=time)
        elif name == "reallocate":
            yield from self._reallocate(line, allocator, fields, more)
        elif name in ("release", "coalesce"):
            self._count("release")
        elif name == "register_external_allocation":
            self._count("external")
        elif name == "copy":
            self._count("copy")
        elif name not in QUIET and name != "move":  # a move that moves has its own allocate and deallocate
            self._count("other")

    def _reallocate(self, line: int, allocator: int, fields: dict[str, Any], more: dict[str, Any]) -> Iterator[Call]:
        if "new_ptr" not in fields:
            if self.opened is not None:
                self._count("half")
            old = _reference(fields["current_ptr"])
            if "allocator_ref" not in fields:  # the oldest form
                allocator = self.owner.get(old, self.default)
            self.opened = (allocator, old, _whole(fields["size"]), self.next)
            return
        new = _reference(fields["new_ptr"])
        if self.opened is None:
            raise ValueError("a reallocate's second line without its first")
        allocator, old, size, before = self.opened
        more["tag"] = self.names.get(allocator) or more["tag"]
        self.opened = None
        if self.live.get((allocator, new), 0) >= before:
            return  # its own allocate, and deallocate, are in the log
        if old == 0:
            yield _given.alloc(line, self._born(allocator, new), size, **more)
            return
        known = self._gone(allocator, old)
        yield _given.realloc(line, known, self._born(allocator, new), size, **more)

    def _born(self, allocator: int, pointer: int) -> int:
        """A number for this pointer of this allocator; the same again if it is live, which the common rules settle."""
        if pointer == 0:
            return 0
        self.owner[pointer] = allocator
        number = self.live.setdefault((allocator, pointer), self.next)
        self.next += number == self.next
        return number

    def _gone(self, allocator: int, pointer: int) -> int:
        if pointer == 0:
            return 0
        self.owner.pop(pointer, None)
        return self.live.pop((allocator, pointer), -1)


def _fields(event: Any) -> tuple[str, dict[str, Any], int]:
    """(name, arguments under one roof, time) of either form."""
    if "category" in event:
        fields = {**event.get("numeric_args", {}), **event.get("string_args", {}), **event.get("tags", {})}
        name = event["name"] if event["category"] == "operation" else "version"
        return str(name), fields, _whole(event["timestamp"])
    payload, result = event.get("payload", {}), event.get("result")
    name = OLD_NAMES.get(event["event"], event["event"])
    fields = dict(payload)
    made = result.get("allocator_ref") if isinstance(result, dict) else result
    if isinstance(result, dict) and "memory_ptr" in result:
        fields["new_ptr" if name == "reallocate" else "pointer"] = result["memory_ptr"]
    elif made is not None:
        fields |= {"allocator_ref": made, "allocator_name": payload.get("allocator_name", payload.get("name"))}
    for old, new in (("memory_ptr", "pointer"), ("ptr", "current_ptr")):
        if old in fields:
            fields[new] = fields[old]
    return str(name), fields, _whole(event["timestamp"])


def _reference(text: Any) -> int:
    """The number in `0x10210640`, `0`, or `(nil)`."""
    return 0 if text == "(nil)" else int(str(text), 16)


def _whole(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError(f"{value!r} is no whole number")
    return value
