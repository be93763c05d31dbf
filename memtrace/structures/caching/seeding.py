"""A caching allocator that begins in mid-run: with segments and blocks that a recording says were there.

This runs once, before a replay, and in the interpreter.
"""

from typing import NamedTuple

import numpy as np

from memtrace.structures.bits import align_up
from memtrace.structures.caching.blocks import link_behind, new_node
from memtrace.structures.caching.device import UNIT, hang_in, place_for
from memtrace.structures.caching.free_sets import add, add_hole
from memtrace.structures.caching.model import (
    DEVICE_USED,
    HOLE,
    LIVE,
    MADE,
    NEXT_ADDRESS,
    SEGMENT_FRESH,
    SEGMENTS,
    SMALLEST,
    longer,
    more_streams,
)
from memtrace.structures.caching.statistics import (
    ACTIVE,
    ACTIVE_BYTES,
    ALLOCATED_BYTES,
    ALLOCATION,
    INACTIVE_SPLIT,
    INACTIVE_SPLIT_BYTES,
    OVERSIZE_ALLOCATIONS,
    OVERSIZE_SEGMENTS,
    REQUESTED_BYTES,
    RESERVED_BYTES,
    SEGMENT,
    rise,
    rise_one,
)
from memtrace.structures.caching.streams import stream_of
from memtrace.structures.ledger import ALLOCATED, RESERVED

FREE_BLOCK, LIVE_BLOCK, UNMAPPED = range(3)


class Piece(NamedTuple):
    """A part of a segment: a block, or address space without memory. All in bytes."""

    address: int
    extent: int
    kind: int
    requested: int = 0
    handle: int = -1


class Seed(NamedTuple):
    """A segment; its pieces follow each other without a gap."""

    start: int
    extent: int
    stream: int
    large: bool
    expandable: bool
    pieces: list[Piece]


def seed(state, seeds, given, private=()):
    """The state with these segments, the oldest first; ``given``: start and bytes (0: any) of each that the device will give;
    ``private``: streams of private pools."""
    state = with_room(state, seeds, len(private))._replace(given=np.array(given, np.int64).reshape(-1))
    for one in seeds:
        seed_segment(state, one)
    for stream in private:
        state.streams[stream_of(state, stream)].private = 1
    ends = [one.start + one.extent for one in seeds] + [start + extent for start, extent in given]
    state.at[NEXT_ADDRESS] = align_up(max(ends, default=0), UNIT)
    return state


def with_room(state, seeds, private=0):
    """Arrays that hold all of it, with as much again."""
    nodes = 4 * sum(len(one.pieces) for one in seeds) + state.nodes.size
    words = state.uses.size // state.nodes.size
    state = state._replace(nodes=longer(state.nodes, nodes), uses=longer(state.uses, nodes * words))
    state = state._replace(segments=longer(state.segments, 2 * len(seeds) + state.segments.size))
    streams = state.streams.size
    while streams < len({one.stream for one in seeds}) + private + 2:
        streams *= 2
    return more_streams(state, streams) if streams > state.streams.size else state


def seed_segment(state, one):
    segments, at = state.segments, state.at
    queue = 2 * int(stream_of(state, one.stream)) + int(one.large)
    s = int(at[SEGMENT_FRESH])
    at[SEGMENT_FRESH] += 1
    at[SEGMENTS] += 1
    at[SMALLEST + one.large] = min(at[SMALLEST + one.large], one.extent)
    segments[s].start, segments[s].extent, segments[s].queue = one.start, one.extent, queue
    at[MADE] += 1
    segments[s].number = at[MADE] if state.rules.by_age else 0
    hang_in(state, s, place_for(state, one.extent, np.int64(one.start)))
    before = 0
    for piece in one.pieces:
        x = new_node(state, piece.address, piece.extent, queue, s)
        state.nodes[x].prev = state.nodes[x].next = 0
        if before:
            link_behind(state.nodes, before, x)
        before = x
    count_segment(state, one, queue & 1)
    x = before
    for piece in reversed(one.pieces):
        settle(state, x, piece, one.expandable, len(one.pieces) > 1)
        x = int(state.nodes[x].prev)


def count_segment(state, one, pool):
    mapped = sum(piece.extent for piece in one.pieces if piece.kind != UNMAPPED)
    state.at[DEVICE_USED] += align_up(mapped, UNIT)
    state.ledger[RESERVED] += mapped
    rise(state.stats, RESERVED_BYTES, pool, mapped)
    if not one.expandable:
        rise(state.stats, SEGMENT, pool, 1)
        if one.extent >= state.rules.max_split:
            rise_one(state.stats, OVERSIZE_SEGMENTS, 1)


def settle(state, x, piece, expandable, split):
    """What node x is, in the sets and the statistics."""
    nodes, stats = state.nodes, state.stats
    pool = int(nodes[x].queue) & 1
    if piece.kind == UNMAPPED:
        nodes[x].state = HOLE
        add_hole(state, x)
    elif piece.kind == FREE_BLOCK:
        add(state, x)
        if split and not expandable:
            rise(stats, INACTIVE_SPLIT, pool, 1)
            rise(stats, INACTIVE_SPLIT_BYTES, pool, piece.extent)
    else:
        nodes[x].state = LIVE
        nodes[x].requested = piece.requested
        nodes[x].handle = piece.handle
        state.node_of[piece.handle] = x
        rise(stats, ACTIVE, pool, 1)
        rise(stats, ACTIVE_BYTES, pool, piece.extent)
        rise(stats, REQUESTED_BYTES, pool, piece.requested)
        state.ledger[ALLOCATED] += piece.extent
        rise(stats, ALLOCATION, pool, 1)
        rise(stats, ALLOCATED_BYTES, pool, piece.extent)
        if piece.extent >= state.rules.max_split:
            rise_one(stats, OVERSIZE_ALLOCATIONS, 1)
