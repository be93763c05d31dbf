"""Explain why a caching allocator ran out of memory: how much it had reserved, how much of that was cached, which blocks keep
cached memory from going back, and what the live blocks are.

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
    from memtrace.trace import Trace

UNTAGGED, BEFORE = "no call site", "before the recording"  # blocks without a tag; the second: there at the first event
LARGEST = 8  # blocks that are named one by one
Holder = tuple[str, int, int]  # tag, number of live blocks, their bytes


@dataclass(frozen=True)
class Pin:
    """Describe a segment that a live block keeps from going back. Sizes are in bytes."""

    address: int
    extent: int  # mapped bytes
    free: int  # bytes in free blocks
    largest_free: int  # the largest free block
    live: int  # number of blocks that are live or pending
    live_bytes: int  # their bytes
    holders: list[Holder]  # the most bytes first


@dataclass(frozen=True)
class Autopsy:
    """Describe the state of the allocator when a request failed, or at the end of a recording. Sizes are in bytes."""

    event: int | None  # number of the event that failed
    request: int | None  # what it requested
    tag: str | None  # where in the program it was requested
    capacity: int | None
    reserved: int
    active: int  # in blocks that are live or pending
    requested: int  # what the program requested for these blocks
    cached: int  # reserved and free
    splits: int  # cached in segments that have a live or pending block
    releasable: int  # cached in segments that are free as a whole
    largest_free: int  # the largest free block
    pins: list[Pin]  # segments with live or pending blocks and free ones, the most free bytes first
    holders: list[Holder]  # all live blocks by tag, the most bytes first
    largest: list[tuple[str, int]]  # tag and bytes of the largest live blocks


def autopsy(placed: Placement) -> Autopsy:
    """Return the state of the allocator at the event at which a replay stopped.

    The replay must be one of a caching allocator; ValueError if nothing failed in it.
    """
    if placed.oom_event is None:
        raise ValueError("nothing failed in this replay")
    return autopsy_of(placed.state, placed.trace, placed.oom_event, placed.capacity)


def autopsy_of(state: Any, trace: Trace, event: int, capacity: int | None) -> Autopsy:
    """Return the state of a caching allocator after an event that failed; ``state`` is its state then."""
    from memtrace.structures.caching.state import FREE, FRESH, LIVE, PENDING

    nodes = np.asarray(state.nodes)[1 : int(state.at[FRESH])]
    nodes = nodes[np.isin(nodes["state"], (LIVE, PENDING, FREE))]
    tags, request, tag = _tags(trace, event)
    codes = np.array([tags.get(handle, UNTAGGED) for handle in nodes["handle"].tolist()], object)
    blocks = Blocks(nodes["segment"], nodes["addr"], nodes["extent"], nodes["requested"], nodes["state"] == FREE, codes)
    return summary(blocks, event=event, request=request, tag=tag, capacity=capacity)


@dataclass(frozen=True, eq=False)
class Blocks:
    """Hold the blocks of a caching allocator as columns."""

    segment: Any  # a number for each segment
    address: Int64s
    extent: Int64s  # bytes
    requested: Int64s  # bytes
    free: Any  # bool
    tag: Any  # of live blocks, as text


def summary(
    blocks: Blocks,
    *,
    event: int | None = None,
    request: int | None = None,
    tag: str | None = None,
    capacity: int | None = None,
) -> Autopsy:
    """Return what the blocks of a caching allocator add up to; the other arguments are those of Autopsy."""
    free, extent = blocks.free, blocks.extent
    order = np.argsort(blocks.segment, kind="stable")
    starts = np.flatnonzero(np.diff(blocks.segment[order], prepend=-1)) if order.size else order
    groups = np.split(order, starts[1:]) if order.size else []
    pins = [_pin(blocks, group) for group in groups if free[group].any() and not free[group].all()]
    pins.sort(key=lambda pin: -pin.free)
    held = sum(pin.free for pin in pins)
    cached = int(extent[free].sum())
    live = np.flatnonzero(~free)
    large = live[np.argsort(-extent[live], kind="stable")][:LARGEST]
    return Autopsy(
        event=event,
        request=request,
        tag=tag,
        capacity=capacity,
        reserved=int(extent.sum()),
        active=int(extent[~free].sum()),
        requested=int(blocks.requested[~free].sum()),
        cached=cached,
        splits=held,
        releasable=cached - held,
        largest_free=int(extent[free].max(initial=0)),
        pins=pins,
        holders=_holders(blocks, live),
        largest=[(str(blocks.tag[i]), int(extent[i])) for i in large.tolist()],
    )


def _tags(trace: Trace, event: int) -> tuple[dict[int, str], int, str | None]:
    """Return the tag of the last block allocated in each slot before an event, and what the event requests: bytes and tag.

    Slots whose block has no tag are left out, but for those of blocks that were there before a recording.
    """
    found: dict[int, int] = {}
    at, names = 0, [*trace.tags, BEFORE]
    before = int(trace.metadata.get("blocks_before", 0))
    for events in trace.batches():
        stop = min(event - at, events.op.size)
        if events.tag.size > 1 or at < before:
            allocs = np.flatnonzero(events.op[:stop] == Op.ALLOC)
            codes = np.broadcast_to(events.tag, events.op.size)[allocs]
            codes = np.where((codes < 0) & (at + allocs < before), len(trace.tags), codes)
            found.update(zip(events.block[allocs].tolist(), codes.tolist(), strict=True))
        if event < at + events.op.size:
            named = {slot: names[code] for slot, code in found.items() if code >= 0}
            code = int(events.tag[event - at]) if events.tag.size > 1 else -1
            return named, int(events.size[event - at]), names[code] if code >= 0 else None
        at += events.op.size
    raise IndexError(event)


def _holders(blocks: Blocks, which: Int64s) -> list[Holder]:
    """Return the blocks ``which`` by tag: number and bytes, the most bytes first."""
    sums: dict[str, list[int]] = {}
    for tag, extent in zip(blocks.tag[which].tolist(), blocks.extent[which].tolist(), strict=True):
        one = sums.setdefault(tag, [0, 0])
        one[0] += 1
        one[1] += extent
    return sorted(((tag, count, size) for tag, (count, size) in sums.items()), key=lambda one: -one[2])


def _pin(blocks: Blocks, group: Int64s) -> Pin:
    """Describe a segment; ``group`` are the indices of its blocks."""
    free = group[blocks.free[group]]
    live = group[~blocks.free[group]]
    return Pin(
        address=int(blocks.address[group].min()),
        extent=int(blocks.extent[group].sum()),
        free=int(blocks.extent[free].sum()),
        largest_free=int(blocks.extent[free].max(initial=0)),
        live=int(live.size),
        live_bytes=int(blocks.extent[live].sum()),
        holders=_holders(blocks, live),
    )
