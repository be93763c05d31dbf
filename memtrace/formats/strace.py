"""System calls for memory in a log of strace (`strace -f -e trace=memory -o FILE PROGRAM`): mmap, munmap, mremap and brk.

A mapping is a block of the size that was asked for; its tag says whether it is anonymous or of a file. A munmap of a part makes
the mapping smaller or two of it, and a mapping with MAP_FIXED takes the place of what it covers. The part of the heap above the
first break is one block, tagged brk. All threads and processes of a log are taken as one address space. The two halves of a call
that another thread interrupted are joined. Source: strace 6, its output; Linux, mm/mmap.c.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from memtrace.formats._calls import Calls, new_calls
from memtrace.formats._logs import LogFormat, read_log
from memtrace.formats._mappings import COVERED, PROGRAMS, SHRUNK, SPARE, SPLIT, Mapped, map_calls, new_mapped
from memtrace.formats._patterns import BEGUN, RESUMED, Line
from memtrace.formats._reading import BATCH_ROWS
from memtrace.formats.ltrace import WHERE

if TYPE_CHECKING:
    from memtrace.trace.batches import Batch
    from memtrace.trace.sources import Source

NAME = "strace"
SUFFIXES = (".strace", ".log", ".txt")

FIRST_MAPPINGS = 256

_CALL = re.compile(WHERE + rb"(mmap2?\(.*(MAP_\w+|unfinished)|munmap\(0x|mremap\(0x|brk\((NULL|0x))", re.MULTILINE)


def call(name: str, arguments: str, kind: str, tag: str) -> list[Line]:
    """Return the lines of one system call that returns an address, whole and its first half; its arguments are a pattern."""
    begun = f"{name}({arguments}"
    return [
        Line(kind, f"{begun}){{ }}= {{ptr}}", tag),
        Line(kind, f"{begun}){{ }}= {{ptr}} <{{*}}", tag),
        Line(kind, f"{begun} <unfinished ...>", tag, BEGUN, name),
    ]


LINES = (
    *call("mmap", "{*}, {size}, {*}, -1, {any}", "alloc", "anonymous"),
    *call("mmap", "{*}, {size}, {*}", "alloc", "file"),
    Line("free", "munmap({ptr}, {size}){ }= 0{*}"),
    Line("free", "munmap({ptr}, {size} <unfinished ...>"),
    *call("mremap", "{old}, {any}, {size}, {*}", "realloc", "anonymous"),
    *call("brk", "{at}", "alloc", "brk"),
    *call("mmap2", "{*}, {size}, {*}, -1, {any}", "alloc", "anonymous"),
    *call("mmap2", "{*}, {size}, {*}", "alloc", "file"),
    # strace writes the second half with or without a blank before the parenthesis.
    *(Line("alloc", f"<... {name} resumed>{{*}}= {{ptr}}{{*}}", half=RESUMED, call=name) for name in ("mmap", "mmap2", "brk")),
    Line("realloc", "<... mremap resumed>{*}= {ptr}{*}", half=RESUMED, call="mremap"),
    Line("skip", "{word}({*}){ }= -1 {*}", note=1),
    Line("bad", "mmap({*}"),
    Line("bad", "munmap({*}"),
    Line("bad", "mremap({*}"),
    Line("bad", "brk({*}"),
)
FORMAT = LogFormat(
    NAME,
    LINES,
    heads=("{lead}",),
    columns=("op", "id", "size", "time", "stream", "tag"),
    notes=("system calls that failed, left out",),
)


def sniff(head: bytes, path: str) -> bool:
    """Return whether a line is a system call that maps memory."""
    return _CALL.search(head) is not None


def read(source: Source) -> Iterator[Batch]:
    """Yield events of numbered blocks; the stream is the thread, by first appearance."""
    mappings = _Mappings()
    last = None
    for batch in read_log(source, FORMAT, convert=mappings.converted):
        if last is not None:
            yield last
        last = batch
    assert last is not None
    said = [last.metadata.get("assumed", ""), *mappings.notes()]
    assumed = {"assumed": text} if (text := "\n".join(filter(None, said))) else {}
    yield replace(last, metadata={**last.metadata, **assumed})


class _Mappings:
    """Convert calls of ranges of addresses to calls of blocks, and keep the live mappings between batches."""

    def __init__(self) -> None:
        """Start without mappings."""
        self.mapped = new_mapped(FIRST_MAPPINGS)

    def converted(self, calls: Calls, count: int) -> Iterator[tuple[Calls, int]]:
        """Yield the calls of blocks that the first `count` calls make, in parts."""
        at = 0
        while at < count:
            room = int(self.mapped.state[0]) + SPARE
            if room > self.mapped.ranges.shape[0] - SPARE:
                ranges = np.zeros((4 * room, 2), np.int64)
                ranges[: self.mapped.ranges.shape[0]] = self.mapped.ranges
                self.mapped = Mapped(ranges, self.mapped.state)
            made = new_calls(BATCH_ROWS + 2 * room)
            with np.errstate(over="ignore"):
                at, filled = map_calls(calls, at, count, made, self.mapped)
            yield made, filled

    def notes(self) -> list[str]:
        """Return the sentences on what was made of mappings."""
        state = self.mapped.state
        texts = {
            SHRUNK: "mappings of which the beginning or the end was unmapped, made smaller",
            SPLIT: "mappings of which the middle was unmapped, made two",
            PROGRAMS: "programs that were started in place of another, whose mappings end there",
            COVERED: "mappings that took the place of others, or of parts of them",
        }
        return [f"{text}: {state[place]:,}" for place, text in texts.items() if state[place]]
