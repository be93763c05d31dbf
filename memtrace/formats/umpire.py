"""Umpire's replay log (UMPIRE_REPLAY): JSON lines of allocate, deallocate, reallocate, move, release and others.

The calls of the program are read, on whatever allocator; the memory that pools get from other allocators is not in the log.
The tag is the allocator's name. Pointers of one allocator are told apart from the same pointers of another. Lines of a
reallocate come in pairs; if the block moved, its own allocate and deallocate are between them. Both the form since 2022 and
the older one ("kind":"replay") are read, and SQLite databases of such events, as Umpire's database store writes them.
Source: LLNL/Umpire, src/umpire/event and tools/replay.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from memtrace.errors import InputError
from memtrace.formats import _reading as _given
from memtrace.formats._reading import Call, EventBatcher, shown
from memtrace.formats._text import blocks

if TYPE_CHECKING:
    from memtrace.trace.batches import Batch
    from memtrace.trace.sources import Source

MAGIC = b"SQLite format 3\0"  # first bytes of a SQLite file
TABLE = b"CREATE TABLE EVENTS"  # text of the schema in the first bytes of Umpire's databases
MOST_TEXT = 1 << 20  # upper bound of the bytes of one event
# A read may take MOST_TURNS times STEPS instructions of SQLite's virtual machine: a damaged file must not run for ever.
STEPS, MOST_TURNS = 1_000_000, 10_000


def texts(source: Source) -> Iterator[bytes]:
    """Yield the events in the order in which they were written; raises InputError if the file is not such a database."""
    left = MOST_TURNS

    def turn() -> bool:
        """Return whether SQLite must stop; SQLite calls this after every STEPS instructions."""
        nonlocal left
        left -= 1
        return left < 0

    with source.seekable() as path:
        database = sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro&immutable=1", uri=True)
        try:
            database.text_factory = bytes
            database.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, MOST_TEXT)
            database.set_progress_handler(turn, STEPS)
            kinds = database.execute("SELECT type FROM sqlite_master WHERE name = 'EVENTS'").fetchall()
            if kinds != [(b"table",)]:
                raise InputError(f"{source.label}: the database has no table EVENTS")
            for (text,) in database.execute("SELECT EVENT FROM EVENTS ORDER BY rowid"):
                yield text if isinstance(text, bytes) else str(text).encode()
        except sqlite3.Error as error:
            raise InputError(f"{source.label}: SQLite cannot read it: {error}\ntry: make or fetch the file again") from error
        finally:
            database.close()


NAME = "umpire"
SUFFIXES = (".replay", ".stats")
# Events that neither allocate nor free: they make no call and are not counted.
QUIET = {"version", "make_memory_resource", "make_allocator", "set_default_allocator", "deregister_external_allocation", "memset"}
# Names of events in the older form -> names in the newer form.
OLD_NAMES = {
    "makeMemoryResource": "make_memory_resource",
    "makeAllocator": "make_allocator",
    "setDefaultAllocator": "set_default_allocator",
}


def sniff(head: bytes, path: str) -> bool:
    """Return whether the first line that is not a comment is an event of Umpire's, or the file is a database with their table."""
    if head.startswith(MAGIC):
        return TABLE in head
    for line in head.splitlines()[:100]:
        if line.strip() and not line.startswith(b"#"):
            new = line.startswith(b'{"category":') and b'"name":' in line
            return new or (line.lstrip().startswith(b"{") and b'"kind":"replay"' in line.replace(b" ", b""))
    return False


def read(source: Source) -> Iterator[Batch]:
    """Yield events of numbered blocks, with times, and allocators as tags."""
    said: list[str] = []
    log = _Log()
    events = EventBatcher(NAME, ("op", "id", "size", "time", "tag"), False, None)
    yield from _given.batches(_calls(source, log, said), events)
    yield events.last([*said, *log.notes()], {"allocators": str(len(log.names))})


def _calls(source: Source, log: _Log, said: list[str]) -> Iterator[Call]:
    """Yield the calls in all lines; a line that is no event becomes a bad call.

    Messages about a last line without a line end are appended to `said`.
    """
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
    """Yield (number, text, whether its line end is missing) of each event, from a text file or a database."""
    if source.head().startswith(MAGIC):
        for number, line in enumerate(texts(source), 1):
            yield number, line, False
        return
    number = 0
    for block in blocks(source, said.append):
        for line in block.text.split(b"\n")[:-1]:
            number += 1
            yield number, line, block.cut


def _reason(error: Exception) -> str:
    """Return the reason of an error, for a message."""
    return f"{error.args[0]!r} is missing" if isinstance(error, KeyError) else str(error)[:60]


class _Log:
    """Keep what the lines so far have said about allocators and live pointers."""

    def __init__(self) -> None:
        """Start without a known allocator or pointer."""
        self.names: dict[int, str] = {}  # allocator's reference -> its name
        self.live: dict[tuple[int, int], int] = {}  # allocator and live pointer -> number, unique among all allocators
        self.owner: dict[int, int] = {}  # live pointer -> the allocator that returned it last
        self.default = 0  # reference of the default allocator
        self.next = 1  # the next number
        # A reallocate whose second line is awaited: allocator, old pointer, size, and the value of `next` before it.
        self.opened: tuple[int, int, int, int] | None = None
        self.counts: dict[str, int] = {}  # events left out, by reason

    def notes(self) -> list[str]:
        """Return sentences about the events that were left out, for the metadata; to be called once, at the end."""
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
        """Count an event that is left out; `what` is a key of the texts in `notes`."""
        self.counts[what] = self.counts.get(what, 0) + 1

    def calls(self, line: int, event: Any) -> Iterator[Call]:
        """Yield the calls of one event, given as parsed JSON; raises ValueError, KeyError or TypeError if it is no event."""
        name, fields, time = _fields(event)
        allocator = _reference(fields.get("allocator_ref", "0"))
        if name in ("make_memory_resource", "make_allocator") and "allocator_name" in fields:
            self.names[allocator] = str(fields["allocator_name"])
        if name == "set_default_allocator":
            self.default = allocator
        more = {"time": time, "tag": self.names.get(allocator) or fields.get("allocator_name")}
        if name in ("allocate", "named_allocate"):
            if "pointer" in fields:  # the older form has two lines for an allocate, the first without the pointer
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
        elif name not in QUIET and name != "move":  # a move that copies has its own allocate and deallocate
            self._count("other")

    def _reallocate(self, line: int, allocator: int, fields: dict[str, Any], more: dict[str, Any]) -> Iterator[Call]:
        """Yield the call of a reallocate at its second line; the first line is only kept in `self.opened`.

        A reallocate whose own allocate and deallocate are in the log makes no call.
        """
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
            return  # the allocate and the deallocate of this reallocate are in the log
        if old == 0:
            yield _given.alloc(line, self._born(allocator, new), size, **more)
            return
        known = self._gone(allocator, old)
        yield _given.realloc(line, known, self._born(allocator, new), size, **more)

    def _born(self, allocator: int, pointer: int) -> int:
        """Return the number of an allocator's pointer that was returned now; a live pointer keeps its number (0: null).

        The common rules then take the live block as freed.
        """
        if pointer == 0:
            return 0
        self.owner[pointer] = allocator
        number = self.live.setdefault((allocator, pointer), self.next)
        self.next += number == self.next
        return number

    def _gone(self, allocator: int, pointer: int) -> int:
        """Return the number of an allocator's pointer that is freed, and forget the pointer; 0 for null, -1 if it is not live."""
        if pointer == 0:
            return 0
        self.owner.pop(pointer, None)
        return self.live.pop((allocator, pointer), -1)


def _fields(event: Any) -> tuple[str, dict[str, Any], int]:
    """Return (name, arguments in one dictionary, time in nanoseconds) of an event in either form."""
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
    """Return the number in `0x10210640`, `0`, or `(nil)`."""
    return 0 if text == "(nil)" else int(str(text), 16)


def _whole(value: Any) -> int:
    """Return the value if it is an int; raises ValueError otherwise."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError(f"{value!r} is no whole number")
    return value
