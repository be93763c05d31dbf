"""Describe how a replay ran out of memory: the state at that event, the blocks that pin most, and a map of all addresses.

The three become the tables `failures`, `pins` and `last_map` of the results. A block pins free bytes that lie on both
sides of it: if it were freed, they would be one range.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from memtrace.contract.policy import constants_of
from memtrace.engine.known import ALLOCATED, HOLES
from memtrace.measures.declaration import Readings
from memtrace.measures.occupancy import final_occupancy

if TYPE_CHECKING:
    from memtrace.engine.replay import Placement

Columns = dict[str, Any]
MOST_PINS = 10  # blocks listed in the table `pins`


def failure(placement: Placement) -> dict[str, Columns]:
    """Return the columns of the tables `failures`, `pins` and `last_map`, by table; an empty dict if memory did not run out."""
    if placement.oom_event is None:
        return {}
    last_map = final_occupancy(placement.policy, placement.blocks, placement.state, len(placement.trace.tags))
    return {"failures": failure_row(placement), "pins": pins(placement), "last_map": last_map}


def failure_row(placement: Placement) -> Columns:
    """Return the single row of `failures`, as columns: sizes and counts at the event at which memory ran out.

    `needed_bytes` is the size that the policy rounded the request to. What is not known of the policy is left out: that size
    too where it has no ledger, or did not come as far as rounding.
    """
    from memtrace.contract import ledger as led
    from memtrace.engine.binding import bind
    from memtrace.engine.blocks import PLACED
    from memtrace.engine.recorder import LIVE

    readings, ledger, event = Readings(placement), placement.ledger, placement.oom_event
    assert event is not None
    size, tag = requested(placement, event)
    known: dict[str, Any] = {
        "event": event,
        "request_bytes": size,
        "request_tag": tag,
        "live_bytes": int(placement.recorder.totals[LIVE]),
        "reserved_bytes": int(ledger[led.RESERVED]),
        "live_blocks": int((placement.blocks["status"] == PLACED).sum()),
    }
    if ledger[led.BLOCK_SIZE] > 0:
        known["needed_bytes"] = max(size, int(ledger[led.BLOCK_SIZE]))
    if ALLOCATED in readings.known:
        known["allocated_bytes"] = int(ledger[led.ALLOCATED])
    if HOLES in readings.known:
        largest = int(bind(placement.policy.module).largest_hole(placement.state))
        known |= {"free_bytes": int(ledger[led.FREE]), "holes": int(ledger[led.HOLES]), "largest_hole_bytes": largest}
    return {name: [value] for name, value in known.items()}


def requested(placement: Placement, event: int) -> tuple[int, str | None]:
    """Return the bytes and the tag of the request at this event; the tag is None if the block has none.

    Raise IndexError if the trace has no such event.
    """
    at = 0
    for events in placement.trace.batches():
        if event < at + events.op.size:
            tag = int(events.tag[event - at if events.tag.size > 1 else 0])
            return int(events.size[event - at]), placement.trace.tags[tag] if tag >= 0 else None
        at += events.op.size
    raise IndexError(event)


def pins(placement: Placement) -> Columns:
    """Return the columns of `pins`, which has the blocks with the most free bytes on their two sides.

    The block with the most comes first; there are at most MOST_PINS. No two of them are neighbours, so that no gap
    counts twice. There are no rows for a real allocator, nor for a policy whose blocks come in pieces.
    """
    empty: Columns = {name: np.zeros(0, np.int64) for name in ("address", "bytes", "opens_bytes")}
    if constants_of(placement.policy.module).FOOTPRINT_ONLY or comes_in_pieces(placement):
        return {**empty, "tag": []}
    address, extent, slot, opens = opened_ranges(placement)
    chosen = without_neighbours(np.argsort(extent - opens, kind="stable"), MOST_PINS)
    codes, names = placement.blocks["tag"][slot[chosen]], placement.trace.tags
    tags = [names[code] if code >= 0 else None for code in codes.tolist()]
    return {"address": address[chosen], "bytes": extent[chosen], "opens_bytes": opens[chosen], "tag": tags}


def comes_in_pieces(placement: Placement) -> bool:
    """Return whether the policy may place a block in several pieces that are not contiguous."""
    from memtrace.engine.binding import bind

    return bool(bind(placement.policy.module).first_piece)


def without_neighbours(order: NDArray[np.int64], most: int) -> NDArray[np.int64]:
    """Return the first ``most`` positions of ``order`` of which no two are next to each other.

    ``order`` is gone through from its start, and a position next to a chosen one is left out.
    """
    kept: list[int] = []
    for one in order.tolist():
        if len(kept) == most:
            break
        if one - 1 not in kept and one + 1 not in kept:
            kept.append(one)
    return np.array(kept, np.int64)


def opened_ranges(placement: Placement) -> tuple[NDArray[np.int64], ...]:
    """Return four arrays, one entry per live block in the order of addresses: address, requested bytes, slot, opened bytes.

    The opened bytes are those that would be contiguous if the block were freed: its own, and the free bytes on both
    sides. If the policy keeps its blocks in segments, its function ``neighbours`` says how many bytes are free beside
    each block. For other policies the range goes from one live neighbour, or end of what is reserved, to the other;
    bytes that were lost by rounding count as free.
    """
    from memtrace.contract.ledger import RESERVED
    from memtrace.contract.policy import function_of
    from memtrace.engine.blocks import PLACED

    blocks = placement.blocks
    live = np.flatnonzero(blocks["status"] == PLACED)
    live = live[np.argsort(blocks["address"][live], kind="stable")]
    address, extent = blocks["address"][live].astype(np.int64), blocks["requested"][live].astype(np.int64)
    beside = function_of(placement.policy.module, "neighbours")
    if beside is not None:
        return address, extent, live, extent + beside(placement.state, blocks["handle"][live])
    end = np.maximum.accumulate(address + extent) if live.size else address
    top = max(int(placement.ledger[RESERVED]), int(end[-1]) if live.size else 0)
    before, behind = np.concatenate(([0], end[:-1])), np.concatenate((address[1:], [top]))
    return address, extent, live, np.maximum(behind[: live.size] - before[: live.size], extent)
