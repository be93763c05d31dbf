"""Traces that torch.profiler exports with profile_memory=True: the "[memory]" events among the Chrome trace's others.

Each is an address and a number of bytes, negative where they are freed. The bytes are block sizes, already rounded by the
allocator; a memory snapshot has what was requested, and says more. GPUs are read, the one with most events, or
`--format torch-profiler:1` for device 1; without any the CPU. Blocks that were there before are not known, so frees of
them are left out, and counted in a note.

Source: torch.profiler's export_chrome_trace (Kineto).
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from memtrace.errors import InputError, UsageError

if TYPE_CHECKING:
    from memtrace.trace.raw import Batch
    from memtrace.trace.source import Source

NAME = "torch-profiler"
SUFFIXES = (".pt.trace.json", ".trace.json", ".json")

BLOCK_BYTES = 1 << 20
MOST_EVENT_CHARACTERS = 1 << 24
CPU, GPU = 0, 1  # "Device Type"


def sniff(head: bytes, path: str) -> bool:
    """Whether the file starts as a Chrome trace of events does."""
    start = head.lstrip()
    return start.startswith(b"{") and (b'"traceEvents"' in start or b'"deviceProperties"' in start)


def read(source: Source, device: str = "") -> Iterator[Batch]:
    """The memory events of one device, by time."""
    from memtrace.trace.rows import batches

    found = [event for event in _events(source) if event.get("name") == "[memory]"]
    chosen, others = _of_device([one for one in map(_fields, found) if one is not None], device, source.label)
    said: list[str] = []
    rows = list(_rows(sorted(chosen, key=lambda one: one[0]), said))
    if others:
        said.append(f"also recorded: {', '.join(others)} (--format {NAME}:N)")
    said.append("sizes are those of blocks, rounded by the recorded allocator")
    yield from batches(rows, ("op", "id", "size", "time"), word="event", metadata={"format": NAME, "assumed": "\n".join(said)})


def _events(source: Source) -> Iterator[dict[str, Any]]:
    """The dicts in the array traceEvents, decoded one by one."""
    decoder, text, at = json.JSONDecoder(), "", -1
    with source.open() as stream:
        while True:
            data = stream.read(BLOCK_BYTES)
            text += data.decode("utf-8", "replace")
            if at < 0:
                mark = text.find('"traceEvents"')
                at = text.find("[", mark) + 1 if mark >= 0 and "[" in text[mark:] else -1
            while at >= 0 and (start := text.find("{", at)) >= 0:
                if "]" in text[at:start]:
                    return  # what follows the array is about the whole
                try:
                    event, end = decoder.raw_decode(text, start)
                except (ValueError, RecursionError):
                    break  # the rest of it is to come
                at = end
                yield event
            if not data:
                if at < 0 or "]" not in text[at:]:
                    raise InputError(
                        f"{source.label}: the trace is cut: its array traceEvents does not end\ntry: export it again"
                    )
                return
            text, at = (text[at:], 0) if at >= 0 else (text[-64:] if '"traceEvents"' not in text else text, at)
            if len(text) > MOST_EVENT_CHARACTERS:
                raise InputError(f"{source.label}: an event has more than {MOST_EVENT_CHARACTERS >> 20} Mi characters")


Fields = tuple[float, tuple[int, int], int, int]  # microseconds, (device type, number), address, bytes


def _fields(event: dict[str, Any]) -> Fields | None:
    args = event.get("args")
    if not isinstance(args, dict):
        return None
    try:
        kind = (int(args.get("Device Type", GPU)), int(args.get("Device Id", 0)))
        return float(event["ts"]), kind, int(args["Addr"]), int(args["Bytes"])
    except (KeyError, TypeError, ValueError, OverflowError):
        return None


def _of_device(found: list[Fields], device: str, label: str) -> tuple[list[Fields], list[str]]:
    """The events of a device, and the names of the others."""
    if device and not device.isdigit():
        raise UsageError(f"device {device!r} is no number")
    counts = Counter(one[1] for one in found)
    if not counts:
        raise InputError(f"{label}: no memory events in it\ntry: torch.profiler.profile(profile_memory=True), and export again")
    wanted = [kind for kind in counts if kind[0] == GPU and (not device or kind[1] == int(device))]
    if device and not wanted:
        raise InputError(f"{label}: no memory events of device {device}")
    best = max(wanted or counts, key=lambda kind: counts[kind])
    others = [f"{'CPU' if kind[0] == CPU else f'device {kind[1]}'}" for kind in counts if kind != best]
    return [one for one in found if one[1] == best], others


def _rows(events: list[Fields], said: list[str]) -> Iterator[tuple[Any, ...]]:
    """Rows with numbered blocks; what does not fit together is counted."""
    live: dict[int, int] = {}
    blocks = unknown = again = 0
    first = events[0][0] if events else 0.0
    for number, (micros, _, address, size) in enumerate(events, 1):
        time = round((micros - first) * 1000)
        if size >= 0:
            if address in live:
                again += 1
                yield number, "free", live.pop(address), None, time
            live[address] = blocks
            yield number, "alloc", blocks, size, time
            blocks += 1
        elif address in live:
            yield number, "free", live.pop(address), None, time
        else:
            unknown += 1
    if unknown:
        said.append(f"{unknown:,} frees of blocks from before the recording are left out")
    if again:
        said.append(f"{again:,} blocks were never freed, though their address was used again")
