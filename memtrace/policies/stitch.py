"""Stitch, as GMLake: free memory that lies in pieces is mapped behind one another, so that it serves one large request.

A request of 2 MiB or more is rounded up to whole pages of 2 MiB and served, by the first of these that can:

    exact     an idle physical block of this very size, or a stitched block of this size, all of it idle, from before
    single    the smallest larger idle physical block (the lowest of equals), cut; its rest is idle, and the whole that it
              was is remembered as a stitched block
    stitched  idle physical blocks, the largest first, until there is enough; the last one is cut; a new stitched block
    grown     all idle physical blocks, and a new one from the device for the bytes that lack

        physical  | A |//////| B |////| C |//|            a request of all `/` is mapped to the three of them
                      \\_____________/_______/
        virtual       |//////|////|//|

Physical blocks are cut, never joined, and never given back (`trim` does nothing). When a block is freed its physical
blocks are idle, and what was stitched is remembered: a program that repeats itself is soon served by exact ones alone.
`stitched=1024`: so many stitched blocks without a request are remembered; the one used least recently is forgotten first.
Requests below 2 MiB are rounded up to 512 bytes and cut from physical blocks of 2 MiB by best fit; neighbours join, and
a page that is all free is idle again. One with an alignment above 512 gets pages of its own.

All idle memory can serve one request, so it counts as one hole; free ranges inside small pages are holes of their own.
Addresses are physical, the first piece's; what a program sees is contiguous by its mapping, and as aligned as it asks.

Choices where the paper leaves room: which of equal blocks, an idle physical block before a stitched one, what small requests
do, how many stitched blocks are kept. Not modelled: the limit below which blocks are not stitched (128 MiB in the paper, to
save calls; here 2 MiB), streams, the time that mapping takes, the address space that it uses.

Cost: a step for each physical block that a request is mapped to, and for each remembered block of its size that is busy.
Source: Guo et al. 2024, "GMLake: Efficient and Transparent GPU Memory Defragmentation for Large-scale DNN Training with
Virtual Memory Stitching", ASPLOS 2024, section 3. Written from memory of the paper, and not compared with its code.
"""

from typing import Any, NamedTuple

import numpy as np

from memtrace.contract.bits import align_up
from memtrace.contract.calls import out_of_line
from memtrace.contract.ledger import ALLOCATED, BLOCK_SIZE, HOLES, INSPECTED, RESERVED, new_ledger
from memtrace.contract.request import ENLARGE, NOTHING, NOWHERE
from memtrace.structures import size_bins, stitching
from memtrace.structures.caching.state import extended_copy
from memtrace.structures.heap import FRESH
from memtrace.structures.size_bins import best
from memtrace.structures.small_pages import alloc_small, free_small
from memtrace.structures.stitching import (
    EXACT_REQUESTS,
    GROWN,
    IDLE_BLOCKS,
    IDLE_BYTES,
    NODES,
    PAGE,
    PIECE_SPARE,
    REMEMBERED,
    SINGLE,
    STITCH_FRESH,
    STITCHED,
    find_idle_stitch,
    lacks_nodes,
    lacks_pieces,
    lacks_stitches,
    largest,
    make_idle,
    new_memory,
    new_piece,
    new_stitch,
    remember,
    set_idle,
    split_physical,
    take_idle,
    unlink_remembered,
)

ORDER = 44
GROUPS = ("gpu",)
COUNTERS = ("exact", "single", "stitched", "grown", "idle_blocks", "remembered")
UNIT = 512  # bytes: requests below a page are rounded up to a multiple
FIRST = 1 << 10  # nodes, pieces and stitched blocks for which there is room at first


class Rules(NamedTuple):
    """The limits of the policy."""

    capacity: int  # bytes
    stitched: int  # the most stitched blocks without a request that are remembered


class State(NamedTuple):
    """Physical blocks and small blocks are nodes, linked by address: the physical ones, and the small ones of each page."""

    nodes: Any  # nodes[x]: a physical or small block (stitching.NODE)
    node_of: Any  # node_of[handle]: the physical or small block, for a block that is not stitched
    stitch_of: Any  # stitch_of[handle]: the stitched block; 0: the block is not stitched
    pieces: Any  # pieces[i]: a physical range of a stitched block, linked in its order (stitching.PIECE)
    stitches: Any  # stitches[s]: a stitched block, live or remembered (stitching.STITCH)
    chains: Any  # chains[hash of the size]: the remembered stitched block used last; 0 if there is none
    idle: Any  # the idle physical blocks by size (stitching.Bins)
    small: Any  # the free small blocks by size (stitching.Bins)
    pool: Any  # counts and heads of lists, at the places that stitching names
    ledger: Any
    rules: Rules


def init(capacity, max_live, stitched=1024):
    if stitched < 1:
        raise ValueError("stitched is 1 at least")
    nodes = np.zeros(FIRST, stitching.NODE).view(np.recarray)
    pool = np.zeros(stitching.POOL_LENGTH, np.int64)
    pool[FRESH] = pool[NODES] = pool[STITCH_FRESH] = 1
    pool[PIECE_SPARE] = -1
    return State(
        nodes,
        np.zeros(max_live + 1, np.uint32),
        np.zeros(max_live + 1, np.uint32),
        np.zeros(FIRST, stitching.PIECE).view(np.recarray),
        np.zeros(FIRST, stitching.STITCH).view(np.recarray),
        np.zeros(stitching.CHAINS, np.uint32),
        stitching.new_bins(nodes, 21),
        stitching.new_bins(nodes, 9),
        pool,
        new_ledger(0),
        Rules(capacity, stitched),
    )


def enlarge(state):
    """Return a state in which each array that has too little room is larger, by doubling."""
    if lacks_nodes(state):
        nodes = extended_copy(state.nodes, 2 * state.nodes.size)
        state = state._replace(nodes=nodes, idle=state.idle._replace(nodes=nodes), small=state.small._replace(nodes=nodes))
    while lacks_pieces(state):
        state = state._replace(pieces=extended_copy(state.pieces, 2 * state.pieces.size))
    if lacks_stitches(state):
        state = state._replace(stitches=extended_copy(state.stitches, 2 * state.stitches.size))
    return state


def alloc(state, request):
    """Serve a request with idle physical blocks, stitched if need be, or with a small block; return the first byte's address.

    Return NOTHING for a request of 0 bytes, ENLARGE if an array is too small, NOWHERE if the capacity does not allow it.
    """
    if request.size == 0:
        return NOTHING
    if lacks_nodes(state) or lacks_pieces(state) or lacks_stitches(state):
        return ENLARGE
    state.ledger[INSPECTED] = state.ledger[HOLES]
    state.stitch_of[request.block] = 0
    if request.size < PAGE and request.align <= UNIT:
        return alloc_small(state, align_up(request.size, UNIT), request.block)
    size = align_up(request.size, PAGE)
    state.ledger[BLOCK_SIZE] = size
    x = np.int64(best(state.idle, size, 1))
    if x != 0:
        x = take_or_split(state, x, size, request.block)
    else:
        x = stitch_idle(state, size, request.block)
        if x == 0:
            return NOWHERE
    state.ledger[ALLOCATED] += size
    return state.nodes[x].addr


def take_or_split(state, x, size, handle):
    """Serve a request of ``size`` bytes, for which idle physical block x is large enough; return its first physical block.

    A block of the same size is taken whole. Else a remembered stitched block of this size is used again if all of it is
    idle; else x is cut, and the whole that it was is remembered as a stitched block.
    """
    nodes, pool = state.nodes, state.pool
    if nodes[x].extent > size:
        s = find_idle_stitch(state, size)
        if s != 0:
            return reuse_stitch(state, s, handle)
        pool[SINGLE] += 1
        take_idle(state, x)
        remember(state, new_stitch(state, new_piece(state, x, -1), nodes[x].extent))
        split_physical(state, x, size)
    else:
        pool[EXACT_REQUESTS] += 1
        take_idle(state, x)
    state.node_of[handle] = x
    return x


def reuse_stitch(state, s, handle):
    """Give the idle stitched block s to the block with this handle; return its first physical block."""
    state.pool[EXACT_REQUESTS] += 1
    unlink_remembered(state, s)
    set_idle(state, s, False)
    state.stitch_of[handle] = s
    return np.int64(state.pieces[state.stitches[s].first].node)


@out_of_line
def stitch_idle(state, size, handle):
    """Serve a request for which no idle physical block is large enough; return its first physical block.

    In this order: an idle stitched block of the size; idle physical blocks, the largest first, stitched; all idle ones, and
    new memory for the missing bytes. Return 0 if the capacity does not allow it; nothing changes then.
    """
    pool = state.pool
    s = find_idle_stitch(state, size)
    if s != 0:
        return reuse_stitch(state, s, handle)
    missing = size - pool[IDLE_BYTES]
    if missing > state.rules.capacity - state.ledger[RESERVED]:
        return np.int64(0)
    pool[GROWN if missing > 0 else STITCHED] += 1
    if missing == size:
        x = new_memory(state, size)
        state.node_of[handle] = x
        return x
    first, piece, left = np.int64(-1), np.int64(-1), size - max(missing, 0)
    while left > 0:
        x = largest(state)
        take_idle(state, x)
        if state.nodes[x].extent > left:
            split_physical(state, x, left)
        left -= state.nodes[x].extent
        piece = new_piece(state, x, piece)
        if first < 0:
            first = piece
    if missing > 0:
        new_piece(state, new_memory(state, missing), piece)
    state.stitch_of[handle] = new_stitch(state, first, size)
    return np.int64(state.pieces[first].node)


def free(state, request, address):
    """Free the block with the handle ``request.block``: its physical blocks become idle, and its stitched block is remembered.

    A small block joins its free neighbours in its page. ``address`` is not used.
    """
    nodes, s = state.nodes, np.int64(state.stitch_of[request.block])
    x = np.int64(state.node_of[request.block])
    if s != 0:
        state.ledger[ALLOCATED] -= state.stitches[s].extent
        set_idle(state, s, True)
        remember(state, s)
    elif nodes[x].owner == 0:
        state.ledger[ALLOCATED] -= nodes[x].extent
        make_idle(state, x)
    else:
        free_small(state, x)


@out_of_line
def largest_hole(state):
    """Return the bytes of all idle memory, which is one hole, or of the largest free range of a small page if that is larger."""
    return max(state.pool[IDLE_BYTES], np.int64(size_bins.largest_hole(state.small)))


def releasable(state):
    """Return the bytes of idle physical blocks, which could all go back to the system: each page is memory of its own."""
    return state.pool[IDLE_BYTES]


def first_piece(state, handle):
    """Return the first piece of a block: an index into `State.pieces` if it is stitched, else its node."""
    s = np.int64(state.stitch_of[handle])
    return np.int64(state.stitches[s].first) if s != 0 else np.int64(state.node_of[handle])


def next_piece(state, handle, piece):
    """Return the piece behind ``piece`` in a stitched block; -1 after the last one, and for a block that is not stitched."""
    return np.int64(state.pieces[piece].next) if state.stitch_of[handle] != 0 else np.int64(-1)


def piece_at(state, handle, piece):
    """Return the physical address and the bytes of a piece of the block with this handle."""
    if state.stitch_of[handle] != 0:
        start = state.nodes[state.pieces[piece].node].addr
        return start, state.pieces[piece].end - start
    x = np.int64(state.node_of[handle])
    return state.nodes[x].addr, state.nodes[x].extent


def most_pieces(state):
    """Return an upper bound on the number of pieces of a block."""
    return state.pieces.size


def write_counters(state, row):
    """Write the counters named by COUNTERS into ``row``, in that order."""
    for i in range(4):
        row[i] = state.pool[EXACT_REQUESTS + i]
    row[4] = state.pool[IDLE_BLOCKS]
    row[5] = state.pool[REMEMBERED]
