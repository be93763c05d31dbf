"""Check that a recording can be true: memory that is mapped is not mapped again, and blocks do not overlap.

A damaged or invented file may say otherwise, and no allocator's state can be built from it.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right

import numpy as np

from memtrace.errors import InputError
from memtrace.formats.snapshot.events import GIVEN_BACK, TAKEN
from memtrace.formats.snapshot.records import Recording
from memtrace.gpu.initial_state import Range
from memtrace.structures.caching.seeding import Seed


class ContradictionError(InputError):
    """A recording says what cannot be."""


class Mapped:
    """Hold disjoint ranges of mapped addresses."""

    def __init__(self) -> None:
        """Start with nothing mapped."""
        self.starts: list[int] = []
        self.ends: list[int] = []

    def add(self, start: int, end: int) -> bool:
        """Map a range; return False, and do nothing, if part of it is mapped already."""
        at = bisect_left(self.starts, start)
        if start >= end or (at and self.ends[at - 1] > start) or (at < len(self.starts) and self.starts[at] < end):
            return False
        self.starts.insert(at, start)
        self.ends.insert(at, end)
        return True

    def remove(self, start: int, end: int) -> None:
        """Unmap whatever is mapped in a range."""
        low = max(bisect_right(self.starts, start) - 1, 0)
        high = bisect_left(self.starts, end)
        kept = []
        for one, other in zip(self.starts[low:high], self.ends[low:high], strict=True):
            kept += [(one, min(other, start)), (max(one, end), other)]
        kept = [(one, other) for one, other in kept if one < other]
        self.starts[low:high] = [one for one, _ in kept]
        self.ends[low:high] = [other for _, other in kept]


def check_mapped(recording: Recording, ranges: list[Range]) -> None:
    """Raise ContradictionError if memory is mapped that is mapped already; ``ranges`` are those at the first event."""
    mapped = Mapped()
    for one in ranges:
        if not mapped.add(one.start, one.start + one.extent):
            raise ContradictionError(f"two segments contain address 0x{one.start:x} at the first event")
    events = recording.events
    taken, back = np.isin(events.action, TAKEN), np.isin(events.action, GIVEN_BACK)
    for i in np.flatnonzero(taken | back).tolist():
        start, end = int(events.address[i]), int(events.address[i] + events.size[i])
        if back[i]:
            mapped.remove(start, end)
        elif not mapped.add(start, end):
            raise ContradictionError(f"event {i:,} maps address 0x{start:x}, which is mapped already")


def check_seeds(seeds: list[Seed]) -> None:
    """Raise ContradictionError unless the pieces of each segment cover it, one behind the other."""
    for one in seeds:
        at = one.start
        for piece in one.pieces:
            if piece.address != at or piece.extent <= 0:
                raise ContradictionError(f"blocks overlap at address 0x{piece.address:x} at the first event")
            at += piece.extent
        if at != one.start + one.extent:
            raise ContradictionError(f"a block reaches beyond its segment at address 0x{one.start:x}")
