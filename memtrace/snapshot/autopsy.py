"""A caching allocator that ran out of memory: what it held, what of it was cached, and what keeps it from going back.

Cached memory goes back to the device by whole segments. A live block in a segment pins all that is free beside it: that
is the memory which is there, and which no request that it does not fit can have.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from memtrace.trace.model import Int64s, Op

if TYPE_CHECKING:
    from memtrace.replaying import Placement


@dataclass(frozen=True)
class Pin:
    """A segment that a live block keeps. In bytes."""

    address: int
    extent: int
    free: int
    largest_free: int
    live: int  # blocks in use or pending
    live_bytes: int
    holders: list[tuple[str, int, int]]  # tag, blocks, bytes; the most bytes first


@dataclass(frozen=True)
class Autopsy:
    """The state at the failure. In bytes."""

    event: int
    request: int
    capacity: int | None
    reserved: int
    active: int  # in blocks that are in use or pending
    requested: int  # of them what the program asked for
    cached: int  # free, of what is reserved
    splits: int  # free beside live blocks: it cannot go back
    releasable: int  # free segments, and whole free pages of expandable ones
    largest_free: int
    pins: list[Pin]  # by free bytes, the most first


def autopsy(placed: Placement) -> Autopsy:
    """Take apart the state at the event at which a replay stopped; the policy is a caching allocator's."""
    from memtrace.structures.caching.model import FREE, FRESH, LIVE, PENDING

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
    """The tag of the block that is in each slot at an event, and the bytes that this event asks for."""
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
    """A segment with its blocks."""
    from memtrace.structures.caching.model import FREE

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
