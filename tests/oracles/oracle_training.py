"""A slow and obvious second opinion on the uses of a training step: dicts and lists, one event at a time."""

from __future__ import annotations

from bisect import bisect_left

import numpy as np
from numpy.typing import NDArray

from memtrace.trace import Op, Trace

Int64s = NDArray[np.int64]


class Pass:
    """What is known of one pass while its events go by."""

    def __init__(self, event: int) -> None:
        self.first = event
        self.gradients: list[tuple[int, int]] = []  # event, size
        self.freed: list[tuple[int, int]] = []  # event of the free of an activation of this pass, event of its alloc


class Derivation:
    """Goes over a trace once; uses are collected as (event, slot)."""

    def __init__(self, trace: Trace) -> None:
        codes = {tag: code for code, tag in enumerate(trace.tags)}
        self.weight, self.gradient, self.activation = (codes[tag] for tag in ("weight", "gradient", "activation"))
        self.optimizer, self.input = codes.get("optimizer", -2), codes.get("input", -2)
        self.live: dict[int, tuple[int, int, int]] = {}  # slot -> tag, size, event of its alloc
        self.uses: list[tuple[int, int]] = []
        self.now: Pass | None = None

    def alloc(self, event: int, slot: int, size: int, tag: int) -> None:
        if tag == self.input and (self.now is None or self.now.gradients):
            self.close(event)
            self.now = Pass(event)
        self.live[slot] = (tag, size, event)
        if tag == self.gradient and self.now is not None:
            self.now.gradients.append((event, size))

    def free(self, event: int, slot: int) -> None:
        tag, _, born = self.live.pop(slot, (-1, 0, 0))
        now = self.now
        if tag == self.activation and now is not None and now.gradients and now.first <= born < now.gradients[0][0]:
            now.freed.append((event, born))

    def close(self, end: int) -> None:
        """A pass is over: its uses."""
        now = self.now
        if now is None or not now.gradients:
            return
        weights: dict[int, list[int]] = {}
        for slot, (tag, size, _) in self.live.items():  # in the order of the allocs
            if tag == self.weight:
                weights.setdefault(size, []).append(slot)
        freed = [event for event, _ in now.freed]
        taken: dict[int, int] = {}
        for event, size in now.gradients:
            of_size = weights.get(size)
            if not of_size:
                continue
            slot = of_size[-1 - taken.get(size, 0) % len(of_size)]
            taken[size] = taken.get(size, 0) + 1
            after = bisect_left(freed, event)
            read = now.freed[after][1] + 1 if after < len(freed) else now.first
            self.uses += [(read, slot), (event, slot)]
        self.step(now.gradients[-1][0] + 1, end)

    def step(self, first: int, end: int) -> None:
        for group in (self.weight, self.gradient, self.optimizer):
            slots = [(slot, born) for slot, (tag, _, born) in self.live.items() if tag == group]
            for number, (slot, born) in enumerate(slots):
                event = first + number * (end - first) // len(slots)
                if born < event:
                    self.uses.append((event, slot))


def derive_slowly(trace: Trace) -> tuple[Int64s, Int64s]:
    """Events before which a block is used that the trace has no event for, in order, and its slot."""
    found, event = Derivation(trace), 0
    for events in trace.batches():
        tags = events.tag if events.tag.size > 1 else np.repeat(events.tag, events.op.size)
        kept = np.flatnonzero((events.op == Op.ALLOC) | ((events.op == Op.FREE) & (events.block >= 0)))
        columns = (events.op[kept], events.block[kept], events.size[kept], tags[kept])
        for at, op, slot, size, tag in zip(kept.tolist(), *(column.tolist() for column in columns), strict=True):
            if op == Op.ALLOC:
                found.alloc(event + at, slot, size, tag)
            else:
                found.free(event + at, slot)
        event += events.op.size
    found.close(event)
    if not found.uses:
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    uses = np.array(found.uses, np.int64)
    order = np.argsort(uses[:, 0], kind="stable")
    return uses[order, 0].copy(), uses[order, 1].copy()
