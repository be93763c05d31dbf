"""Explain why a caching allocator ran out of memory: how much it had reserved, how much of that was cached, and which blocks keep
cached memory from going back.

Cached memory goes back to the device only as whole segments (or whole free pages of expandable ones). A live block pins the free
memory beside it in its segment: that memory is reserved, but only requests that fit it can use it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from memtrace.trace.model import Int64s, Op

if TYPE_CHECKING:
    from memtrace.engine.replay import Placement


@dataclass(frozen=True)
class Pin:
    """Describe a segment that a live block keeps from going back. Sizes are in bytes."""

    address: int
    extent: int  # mapped bytes
    free: int  # bytes in free blocks
    largest_free: int  # the largest free block
    live: int  # number of blocks that are live or pending
    live_bytes: int  # their bytes
    holders: list[tuple[str, int, int]]  # (tag, number of live blocks, their bytes), the most bytes first


@dataclass(frozen=True)
class Autopsy:
    """Describe the state of the allocator when a request failed. Sizes are in bytes."""

    event: int  # number of the event that failed
    request: int  # what it requested
    capacity: int | None
    reserved: int
    active: int  # in blocks that are live or pending
    requested: int  # what the program requested for these blocks
    cached: int  # reserved and free
    splits: int  # cached in segments that have a live or pending block
    releasable: int  # cached in segments that are free as a whole
    largest_free: int  # the largest free block
    pins: list[Pin]  # segments with live or pending blocks and free ones, the most free bytes first


def autopsy(placed: Placement) -> Autopsy:
    """Return the state of the allocator at the event at which a replay stopped.

    The replay must be one of a caching allocator; ValueError if nothing failed in it.
    """
    from memtrace.structures.caching.state import FREE, FRESH, LIVE, PENDING

    state, event = placed.state, placed.oom_event
    if event is None:
        raise ValueError("nothing failed in this replay")
    nodes = np.asarray(state.nodes)[1 : int(state.at[FRESH])]
    nodes = nodes[np.isin(nodes["state"], (LIVE, PENDING, FREE))]
    free = nodes["state"] == FREE
    tags, request = _tags(placed, event)
    pins = [_pin(nodes[nodes["segment"] == one], tags) for one in np.unique(nodes["segment"][~free]).tolist()]
    pins = sorted((pin for pin in pins if pin.free), key=lambda pin: -pin.free)
    cached = int(nodes["extent"][free].sum())
    held = sum(pin.free for pin in pins)
    return Autopsy(
        event=event,
        request=request,
        capacity=placed.capacity,
        reserved=int(nodes["extent"].sum()),
        active=int(nodes["extent"][~free].sum()),
        requested=int(nodes["requested"][~free].sum()),
        cached=cached,
        splits=held,
        releasable=cached - held,
        largest_free=int(nodes["extent"][free].max(initial=0)),
        pins=pins,
    )


def _tags(placed: Placement, event: int) -> tuple[dict[int, str], int]:
    """Return the tag of the last block allocated in each slot before an event, and the bytes that the event requests.

    Slots whose block has no tag are left out.
    """
    found: dict[int, int] = {}
    at, names = 0, placed.trace.tags
    for events in placed.trace.batches():
        stop = min(event - at, events.op.size)
        if events.tag.size > 1:
            allocs = np.flatnonzero(events.op[:stop] == Op.ALLOC)
            found.update(zip(events.block[allocs].tolist(), events.tag[allocs].tolist(), strict=True))
        if event < at + events.op.size:
            named = {slot: names[code] for slot, code in found.items() if code >= 0}
            return named, int(events.size[event - at])
        at += events.op.size
    raise IndexError(event)


def _pin(nodes: Any, tags: dict[int, str]) -> Pin:
    """Describe a segment; ``nodes`` are its mapped nodes, ``tags`` the tag by slot."""
    from memtrace.structures.caching.state import FREE

    free = nodes["state"] == FREE
    live = nodes[~free]
    holders: dict[str, list[int]] = {}
    for handle, extent in zip(live["handle"].tolist(), live["extent"].tolist(), strict=True):
        holders.setdefault(tags.get(handle, "untagged"), []).append(extent)
    ranked = sorted(((tag, len(sizes), sum(sizes)) for tag, sizes in holders.items()), key=lambda one: -one[2])
    extents: Int64s = nodes["extent"]
    return Pin(
        address=int(nodes["addr"].min()),
        extent=int(extents.sum()),
        free=int(extents[free].sum()),
        largest_free=int(extents[free].max(initial=0)),
        live=int(live.size),
        live_bytes=int(live["extent"].sum()),
        holders=ranked,
    )
