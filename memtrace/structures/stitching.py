"""Physical blocks that are mapped one behind the other: what GMLake calls pBlocks, and sBlocks stitched of them.

Physical blocks tile the memory that was got, in the order of their addresses; they are cut, and never joined. A stitched
block is a list of pieces, and a piece is a range of physical memory: from the first byte of a physical block to the last
byte of the same or a later one, as a physical block may be cut after it was stitched. Physical blocks that nothing is mapped to
are idle, and lie in bins by size. Stitched blocks that no request has are remembered, the one used last first, in chains by size.
"""

from typing import Any, NamedTuple

import numpy as np

from memtrace.structures import size_bins
from memtrace.structures.bits import highest_set
from memtrace.structures.calls import apart
from memtrace.structures.heap import link, new_node, reserve
from memtrace.structures.ledger import RESERVED, SPLITS, close_hole, open_hole, resize_hole

PAGE = 2 << 20

# places in State.pool; the first two are those of the nodes
NODES, PIECE_FRESH, PIECE_SPARE, PIECES, STITCH_FRESH, STITCH_SPARE, STITCHES = range(2, 9)
IDLE_BYTES, IDLE_BLOCKS, KEPT, OLDEST, NEWEST = range(9, 14)
EXACT, SINGLE, STITCHED, GROWN = range(14, 18)  # requests by what served them
PLACES = 18
CHAINS = 1 << 10

# As size_bins.NODE, and the physical block in which a small block lies.
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
PIECE = np.dtype((np.record, np.dtype([("end", "i8"), ("node", "u4"), ("next", "i4")], align=True)))
STITCH = np.dtype(
    (
        np.record,
        np.dtype(
            [
                ("extent", "i8"),
                ("first", "i4"),  # its pieces
                ("up", "u4"),  # in the chain of its size
                ("down", "u4"),
                ("older", "u4"),
                ("newer", "u4"),
            ],
            align=True,
        ),
    )
)


class Bins(NamedTuple):
    """Free nodes by size, as size_bins has them."""

    nodes: Any
    heads: Any
    words: Any
    granule: int


def new_bins(nodes, granule):
    return Bins(nodes, np.zeros(size_bins.BINS, np.uint32), np.zeros(size_bins.LEVEL_3 + 1, np.int64), granule)


def lacks_nodes(state):
    return state.pool[NODES] + 8 > state.nodes.size


def lacks_pieces(state):
    """A stitched block may take every idle physical block in."""
    return state.pool[PIECES] + state.pool[IDLE_BLOCKS] + 8 > state.pieces.size


def lacks_stitches(state):
    return state.pool[STITCHES] + 8 > state.stitches.size


def note_idle(state, bytes, blocks):
    """Idle memory comes or goes. Any of it can be stitched, so all of it is one hole."""
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


def take(state, x):
    """An idle physical block is idle no more."""
    size_bins.remove(state.idle, x)
    state.nodes[x].free = 0
    note_idle(state, -state.nodes[x].extent, -1)


def give(state, x):
    """A physical block is idle."""
    state.nodes[x].free = 1
    size_bins.insert(state.idle, x)
    note_idle(state, state.nodes[x].extent, 1)


def counted_node(state, address, extent):
    state.pool[NODES] += 1
    return new_node(state, address, extent)


def new_memory(state, size):
    """A physical block from the device, which has the bytes."""
    x = counted_node(state, state.ledger[RESERVED], size)
    link(state.nodes, x, state.nodes[0].prev, 0)
    reserve(state, size)
    return x


@apart
def cut(state, x, size):
    """A physical block that is not idle keeps ``size`` bytes; the rest becomes an idle one."""
    nodes = state.nodes
    y = counted_node(state, nodes[x].addr + size, nodes[x].extent - size)
    link(nodes, y, x, nodes[x].next)
    nodes[x].extent = size
    give(state, y)
    state.ledger[SPLITS] += 1


@apart
def largest(state):
    """The largest idle physical block, the lowest of equals; there is one."""
    words = state.idle.words
    k = highest_set(words[size_bins.LEVEL_3])
    j = (k << 6) + highest_set(words[size_bins.LEVEL_2 + k])
    i = (j << 6) + highest_set(words[size_bins.LEVEL_1 + j])
    return np.int64(state.idle.heads[(i << 6) + highest_set(words[i])])


def new_piece(state, x, after):
    """A piece that is physical block x; ``after`` is the piece behind which it is mapped, -1 for none."""
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
    """A stitched block, which is in no chain."""
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
    return (extent // PAGE) & (CHAINS - 1)


@apart
def remember(state, s):
    """A stitched block that no request has is kept, and the one that was used least recently forgotten if there are too many."""
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
    pool[KEPT] += 1
    if pool[KEPT] > state.rules.stitched:
        forget(state, pool[OLDEST])


def recall(state, s):
    """Take a stitched block out of its chain, and out of the order of use."""
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
    pool[KEPT] -= 1


def forget(state, s):
    recall(state, s)
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


@apart
def known_stitch(state, extent):
    """A remembered stitched block of this size all of whose memory is idle, the one used last; 0 if there is none."""
    s = np.int64(state.chains[chain_of(extent)])
    while s != 0:
        if state.stitches[s].extent == extent and is_idle(state, s):
            return s
        s = np.int64(state.stitches[s].down)
    return s


def is_idle(state, s):
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


@apart
def set_idle(state, s, idle):
    """All physical blocks of a stitched block become idle, or are taken."""
    nodes, pieces = state.nodes, state.pieces
    piece = np.int64(state.stitches[s].first)
    while piece >= 0:
        x = np.int64(pieces[piece].node)
        while x != 0 and nodes[x].addr < pieces[piece].end:
            if idle:
                give(state, x)
            else:
                take(state, x)
            x = np.int64(nodes[x].next)
        piece = np.int64(pieces[piece].next)
