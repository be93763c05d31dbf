"""Caches as one ordered dictionary per set, last used last, and blocks as lists of the bytes' addresses."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from memtrace.trace import Op

HEADER = 16


@dataclass
class Level:
    sets: int
    ways: int
    lookups: int = 0
    misses: int = 0
    held: dict[int, OrderedDict[int, None]] = field(default_factory=dict)

    def has(self, line: int) -> bool:
        """Look a line up; afterwards it is there."""
        found = self.held.setdefault(line % self.sets, OrderedDict())
        self.lookups += 1
        if line in found:
            found.move_to_end(line)
            return True
        self.misses += 1
        if len(found) == self.ways:
            found.popitem(last=False)
        found[line] = None
        return False


@dataclass
class Caches:
    """Chains of (bytes of a line, levels)."""

    chains: list[tuple[int, list[Level]]]
    touches: int = 0
    touched_bytes: int = 0

    def touch(self, ranges: list[tuple[int, int]]) -> None:
        """Half-open address ranges, in this order."""
        ranges = [(start, stop) for start, stop in ranges if start < stop]
        if not ranges:
            return
        self.touches += 1
        self.touched_bytes += sum(stop - start for start, stop in ranges)
        for line_bytes, levels in self.chains:
            for start, stop in ranges:
                for line in range(start // line_bytes, (stop - 1) // line_bytes + 1):
                    for level in levels:
                        if level.has(line):
                            break

    def counts(self) -> list[tuple[int, int]]:
        return [(level.lookups, level.misses) for _, levels in self.chains for level in levels]


Pieces = list[tuple[int, int]]  # (address, bytes)


def part(pieces: Pieces, first: int, last: int) -> list[tuple[int, int]]:
    """The address ranges of bytes [first, last) of a block."""
    ranges, before = [], 0
    for address, extent in pieces:
        low, high = max(first - before, 0), min(last - before, extent)
        if low < high:
            ranges.append((address + low, address + high))
        before += extent
    return ranges


def locality(placement: Any, caches: Caches, derived: bool, reach: int) -> Caches:
    """Every event of a placement that was kept, as docs/locality.md says."""
    in_pieces = hasattr(placement.policy.module, "first_piece")
    live: dict[int, tuple[Pieces, int]] = {}  # slot -> where, bytes asked for
    whole = [
        np.concatenate([np.broadcast_to(getattr(e, name), e.op.size) for e in placement.trace.batches()]).tolist()
        for name in ("op", "block", "size", "dst")
    ]
    rows = placement.places.tolist()
    for event, address in enumerate(placement.addresses.tolist()):
        op, slot, size, other = (column[event] for column in whole)
        here = [(row[1], row[2], row[3]) for row in rows if row[0] == event]

        def touch(slot: int, first: int, last: int) -> None:
            if slot in live:
                caches.touch(part(live[slot][0], first, min(last, reach)))

        if op == Op.FREE and slot in live:
            if derived:
                touch(slot, 0, min(live[slot][1], HEADER))
            del live[slot]
        if not in_pieces:
            for moved, to, _ in here:
                if moved == slot and address >= 0:
                    continue
                bytes_ = live[moved][1]
                touch(moved, 0, bytes_)
                live[moved] = ([(to, bytes_)], bytes_)
                touch(moved, 0, bytes_)
        pieces = [(to, extent) for of, to, extent in here if of == slot] if in_pieces else []
        pieces = pieces or [(address, size)]
        if op == Op.ALLOC and address >= 0:
            live[slot] = (pieces, size)
            if derived:
                touch(slot, 0, size)
        elif op == Op.REALLOC and address == -2:
            live.pop(slot, None)
        elif op == Op.REALLOC and address >= 0:
            old = live.get(slot)
            kept = min(old[1], size) if old else 0
            moves = old is not None and old[0][0][0] != address
            if moves:
                touch(slot, 0, kept)
            live[slot] = (pieces, size)
            if moves:
                touch(slot, 0, kept)
            if derived:
                touch(slot, old[1] if old else 0, size)
        elif op == Op.ACCESS and slot in live:
            touch(slot, 0, live[slot][1])
        elif op in (Op.COPY, Op.SWAP) and slot in live and other in live:
            moved = size if size >= 0 else min(live[slot][1], live[other][1])
            touch(slot, 0, moved)
            touch(other, 0, moved)
    return caches
