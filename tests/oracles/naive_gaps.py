"""The gaps between live blocks after every event of a placement, from a list of intervals that is sorted anew each time."""

from __future__ import annotations

from collections.abc import Iterator

from memtrace.engine.replay import Placement
from memtrace.trace import Op


def gaps_after(placement: Placement, grown: list[int] | None) -> Iterator[list[int]]:
    """Yield the bytes of the gaps below the reserved end after each event.

    A block has the bytes that were requested; with ``grown`` those by which the allocated bytes grew at its event.
    """
    assert placement.addresses is not None and placement.reserved is not None
    live: dict[int, tuple[int, int]] = {}
    (events,) = placement.trace.batches()
    for i in range(placement.events):
        op, slot, address = int(events.op[i]), int(events.block[i]), int(placement.addresses[i])
        before = live.get(slot)
        if op == Op.FREE:
            live.pop(slot, None)
        elif op in (Op.ALLOC, Op.REALLOC) and address >= 0:
            size = int(events.size[i])
            if grown is not None:
                size = max(size, grown[i] + (before[1] - before[0] if op == Op.REALLOC and before else 0))
            live[slot] = (address, address + size)
        elif op == Op.REALLOC and address == -2:
            live.pop(slot, None)
        end, gaps = 0, []
        for start, stop in sorted(block for block in live.values() if block[1] > block[0]):
            if start > end:
                gaps.append(start - end)
            end = max(end, stop)
        if int(placement.reserved[i]) > end:
            gaps.append(int(placement.reserved[i]) - end)
        yield gaps
