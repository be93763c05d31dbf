"""Chrome trace JSON (Perfetto reads it too) as PyTorch's profiler writes it with profile_memory=True: `[memory]` events.

Each event has an address and bytes, negative for a free. The events of one device are read: the accelerator with most bytes
allocated, or the CPU if there is no other. They are sorted by time in memory, some 100 bytes an event. `Total Allocated` less the
sum of the bytes so far is what was live before the first event: it is allocated first. Aggregated dumps (memory-infra,
heapprofd's binary traces) hold no single allocations, and are refused.
Source: pytorch/kineto, libkineto/src/output_json.cpp.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain, pairwise
from typing import TYPE_CHECKING, Any

from memtrace.errors import InputError
from memtrace.formats import _reading as _given
from memtrace.formats._json_array import elements
from memtrace.formats._reading import Call, EventBatcher

if TYPE_CHECKING:
    from memtrace.trace.batches import Batch
    from memtrace.trace.sources import Source

NAME = "chrome"
SUFFIXES = (".json", ".perfetto-trace", ".pftrace")

MEMORY = "[memory]"  # name of memory events
BEFORE = "before the recording"  # tag of blocks that were live when the recording began
NOWHERE = 1 - (1 << 63)  # stands for the address of a block that no event names
CPU, CUDA = 0, 1  # device types of PyTorch (c10::DeviceType)
DEVICES = {0: "cpu", 1: "cuda", 6: "hip", 12: "xpu", 20: "privateuse"}
KINDS = {name: kind for kind, name in DEVICES.items()}
NO_ARRAY = (
    "no array of trace events in JSON; Perfetto's binary traces hold sums per call site, no single allocations\n"
    "try: a recording by heaptrack or memray, or PyTorch's profiler with profile_memory=True"
)


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
    for number, event in enumerate(elements(source, said, NO_ARRAY), 1):
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
