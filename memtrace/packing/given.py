"""Judge the packing that a file itself states for its blocks: how high it is, and which blocks that live at once overlap."""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from memtrace.packing.buffers import buffers_of
from memtrace.trace import Op

if TYPE_CHECKING:
    from memtrace.packing.buffers import Buffers, Ints
    from memtrace.trace import Trace
    from memtrace.trace.model import Plan

MOST_OVERLAPS = 1000  # pairs that are looked for
MOST_IN_CHUNK = 1000  # ranges
Range = tuple[int, int, int]  # start, end, buffer


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """What is to be said of a file's own packing. Numbers of buffers are those of the trace's requests, in order."""

    height: int  # bytes: where its highest buffer ends
    bound: int  # bytes: the most that live at once, by the sizes in the file
    overlaps: list[tuple[int, int]]  # buffers that live at once and share bytes, at most MOST_OVERLAPS pairs
    misaligned: list[int]  # buffers whose offset is no multiple of the alignment that the file asks for
    unknown: int  # buffers without an offset, which are not judged

    @property
    def sound(self) -> bool:
        """Whether no two buffers overlap, and all are aligned."""
        return not self.overlaps and not self.misaligned


def judge(trace: Trace) -> Judgement | None:
    """Return what the packing in a trace's file is worth; None if the file has none, or the trace was read without it.

    Sizes are those of the file, not rounded.
    """
    if trace.plan is None or not (trace.plan.offset >= 0).any():
        return None
    requested = [events.size[(events.op == Op.ALLOC) | (events.op == Op.REALLOC)] for events in trace.batches()]
    buffers = replace(buffers_of(trace, 1), size=np.concatenate(requested))
    offset = trace.plan.offset
    known = offset >= 0
    return Judgement(
        height=int((offset + buffers.size)[known].max()),
        bound=buffers.bound,
        overlaps=overlapping(buffers, offset),
        misaligned=np.flatnonzero(known & (offset % buffers.align != 0)).tolist(),
        unknown=int((~known).sum()),
    )


class Ranges:
    """Ranges of bytes (start, end, buffer) that share none, sorted, in chunks: adding or removing one moves one chunk only."""

    def __init__(self) -> None:
        """Begin without ranges."""
        self.chunks: list[list[Range]] = [[]]
        self.firsts: list[Range] = [(-1, -1, -1)]  # no range of a chunk is before its entry here

    def chunk(self, range: Range) -> int:
        """Return the number of the chunk that a range belongs to."""
        return bisect_right(self.firsts, range) - 1

    def add(self, range: Range) -> None:
        """Add a range."""
        at = self.chunk(range)
        chunk = self.chunks[at]
        insort(chunk, range)
        if len(chunk) > MOST_IN_CHUNK:
            half = len(chunk) // 2
            self.chunks[at : at + 1] = [chunk[:half], chunk[half:]]
            self.firsts.insert(at + 1, chunk[half])

    def remove(self, range: Range) -> None:
        """Remove a range that is there; a chunk that becomes empty goes, but for the first."""
        at = self.chunk(range)
        chunk = self.chunks[at]
        del chunk[bisect_left(chunk, range)]
        if not chunk and at > 0:
            del self.chunks[at], self.firsts[at]

    def meeting(self, start: int, end: int) -> list[int]:
        """Return the buffers whose ranges share bytes with [start, end)."""
        at = self.chunk((start, -1, -1))
        found: list[int] = []
        while at > 0 and not (self.chunks[at] and self.chunks[at][0][0] < start):
            at -= 1  # the range before the start may be in an earlier chunk
        while at < len(self.chunks):
            chunk = self.chunks[at]
            low = max(bisect_left(chunk, (start, -1, -1)) - 1, 0)
            high = bisect_left(chunk, (end, -1, -1))
            found += [buffer for _, last, buffer in chunk[low:high] if last > start]
            if high < len(chunk):
                break
            at += 1
        return found


def overlapping(buffers: Buffers, offset: Ints) -> list[tuple[int, int]]:
    """Return pairs of buffers that live at once and share bytes, at most MOST_OVERLAPS, in the order of the later begin.

    Buffers with a negative offset or without bytes are left out.
    """
    found: list[tuple[int, int]] = []
    placed = Ranges()  # of live buffers that share no bytes
    others: dict[int, tuple[int, int]] = {}  # buffer -> (start, end) of further live buffers, which overlap one of those
    some = np.flatnonzero((offset >= 0) & (buffers.size > 0))
    times = np.concatenate((buffers.upper[some], buffers.lower[some]))
    which = np.concatenate((some, some))
    begins = np.arange(which.size) >= some.size
    for at in np.argsort(times, kind="stable").tolist():  # at the same time ends go before begins
        buffer = int(which[at])
        start, end = int(offset[buffer]), int(offset[buffer] + buffers.size[buffer])
        if not begins[at]:
            if others.pop(buffer, None) is None:
                placed.remove((start, end, buffer))
            continue
        meets = placed.meeting(start, end)
        meets += [other for other, (low, high) in others.items() if low < end and start < high]
        found += [(other, buffer) for other in meets]
        if len(found) >= MOST_OVERLAPS:
            return found[:MOST_OVERLAPS]
        if meets:
            others[buffer] = (start, end)
        else:
            placed.add((start, end, buffer))
    return found


def named(plan: Plan, buffer: int, size: int) -> str:
    """Return a buffer's place in the file and its bytes: `line 12 (bytes 0 to 4,096)`."""
    low = int(plan.offset[buffer])
    return f"{plan.word} {plan.place[buffer]} (bytes {low:,} to {low + size:,})"
