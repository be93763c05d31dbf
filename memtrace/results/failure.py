"""Describe how a replay ran out of memory: the state at that event, that of each part of the memory, a map of all addresses.

They become the tables `failures`, `last_map` and `parts` of the results; the blocks that pin most are in `holders`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from memtrace.engine.known import ALLOCATED, HOLES
from memtrace.measures.declaration import Readings
from memtrace.measures.occupancy import final_occupancy

if TYPE_CHECKING:
    from memtrace.engine.replay import Placement

Columns = dict[str, Any]


def failure(placement: Placement) -> dict[str, Columns]:
    """Return the columns of `failures`, `last_map` and `parts`, by table; an empty dict if memory did not run out."""
    if placement.oom_event is None:
        return {}
    last_map = final_occupancy(placement.policy, placement.blocks, placement.state, len(placement.trace.tags))
    return {"failures": failure_row(placement), "last_map": last_map, **parts_rows(placement)}


def parts_rows(placement: Placement) -> dict[str, Columns]:
    """Return the columns of `parts`: for each range that no block crosses its bytes, its blocks, and what is free in it.

    Return an empty dict for a policy whose memory is one whole.
    """
    from memtrace.contract.policy import function_of

    parts = function_of(placement.policy.module, "parts")
    found = list(parts(placement.state)) if parts is not None else []
    if not found:
        return {}
    names = ("address", "bytes", "live_blocks", "free_bytes", "largest_hole_bytes")
    columns = {name: [int(part[i]) for part in found] for i, name in enumerate(names)}
    return {"parts": {"event": [placement.oom_event] * len(found), **columns}}


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
