"""Chrome trace JSON (Perfetto reads it too) as PyTorch's profiler writes it with profile_memory=True: `[memory]` events.

Each event has an address and bytes, negative for a free. The events of one device are read: the accelerator with most bytes
allocated, or the CPU if there is no other. They are sorted by time in memory, some 100 bytes an event. `Total Allocated` less the
sum of the bytes so far is what was live before the first event: it is allocated first. Aggregated dumps (memory-infra,
heapprofd's binary traces) hold no single allocations, and are refused.
Source: pytorch/kineto, libkineto/src/output_json.cpp.
"""

from __future__ import annotations

import codecs
import json
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain, pairwise
from typing import TYPE_CHECKING, Any

from memtrace.errors import InputError
from memtrace.formats import _reading as _given
from memtrace.formats._reading import Call, EventBatcher
from memtrace.trace.sources import is_truncated

if TYPE_CHECKING:
    from memtrace.trace.batches import Batch
    from memtrace.trace.sources import Source, Stream

NAME = "chrome"
SUFFIXES = (".json", ".perfetto-trace", ".pftrace")

MEMORY = "[memory]"  # name of memory events
BEFORE = "before the recording"  # tag of blocks that were live when the recording began
NOWHERE = 1 - (1 << 63)  # stands for the address of a block that no event names
CPU, CUDA = 0, 1  # device types of PyTorch (c10::DeviceType)
DEVICES = {0: "cpu", 1: "cuda", 6: "hip", 12: "xpu", 20: "privateuse"}
KINDS = {name: kind for kind, name in DEVICES.items()}
BLANK = "\ufeff \t\r\n"
PIECE_BYTES = 1 << 20  # bytes read at once
MOST_OBJECT = 16 << 20  # upper bound of the characters of one event


def sniff(head: bytes, path: str) -> bool:
    """Return whether the file is JSON with trace events, or named as a Perfetto trace."""
    start = head.lstrip()[:1]
    if start == b"{":
        return b'"traceEvents"' in head or b'"schemaVersion"' in head[:200]
    if start == b"[":
        return b'"ph"' in head
    return path.lower().endswith((".perfetto-trace", ".pftrace"))


@dataclass(frozen=True)
class MemoryEvent:
    """Describe a memory event of the file."""

    time: int  # nanoseconds
    number: int  # of the event among all events of the file, from 1
    address: int
    bytes: int  # negative for a free
    thread: int
    allocated: int | None  # bytes that the device had allocated after the event; None: the event does not say
    reserved: int | None  # bytes that the device's allocator held


def read(source: Source) -> Iterator[Batch]:
    """Yield events of numbered blocks of one device, in the order of time; raises InputError if there is no memory event."""
    said: list[str] = []
    found: dict[tuple[int, int], list[MemoryEvent]] = {}
    kinds = {"events": 0, "dumps": 0, "bad": 0}
    for number, event in enumerate(_events(source, said), 1):
        kinds["events"] += 1
        kinds["dumps"] += isinstance(event, dict) and event.get("ph") in ("v", "V")
        if isinstance(event, dict) and event.get("name") == MEMORY:
            try:
                device, happening = _happening(number, event)
                found.setdefault(device, []).append(happening)
            except (KeyError, TypeError, ValueError, OverflowError):
                kinds["bad"] += 1
    if not found:
        raise _nothing(source, kinds)
    if kinds["bad"]:
        said.append(f"memory events without an address, bytes or a time, left out: {kinds['bad']:,}")
    chosen = max(found, key=lambda device: (device[0] != CPU, sum(max(h.bytes, 0) for h in found[device])))
    others = sum(len(happenings) for device, happenings in found.items() if device != chosen)
    if others:
        said.append(f"memory events of other devices than {_named(chosen)}, left out: {others:,}")
    happenings = sorted(found[chosen], key=lambda happening: (happening.time, happening.number))
    if any(before.number > after.number for before, after in pairwise(happenings)):
        said.append("events are not in the order of time: sorted")
    metadata = {"device": _named(chosen)}
    before = _before(happenings, said)
    if before:
        metadata["live_before_bytes"] = str(sum(call.size for call in before))
    if reserved := max(happening.reserved or 0 for happening in happenings):
        metadata["recorded_reserved_peak_bytes"] = str(reserved)
    columns = ("op", "id", "size", "time", "stream", *(("tag",) if before else ()))
    events = EventBatcher(NAME, columns, True, None, word="event")
    yield from _given.batches(chain(before, map(_call, happenings)), events)
    yield events.last(said, metadata)


def _before(happenings: list[MemoryEvent], said: list[str]) -> list[Call]:
    """Return allocs of what was live before the first event, tagged BEFORE; `said` gets a sentence if there was any.

    How much it was follows from the totals in the events. Blocks that the recording frees and never allocates are a part of it:
    each is a block of its own, and the rest is one block.
    """
    running, differences = 0, []
    live: set[int] = set()
    freed: list[tuple[int, int]] = []  # address and size of blocks that were live before
    for happening in happenings:
        running += happening.bytes
        if happening.allocated is not None:
            differences.append(happening.allocated - running)
        if happening.bytes >= 0:
            live.add(happening.address)
        elif happening.address in live:
            live.discard(happening.address)
        else:
            freed.append((happening.address, -happening.bytes))
    if not differences or max(differences) <= 0:
        return []
    total = differences[0]
    if (wide := max(differences) - min(differences)) > 0:
        said.append(f"totals in the events do not follow from their bytes (they differ by up to {wide:,}): events are missing")
    rest = total - sum(size for _, size in freed)
    first = happenings[0]
    more = {"time": first.time, "thread": first.thread, "tag": BEFORE}
    calls = [_given.alloc(first.number, address, size, **more) for address, size in freed]
    if rest > 0:
        calls.insert(0, _given.alloc(first.number, NOWHERE, rest, **more))
    if calls:
        said.append(
            f"the recording began in mid-run: {sum(call.size for call in calls):,} bytes were live, of which {len(freed):,} "
            f"block{'' if len(freed) == 1 else 's'} freed later and the rest taken as one block, tagged {BEFORE!r}"
        )
    return calls


def _call(happening: MemoryEvent) -> Call:
    """Return the alloc or free that a memory event stands for."""
    more = {"time": happening.time, "thread": happening.thread}
    if happening.bytes < 0:
        return _given.free(happening.number, happening.address, **more)
    return _given.alloc(happening.number, happening.address, happening.bytes, **more)


def _happening(number: int, event: dict[str, Any]) -> tuple[tuple[int, int], MemoryEvent]:
    """Return the device, as (device type, index), and the memory event in a JSON event; `number` is the event's in the file.

    Raises KeyError, TypeError or ValueError if a field is missing or malformed.
    """
    args = event["args"]
    thread = event.get("tid", 0)
    index = int(args.get("Device Id", -1))
    kind = args.get("Device Type", CPU if index < 0 else CUDA)
    if isinstance(kind, str) and kind.lower() in KINDS:
        kind = KINDS[kind.lower()]
    return (int(kind), index), MemoryEvent(
        round(float(event["ts"]) * 1000),
        number,
        _whole(args["Addr"]),
        _whole(args["Bytes"]),
        thread if isinstance(thread, int) else 0,
        _total(args.get("Total Allocated")),
        _total(args.get("Total Reserved")),
    )


def _total(value: Any) -> int | None:
    """Return a sum of bytes, None if it is no number, or negative as where the profiler does not know it."""
    return int(value) if isinstance(value, int | float) and 0 <= value < 1 << 62 else None


def _whole(value: Any) -> int:
    """Return a number, which may be a text, hexadecimal with 0x."""
    return int(value, 0) if isinstance(value, str) else int(value)


def _named(device: tuple[int, int]) -> str:
    """Return the name of a device, such as "cuda:0" or "cpu"; a device without an index has -1."""
    kind, index = device
    name = DEVICES.get(kind, f"device type {kind}")
    return name if index < 0 else f"{name}:{index}"


def _nothing(source: Source, kinds: dict[str, int]) -> InputError:
    """Return (not raise) the InputError for a file without usable memory events."""
    if kinds["dumps"]:
        said = "memory dumps hold sums, no single allocations"
    elif kinds["bad"]:
        said = f"its {kinds['bad']:,} memory events lack an address, bytes or a time, as those of older profilers do"
    else:
        said = f"none of its {kinds['events']:,} events is a memory event ({MEMORY!r})"
    return InputError(f"{source.label}: {said}\ntry: torch.profiler.profile(profile_memory=True), or a memory snapshot")


def _events(source: Source, said: list[str]) -> Iterator[Any]:
    """Yield the elements of the array of trace events, one at a time, as parsed JSON.

    Raises InputError if there is no such array, or an element is not JSON. Appends to `said` if the file is truncated.
    """
    text = _Text(source, said)
    if not text.find_array():
        raise InputError(
            f"{source.label}: no array of trace events in JSON; Perfetto's binary traces hold sums per call site, "
            "no single allocations\ntry: a recording by heaptrack or memray, or PyTorch's profiler with profile_memory=True"
        )
    decoder = json.JSONDecoder()
    while text.to_object():
        while True:
            try:
                event, text.at = decoder.raw_decode(text.text, text.at)
                break
            except RecursionError:
                raise InputError(f"{source.label}: an event is nested too deep\ntry: make the file again") from None
            except ValueError:
                if text.left() > MOST_OBJECT:
                    raise InputError(f"{source.label}: an event is no JSON, or longer than 16 MiB") from None
                if not text.more():
                    said.append("the file ends in the middle of an event: left out")
                    return
        yield event


class _Text:
    """Read the file as text through a window, `text`, of which the part before offset `at` is read already."""

    def __init__(self, source: Source, said: list[str]) -> None:
        """Open the source; messages about a truncated file are appended to `said`."""
        self.source, self.said = source, said
        self.decode = codecs.getincrementaldecoder("utf-8")("replace").decode
        self.stream: Stream = source.open()
        self.text, self.at, self.ended = "", 0, False

    def left(self) -> int:
        """Return the number of characters in the window that are not read yet."""
        return len(self.text) - self.at

    def more(self) -> bool:
        """Append a piece of the file to the window, and drop what is read; returns False at the end of the file."""
        if self.ended:
            return False
        try:
            data = self.stream.read(PIECE_BYTES)
        except InputError as error:
            if not is_truncated(error):
                raise
            self.said.append("the packed file is cut: its last part is missing")
            data = b""
        if not data:
            self.ended = True
            self.stream.bytes.close()
            return False
        self.text = self.text[self.at :] + self.decode(data)
        self.at = 0
        return True

    def find_array(self) -> bool:
        """Move behind the `[` of the array of events; returns False if there is none."""
        while not (begun := self.text.lstrip(BLANK)):
            if not self.more():
                return False
        self.at = len(self.text) - len(begun)
        if self.text[self.at] == "[":
            self.at += 1
            return True
        if self.text[self.at] != "{":
            return False
        while (found := self.text.find('"traceEvents"', self.at)) < 0 or "[" not in self.text[found:]:
            if found < 0:
                self.at = max(self.at, len(self.text) - len('"traceEvents"'))
            if not self.more() or self.left() > MOST_OBJECT:
                return False
        self.at = self.text.index("[", found) + 1
        return True

    def to_object(self) -> bool:
        """Move to the next element of the array; returns False at the end of the array or of the file."""
        while True:
            while self.at < len(self.text) and self.text[self.at] in " \t\r\n,":
                self.at += 1
            if self.at < len(self.text):
                return self.text[self.at] != "]"
            if not self.more():
                self.said.append("the array of events has no end: the file may be cut")
                return False
