"""CuPy's memory pool: best fit among the free blocks of the stream; else cudaMalloc of just what is asked.

Requests are rounded up to 512 bytes. Each stream has free blocks of its own, and those of other streams are never used. The
smallest that is enough serves a request, and any rest of it stays free. A freed block goes back to the stream that allocated
it, whatever stream frees it, and joins its free neighbours. If no block is enough, the device gives a segment of the rounded
size.

If the device has no memory, or the pool's limit is reached, all segments that are wholly free are given back, those of all
streams, and it is tried again; if that does not help the request fails. A `trim` event gives them back too, as
free_all_blocks() does.

`ties=lowest`: which of several free blocks of one size is taken. CuPy keeps them in a set, so that depends on the addresses of
Python objects, and the program does not determine it: `lowest` and `highest` address, freed `oldest` or `newest` are choices,
and what differs between them is luck. `limit=0`: bytes, as of set_limit(); 0: none. The capacity is the device's memory.

A request of 0 bytes gets nothing. Addresses are virtual: segments start at multiples of 2 MiB. Not modelled: garbage collection
of Python, which may free blocks when memory is short, a limit that changes, alignments above 512, managed and asynchronous
pools.

Cost: near that of best fit, size classes under a bitmap for each stream; giving back takes a step for each segment.
Source: CuPy 14.2.0, cupy/cuda/memory.pyx (SingleDeviceMemoryPool): by its behaviour, in words of our own, compared with the
library where it had no choice: addresses, refusals and bytes held.
"""

from typing import Any, Literal, NamedTuple

import numpy as np

from memtrace.contract.bits import align_up
from memtrace.contract.calls import out_of_line
from memtrace.contract.ledger import BLOCK_SIZE, HOLE_TAKEN, INSPECTED, RELEASE_CALLS, RESERVED, new_ledger
from memtrace.contract.request import ENLARGE, NOTHING, NOWHERE
from memtrace.structures.bfc_chunks import REGION
from memtrace.structures.caching.state import extended_copy
from memtrace.structures.free_lists import (
    HIGHEST,
    LOWEST,
    NEWEST,
    OLDEST,
    best,
    cut,
    expect,
    expect_soon,
    hand_out,
    lacks_nodes,
    more_nodes,
    new_lists,
    new_nodes,
    new_region,
    release,
    remove,
)
from memtrace.structures.heap import FRESH, drop_node
from memtrace.structures.stream_index import STREAMS, largest_hole, stream_index

__all__ = ["expect", "expect_soon"]

ORDER = 46
GROUPS = ("pools",)
VIRTUAL = True
DEFERRED = True  # segments are given back to make room for one
MAX_ALIGN = 512
COUNTERS = ("segments", "streams", "cached_whole_bytes")

UNIT = 512  # bytes: requests are rounded up to a multiple
UNLIMITED = 1 << 62  # bytes that stand for no limit
FIRST_STREAMS = 64  # streams, and segments, that a new state has room for
TIES = {"lowest": LOWEST, "highest": HIGHEST, "oldest": OLDEST, "newest": NEWEST}
SEGMENTS, WHOLE = 4, 5  # places in State.pool, behind those of free_lists: number of segments; bytes of those wholly free


class State(NamedTuple):
    """Blocks are nodes of free_lists; the list of a stream has the stream's index."""

    nodes: Any  # nodes[x]: a block, live or free
    node_of: Any  # node_of[handle]: the block's node
    owner: Any  # owner[handle]: index of the stream that the block was allocated on
    pool: Any  # FRESH to CLOCK, SEGMENTS, WHOLE
    segments: Any  # segments[i]: bytes and first block of a segment, of dtype REGION
    roots: Any  # of the lists (free_lists)
    words: Any
    counts: Any  # counts[i]: number of free blocks of the stream with index i
    number_of: Any  # number_of[i]: the number of the stream with index i
    seen: Any  # how many streams there are, and the last one
    ledger: Any
    granule: int  # log2 of what sizes are multiples of
    ties: int
    most: int  # bytes that the segments may have together


def init(capacity, max_live, ties: Literal["lowest", "highest", "oldest", "newest"] = "lowest", limit=0):
    if limit < 0:
        raise ValueError(f"limit={limit} is negative")
    roots, words = new_lists(FIRST_STREAMS)
    state = State(
        nodes=new_nodes(max_live),
        node_of=np.zeros(max_live + 1, np.uint32),
        owner=np.zeros(max_live + 1, np.int32),
        pool=np.zeros(6, np.int64),
        segments=np.zeros(FIRST_STREAMS, REGION).view(np.recarray),
        roots=roots,
        words=words,
        counts=np.zeros(FIRST_STREAMS, np.int64),
        number_of=np.zeros(FIRST_STREAMS, np.int64),
        seen=np.zeros(2, np.int64),
        ledger=new_ledger(0),
        granule=9,
        ties=TIES[ties],
        most=min(capacity, limit if limit > 0 else UNLIMITED),
    )
    state.pool[FRESH] = 1
    return state


def lacks_room(state):
    """Return whether an array may be too small for the next request."""
    full = state.pool[SEGMENTS] == state.segments.size or state.seen[STREAMS] == state.number_of.size
    return full or lacks_nodes(state)


def enlarge(state):
    """Return the state with twice the nodes, segments or streams, whichever may be too few."""
    state = more_nodes(state)
    if state.pool[SEGMENTS] == state.segments.size:
        state = state._replace(segments=extended_copy(state.segments, 2 * state.segments.size))
    if state.seen[STREAMS] == state.number_of.size:
        more = state.number_of.size
        state = state._replace(
            roots=extended_copy(state.roots, state.roots.size + more),
            counts=extended_copy(state.counts, 2 * more),
            number_of=extended_copy(state.number_of, 2 * more),
        )
    return state


def alloc(state, request):
    """Place a block in the smallest free block of its stream that is enough, or in a new segment; return its address.

    Return NOTHING for a request of 0 bytes, ENLARGE if an array is too small, NOWHERE if the device has no memory even after all
    segments that are wholly free were given back.
    """
    if request.size == 0:
        return NOTHING
    if lacks_room(state):
        return ENLARGE
    size = align_up(request.size, UNIT)
    own = stream_index(state, request.stream)
    ledger = state.ledger
    ledger[BLOCK_SIZE] = size
    ledger[INSPECTED] = state.counts[own]
    x = best(state, own, size)
    if x != 0:
        ledger[HOLE_TAKEN] = state.nodes[x].extent
        if is_whole(state, x):
            state.pool[WHOLE] -= state.nodes[x].extent
        remove(state, x)
        cut(state, x, size, own)
    else:
        x = segment_for(state, size)
        if x == 0:
            return NOWHERE
    state.owner[request.block] = own
    return hand_out(state, x, request.block)


def is_whole(state, x):
    """Return whether block x is all of its segment."""
    return state.nodes[x].prev == 0 and state.nodes[x].next == 0


@out_of_line
def segment_for(state, size):
    """Return a new segment of ``size`` bytes as a block in no list; 0 if the device has none, even after giving back."""
    if size > state.most - state.ledger[RESERVED]:
        trim(state)
        if size > state.most - state.ledger[RESERVED]:
            return np.int64(0)
    x = new_region(state, size)
    segment = state.segments[state.pool[SEGMENTS]]
    segment.extent = size
    segment.first = x
    state.pool[SEGMENTS] += 1
    return x


def free(state, request, address):
    """Free the block with the handle ``request.block`` to the stream that it was allocated on. ``address`` is not used."""
    x = release(state, request.block, np.int64(state.owner[request.block]))
    if is_whole(state, x):
        state.pool[WHOLE] += state.nodes[x].extent


@out_of_line
def trim(state):
    """Give all segments that are wholly free back to the device."""
    nodes, pool, segments = state.nodes, state.pool, state.segments
    if pool[WHOLE] == 0:
        return
    for i in range(pool[SEGMENTS] - 1, -1, -1):
        x = segments[i].first
        if nodes[x].free == 1 and nodes[x].extent == segments[i].extent:
            remove(state, x)
            drop_node(state, x)
            state.ledger[RESERVED] -= segments[i].extent
            pool[SEGMENTS] -= 1
            segments[i].extent = segments[pool[SEGMENTS]].extent
            segments[i].first = segments[pool[SEGMENTS]].first
    pool[WHOLE] = 0
    state.ledger[RELEASE_CALLS] += 1


def releasable(state):
    """Return the bytes of the segments that are wholly free."""
    return state.pool[WHOLE]


def write_counters(state, row):
    """Write the number of segments, of streams, and the bytes of segments that are wholly free into ``row``."""
    row[0] = state.pool[SEGMENTS]
    row[1] = state.seen[STREAMS]
    row[2] = state.pool[WHOLE]
