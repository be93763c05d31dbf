"""ESP-IDF's dumps of heap tracing (heap_trace_dump): `128 bytes (@ 0x3ffb0000, Internal) allocated CPU 0 ccount ...`.

A dump has the allocs in their order and, of those that were freed (HEAP_TRACE_ALL), a line `freed by`, but not when: a block ends
at the latest at which it can, when its address is given out again, or at the end. The stream is the CPU, the tag the kind of
memory. Source: espressif/esp-idf, components/heap/heap_trace_standalone.c.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from memtrace.formats import _reading as _given
from memtrace.formats._reading import Call, EventBatcher, shown
from memtrace.formats._text import blocks

if TYPE_CHECKING:
    from memtrace.trace.batches import Batch
    from memtrace.trace.sources import Source

NAME = "esp-heap"
SUFFIXES = (".log", ".txt")

# Texts are compared as they are in the file, with any text before (a terminal program's time, colours).
_RECORD = re.compile(rb"(\d{1,10}) bytes \(@ (0x[0-9a-fA-F]{1,16})(?:, *(\w+))?\) allocated CPU (\d) ccount 0x[0-9a-fA-F]{1,8}\b")
_DAMAGED = re.compile(rb"\d bytes \(@ ")
_START = re.compile(rb"====== Heap Trace: \d+ records|\d+ allocations trace \(\d+ entry buffer\)")


def sniff(head: bytes, path: str) -> bool:
    """Return whether the text has a record of a dump."""
    return _RECORD.search(head) is not None


def read(source: Source) -> Iterator[Batch]:
    """Yield events of numbered blocks."""
    said: list[str] = ["the dump does not say when a block was freed: at the latest that can be"]
    counts = {"other": 0, "dumps": 0}
    events = EventBatcher(NAME, ("op", "id", "size", "stream", "tag"), False, None)
    yield from _given.batches(_calls(source, said, counts), events)
    if counts["dumps"] > 1:
        said.append(f"{counts['dumps']:,} dumps in one file: blocks that one leaves are live in the next")
    if counts["other"]:
        said.append(f"other lines, left out: {counts['other']:,}")
    yield events.last(said, {})


def _calls(source: Source, said: list[str], counts: dict[str, int]) -> Iterator[Call]:
    """Yield the allocs of the records and, once no later record can have its address, the frees.

    `said` gets a sentence if the file is cut; `counts` counts lines that are no records, and dumps, in place.
    """
    freed: dict[int, int] = {}  # addresses of live blocks that were freed at some time -> the line that says so
    last = number = 0
    for block in blocks(source, said.append):
        for line in block.text.split(b"\n")[:-1]:
            number += 1
            if (record := _RECORD.search(line)) is not None:
                size, address, memory, cpu = record.groups()
                last = int(address, 16)
                if last in freed:
                    yield _given.free(freed.pop(last), last)
                tag = memory.decode() if memory else None
                yield _given.alloc(number, last, int(size), thread=int(cpu), tag=tag)
            elif line.lstrip().startswith(b"freed by ") and last:
                freed[last], last = number, 0
            elif _DAMAGED.search(line) is not None:
                yield _given.bad(number, f"the line is no record of a dump: {shown(line)}")
            elif line.strip():
                counts["dumps"] += _START.search(line) is not None
                counts["other"] += 1
    for address, place in freed.items():
        yield _given.free(place, address)
