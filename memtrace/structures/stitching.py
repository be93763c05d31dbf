"""Physical blocks, and stitched blocks that map several of them one behind another: GMLake's pBlocks and sBlocks.

Physical blocks tile the memory that was reserved from the device, in order of address; they are split, and never coalesced. A
stitched block is a list of pieces. A piece is a range of physical memory, from the first byte of a physical block to the last
byte of the same or a later physical block, because a physical block may be split after it was stitched. Physical blocks that no
request uses are idle, and are in bins by size. Stitched blocks that no request uses are remembered, in chains by size, with the
one used last first.
"""

from typing import Any, NamedTuple

import numpy as np

from memtrace.contract.calls import out_of_line
from memtrace.contract.ledger import RESERVED, SPLITS, close_hole, open_hole, resize_hole
from memtrace.structures import size_bins
from memtrace.structures.heap import link, new_node, reserve

PAGE = 2 << 20  # bytes; the sizes of physical blocks are multiples of it

# Entries of State.pool; the first two are heap.FRESH and heap.SPARE, for the nodes. Of nodes, pieces and stitched blocks:
# FRESH is the first record never used, and SPARE the head of the list of spare records (if it is empty, -1 for pieces, else 0).
# NODES, PIECES and STITCHES are the numbers of records in use.
NODES, PIECE_FRESH, PIECE_SPARE, PIECES, STITCH_FRESH, STITCH_SPARE, STITCHES = range(2, 9)
# Bytes and number of idle physical blocks; number of remembered stitched blocks, and which were used least and most recently.
IDLE_BYTES, IDLE_BLOCKS, REMEMBERED, OLDEST, NEWEST = range(9, 14)
EXACT_REQUESTS, SINGLE, STITCHED, GROWN = range(14, 18)  # number of requests so far, by what served them
POOL_LENGTH = 18  # entries of State.pool
CHAINS = 1 << 10  # number of chains

# As size_bins.NODE, and owner: the physical block in which a small block lies; 0 for a physical block.
NODE = np.dtype(
    (
        np.record,
        np.dtype(
            [
                ("addr", "i8"),
                ("extent", "i8"),
                *((name, "u4") for name in ("prev", "next", "free", "child", "side", "back", "owner")),
            ],
            align=True,
        ),
    )
)
# end: address behind its last byte. node: its first physical block. next: the next piece, or the next spare piece; -1: none.
PIECE = np.dtype((np.record, np.dtype([("end", "i8"), ("node", "u4"), ("next", "i4")], align=True)))
STITCH = np.dtype(
    (
        np.record,
        np.dtype(
            [
                ("extent", "i8"),  # bytes
                ("first", "i4"),  # first piece
                ("up", "u4"),  # previous and next stitched block in the chain of its size; 0: none
                ("down", "u4"),
                ("older", "u4"),  # remembered stitched blocks used just before and just after this block; 0: none
                ("newer", "u4"),
            ],
            align=True,
        ),
    )
)


class Bins(NamedTuple):
    """Bins of free nodes by size, with the fields that the functions of ``size_bins`` read."""

    nodes: Any  # this and the other fields: see size_bins.State
    heads: Any
    words: Any
    granule: int


def new_bins(nodes, granule):
    """Return empty bins for ``nodes`` whose sizes are multiples of 2^granule bytes."""
    return Bins(nodes, np.zeros(size_bins.BINS, np.uint32), np.zeros(size_bins.LEVEL_2 + 1, np.int64), granule)


def lacks_nodes(state):
    """Return whether there may be too few nodes left for a request."""
    return state.pool[NODES] + 8 > state.nodes.size


def lacks_pieces(state):
    """Return whether there may be too few pieces left for a request: a stitched block may take every idle physical block."""
    return state.pool[PIECES] + state.pool[IDLE_BLOCKS] + 8 > state.pieces.size


def lacks_stitches(state):
    """Return whether there may be too few records of stitched blocks left for a request."""
    return state.pool[STITCHES] + 8 > state.stitches.size


def note_idle(state, bytes, blocks):
    """Add ``bytes`` and ``blocks``, which may be negative, to the idle memory.

    Any part of the idle memory can be stitched, so all of it counts as one hole.
    """
    pool = state.pool
    before = pool[IDLE_BYTES]
    now = before + bytes
    pool[IDLE_BYTES] = now
    pool[IDLE_BLOCKS] += blocks
    if before == 0 and now > 0:
        open_hole(state.ledger, now)
    elif before > 0 and now == 0:
        close_hole(state.ledger, before)
    elif before != now:
        resize_hole(state.ledger, before, now)


def take_idle(state, x):
    """Remove the idle physical block x from the bins, for use by a request."""
    size_bins.remove(state.idle, x)
    state.nodes[x].free = 0
    note_idle(state, -state.nodes[x].extent, -1)


def make_idle(state, x):
    """Make physical block x idle, and put it into the bins."""
    state.nodes[x].free = 1
    size_bins.insert(state.idle, x)
    note_idle(state, state.nodes[x].extent, 1)


def counted_node(state, address, extent):
    """Return a node for a block of ``extent`` bytes at ``address``, and count it in NODES."""
    state.pool[NODES] += 1
    return new_node(state, address, extent)


def new_memory(state, size):
    """Reserve a new physical block of ``size`` bytes from the device and return it; the device must have the bytes."""
    x = counted_node(state, state.ledger[RESERVED], size)
    link(state.nodes, x, state.nodes[0].prev, 0)
    reserve(state, size)
    return x


@out_of_line
def split_physical(state, x, size):
    """Split physical block x, which is not idle: it keeps ``size`` bytes, and the rest becomes an idle physical block."""
    nodes = state.nodes
    y = counted_node(state, nodes[x].addr + size, nodes[x].extent - size)
    link(nodes, y, x, nodes[x].next)
    nodes[x].extent = size
    make_idle(state, y)
    state.ledger[SPLITS] += 1


@out_of_line
def largest(state):
    """Return the largest idle physical block, the lowest of equal ones; there must be one."""
    idle = state.idle
    b = size_bins.last_bin(idle.words)
    found = x = np.int64(idle.heads[b])
    while b >= size_bins.EXACT and x != 0:  # the bin has several sizes
        larger = idle.nodes[x].extent - idle.nodes[found].extent
        if larger > 0 or (larger == 0 and idle.nodes[x].addr < idle.nodes[found].addr):
            found = x
        x = size_bins.following(idle.nodes, x)
    return found


def new_piece(state, x, after):
    """Return a new piece that covers physical block x, appended to the piece ``after`` (-1: it is the first piece)."""
    pool, pieces = state.pool, state.pieces
    piece = pool[PIECE_SPARE]
    if piece >= 0:
        pool[PIECE_SPARE] = pieces[piece].next
    else:
        piece = pool[PIECE_FRESH]
        pool[PIECE_FRESH] = piece + 1
    pool[PIECES] += 1
    pieces[piece].node = x
    pieces[piece].end = state.nodes[x].addr + state.nodes[x].extent
    pieces[piece].next = -1
    if after >= 0:
        pieces[after].next = piece
    return piece


def new_stitch(state, first, extent):
    """Return a new stitched block of ``extent`` bytes whose first piece is ``first``; it is not in a chain."""
    pool, stitches = state.pool, state.stitches
    s = pool[STITCH_SPARE]
    if s != 0:
        pool[STITCH_SPARE] = stitches[s].down
    else:
        s = pool[STITCH_FRESH]
        pool[STITCH_FRESH] = s + 1
    pool[STITCHES] += 1
    stitches[s].first = first
    stitches[s].extent = extent
    return s


def chain_of(extent):
    """Return the chain of stitched blocks of ``extent`` bytes; sizes that differ by CHAINS pages share a chain."""
    return (extent // PAGE) & (CHAINS - 1)


@out_of_line
def remember(state, s):
    """Keep stitched block s, which no request uses any more, for later requests; it becomes the one used last.

    If more than ``rules.stitched`` are kept, the one used least recently is forgotten.
    """
    pool, stitches, chains = state.pool, state.stitches, state.chains
    chain = chain_of(stitches[s].extent)
    head = np.int64(chains[chain])
    stitches[s].up = 0
    stitches[s].down = head
    stitches[head].up = s
    chains[chain] = s
    stitches[s].older = pool[NEWEST]
    stitches[s].newer = 0
    stitches[pool[NEWEST]].newer = s
    pool[NEWEST] = s
    if pool[OLDEST] == 0:
        pool[OLDEST] = s
    pool[REMEMBERED] += 1
    if pool[REMEMBERED] > state.rules.stitched:
        forget(state, pool[OLDEST])


def unlink_remembered(state, s):
    """Remove the remembered stitched block s from its chain and from the order of use."""
    pool, stitches = state.pool, state.stitches
    up, down = np.int64(stitches[s].up), np.int64(stitches[s].down)
    if up == 0:
        state.chains[chain_of(stitches[s].extent)] = down
    else:
        stitches[up].down = down
    if down != 0:
        stitches[down].up = up
    older, newer = np.int64(stitches[s].older), np.int64(stitches[s].newer)
    if older == 0:
        pool[OLDEST] = newer
    else:
        stitches[older].newer = newer
    if newer == 0:
        pool[NEWEST] = older
    else:
        stitches[newer].older = older
    pool[REMEMBERED] -= 1


def forget(state, s):
    """Remove the remembered stitched block s, and make its record and its pieces spare. Its physical blocks do not change."""
    unlink_remembered(state, s)
    pool, pieces = state.pool, state.pieces
    piece = np.int64(state.stitches[s].first)
    while piece >= 0:
        after = np.int64(pieces[piece].next)
        pieces[piece].next = pool[PIECE_SPARE]
        pool[PIECE_SPARE] = piece
        pool[PIECES] -= 1
        piece = after
    state.stitches[s].down = pool[STITCH_SPARE]
    pool[STITCH_SPARE] = s
    pool[STITCHES] -= 1


@out_of_line
def find_idle_stitch(state, extent):
    """Return the remembered stitched block of ``extent`` bytes that was used last, of those whose memory is all idle; 0: none."""
    s = np.int64(state.chains[chain_of(extent)])
    while s != 0:
        if state.stitches[s].extent == extent and is_idle(state, s):
            return s
        s = np.int64(state.stitches[s].down)
    return s


def is_idle(state, s):
    """Return whether all physical blocks of stitched block s are idle."""
    nodes, pieces = state.nodes, state.pieces
    piece = np.int64(state.stitches[s].first)
    while piece >= 0:
        x = np.int64(pieces[piece].node)
        while x != 0 and nodes[x].addr < pieces[piece].end:
            if nodes[x].free == 0:
                return False
            x = np.int64(nodes[x].next)
        piece = np.int64(pieces[piece].next)
    return True


@out_of_line
def set_idle(state, s, idle):
    """Make all physical blocks of stitched block s idle (``idle`` is True), or take them for use by a request."""
    nodes, pieces = state.nodes, state.pieces
    piece = np.int64(state.stitches[s].first)
    while piece >= 0:
        x = np.int64(pieces[piece].node)
        while x != 0 and nodes[x].addr < pieces[piece].end:
            if idle:
                make_idle(state, x)
            else:
                take_idle(state, x)
            x = np.int64(nodes[x].next)
        piece = np.int64(pieces[piece].next)
