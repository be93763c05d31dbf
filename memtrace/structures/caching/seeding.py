"""Set up a caching allocator in mid-run, with the segments and blocks that a recording says it had.

This code runs once, before a replay, and in the interpreter.
"""

from typing import NamedTuple

import numpy as np

from memtrace.contract.bits import align_up
from memtrace.contract.ledger import ALLOCATED, RESERVED
from memtrace.structures.caching.blocks import link_behind, new_node
from memtrace.structures.caching.device import UNIT, link_segment, predecessor_for
from memtrace.structures.caching.free_sets import add_hole, insert_free, remove_free
from memtrace.structures.caching.state import (
    DEVICE_USED,
    FREE,
    FRESH,
    LIVE,
    NEXT_ADDRESS,
    SEGMENT_FRESH,
    SEGMENTS,
    SEGMENTS_MADE,
    SMALLEST,
    extended_copy,
    more_streams,
)
from memtrace.structures.caching.state import (
    UNMAPPED as HOLE,
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

FREE_BLOCK, LIVE_BLOCK, UNMAPPED = range(3)  # kinds of a Piece


class Piece(NamedTuple):
    """Describe a part of a segment: a block, or an unmapped range. Sizes are in bytes."""

    address: int
    extent: int
    kind: int  # FREE_BLOCK, LIVE_BLOCK or UNMAPPED
    requested: int = 0  # of a live block
    handle: int = -1  # of a live block
    number: int = 0  # age rank among all pieces (1: oldest), 0: in the order of the list


class Seed(NamedTuple):
    """Describe a segment. Its pieces are in address order and cover it without a gap. Sizes are in bytes."""

    start: int  # address
    extent: int
    stream: int  # number of the stream in the trace
    large: bool  # whether it belongs to the large pool
    expandable: bool
    pieces: list[Piece]


def seed(state, seeds, given, private=None):
    """Return the state with the segments ``seeds`` added, which are listed from the oldest to the newest.

    ``given``: a pair (start, bytes; 0 bytes: any) for each segment that the device will give later, in order. ``private``:
    number of a stream of a private pool -> its bits PRIVATE and UNSPLIT. The arrays of ``state`` may be written to.
    """
    private = private or {}
    state = with_room(state, seeds, len(private))._replace(given=np.array(given, np.int64).reshape(-1))
    for one in seeds:
        seed_segment(state, one)
    for stream, bits in private.items():
        state.streams[stream_of(state, stream)].private = bits
    ends = [one.start + one.extent for one in seeds] + [start + extent for start, extent in given]
    state.at[NEXT_ADDRESS] = align_up(max(ends, default=0), UNIT)
    return state


def copied(state):
    """Return a state with copies of all arrays."""
    return state._replace(**{name: array.copy() for name, array in state._asdict().items() if name != "rules"})


def renumber(state, ranks):
    """Give the blocks of a freshly seeded state other age ranks, in place; ``ranks``: address of each block -> rank.

    Only free blocks that have another of the same size in their queue are put into the free sets again: no rank decides about the
    place of the others.
    """
    nodes = np.asarray(state.nodes)[1 : int(state.at[FRESH])]
    free = np.flatnonzero(nodes["state"] == FREE)
    _, kind, counts = np.unique(nodes[["queue", "extent"]][free], return_inverse=True, return_counts=True)
    moved = (free[counts[kind.reshape(-1)] > 1] + 1).tolist()
    for x in moved:
        remove_free(state, x)
    nodes["number"] = [ranks[address] for address in nodes["addr"].tolist()]
    for x in moved:
        insert_free(state, x)


def with_room(state, seeds, private=0):
    """Return the state with arrays large enough for ``seeds``, and for about as much again.

    ``private``: the number of streams of private pools, which are counted on top of those of the seeds.
    """
    nodes = 4 * sum(len(one.pieces) for one in seeds) + state.nodes.size
    words = state.uses.size // state.nodes.size
    state = state._replace(nodes=extended_copy(state.nodes, nodes), uses=extended_copy(state.uses, nodes * words))
    state = state._replace(segments=extended_copy(state.segments, 2 * len(seeds) + state.segments.size))
    streams = state.streams.size
    while streams < len({one.stream for one in seeds}) + private + 2:
        streams *= 2
    return more_streams(state, streams) if streams > state.streams.size else state


def seed_segment(state, one):
    """Add the segment ``one`` (a Seed) with its blocks to the state, in place, and count it in the ledger and statistics."""
    segments, at = state.segments, state.at
    queue = 2 * int(stream_of(state, one.stream)) + int(one.large)
    s = int(at[SEGMENT_FRESH])
    at[SEGMENT_FRESH] += 1
    at[SEGMENTS] += 1
    at[SMALLEST + one.large] = min(at[SMALLEST + one.large], one.extent)
    segments[s].start, segments[s].extent, segments[s].queue = one.start, one.extent, queue
    at[SEGMENTS_MADE] += 1
    segments[s].number = at[SEGMENTS_MADE]
    link_segment(state, s, predecessor_for(state, one.extent, np.int64(one.start)))
    before = 0
    for piece in one.pieces:
        x = new_node(state, piece.address, piece.extent, queue, s)
        state.nodes[x].prev = state.nodes[x].next = 0
        if piece.number:
            state.nodes[x].number = piece.number
        if before:
            link_behind(state.nodes, before, x)
        before = x
    count_segment(state, one, queue & 1)
    x = before
    for piece in reversed(one.pieces):
        init_node(state, x, piece, one.expandable, len(one.pieces) > 1)
        x = int(state.nodes[x].prev)


def count_segment(state, one, pool):
    """Count the mapped bytes of the segment ``one`` (a Seed) as reserved; ``pool``: 0 small, 1 large."""
    mapped = sum(piece.extent for piece in one.pieces if piece.kind != UNMAPPED)
    state.at[DEVICE_USED] += align_up(mapped, UNIT)
    state.ledger[RESERVED] += mapped
    rise(state.stats, RESERVED_BYTES, pool, mapped)
    if not one.expandable:
        rise(state.stats, SEGMENT, pool, 1)
        if one.extent >= state.rules.max_split:
            rise_one(state.stats, OVERSIZE_SEGMENTS, 1)


def init_node(state, x, piece, expandable, split):
    """Make node x the kind of block that ``piece`` says: put it into its set and count it in the ledger and statistics.

    ``expandable``: whether the segment is; ``split``: whether the segment has several pieces.
    """
    nodes, stats = state.nodes, state.stats
    pool = int(nodes[x].queue) & 1
    if piece.kind == UNMAPPED:
        nodes[x].state = HOLE
        add_hole(state, x)
    elif piece.kind == FREE_BLOCK:
        insert_free(state, x)
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
