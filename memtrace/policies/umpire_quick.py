"""Umpire's QuickPool: best fit in chunks from the device, which are given back and taken anew as one when all of them are free.

Requests are rounded up to `align`. The smallest free block that is enough serves one; of equals the one that became free first.
Any rest of it stays free; a freed block joins both neighbours in its chunk. If no block is enough, the device gives a chunk of
`first` bytes if the pool has none, else of `next` bytes, or of the request if that is larger, and `align` bytes more, which are
lost. If the device has no memory, all chunks that are wholly free are given back, and it is tried once more.

After each free the pool coalesces: if all chunks are wholly free, and there are two free blocks or more, they are given back,
and one chunk is taken for as many bytes as blocks ever had at once (`coalesce=hwm`, percent_releasable_hwm(100)) or as the
chunks had (`actual`, percent_releasable(100)), but `first` bytes at least; `never` turns it off. With `blocks=N`, from 2 on, it
does so as soon as N chunks are wholly free (blocks_releasable_hwm, blocks_releasable), and only those are given back.

Options, with Umpire's defaults: `first=512MiB`, `next=1MiB`, `align=16`, `coalesce=hwm`, `blocks=0`. A `trim` event is
release(). The capacity is the device's memory. A request of 0 bytes gets nothing. Addresses are virtual: chunks start at
multiples of 2 MiB. Streams share everything.

Not modelled: heuristics of other percentages, in which QuickPool may coalesce without end, alignments of requests.

Cost: near that of best fit, size classes under a bitmap; giving back takes a step for each chunk.
Source: Umpire 2024.07.0 and later (5bf5bc18), src/umpire/strategy/QuickPool.cpp: by its behaviour, in words of our own, compared
with its code: addresses, refusals and bytes held.
"""

from typing import Any, Literal, NamedTuple

import numpy as np

from memtrace.contract.bits import align_up
from memtrace.contract.calls import out_of_line
from memtrace.contract.ledger import ALLOCATED, BLOCK_SIZE, HOLE_TAKEN, HOLES, INSPECTED, RELEASE_CALLS, RESERVED, new_ledger
from memtrace.contract.request import ENLARGE, NOTHING, NOWHERE
from memtrace.structures.bfc_chunks import REGION
from memtrace.structures.caching.state import extended_copy
from memtrace.structures.free_lists import (
    OLDEST,
    best,
    cut,
    expect,
    expect_soon,
    hand_out,
    lacks_nodes,
    largest_in,
    more_nodes,
    new_lists,
    new_nodes,
    new_region,
    put,
    remove,
)
from memtrace.structures.heap import FRESH, drop_node

__all__ = ["expect", "expect_soon"]

ORDER = 47
GROUPS = ("pools",)
KNOWN_AS = {"umpire": ""}
VIRTUAL = True
UNUSABLE = True  # what each chunk has more than its blocks
DEFERRED = True  # chunks are given back to make room for one
MAX_ALIGN = 1
COUNTERS = ("chunks", "free_chunks", "coalesced")

FIRST_CHUNKS = 64  # chunks that a new state has room for
LIST = 0  # the one list of free blocks
NEVER, ACTUAL, HIGH_WATER = range(3)  # values of Rules.coalesce
WAYS = {"never": NEVER, "actual": ACTUAL, "hwm": HIGH_WATER}
# places in State.pool, behind those of free_lists: number of chunks; number and bytes of those that are wholly free; bytes of all
# of them without what is lost; most bytes of blocks at once; how often the pool coalesced
CHUNKS, WHOLE, WHOLE_BYTES, ACTUAL_BYTES, HIGHEST, COALESCED = 4, 5, 6, 7, 8, 9


class Rules(NamedTuple):
    """The options, in bytes."""

    capacity: int
    align: int
    first: int
    next: int
    coalesce: int  # NEVER, ACTUAL or HIGH_WATER
    blocks: int  # chunks that have to be wholly free; 0: all


class State(NamedTuple):
    """Blocks are nodes of free_lists, which has one list."""

    nodes: Any  # nodes[x]: a block, live or free
    node_of: Any  # node_of[handle]: the block's node
    pool: Any  # FRESH to CLOCK, CHUNKS to COALESCED
    chunks: Any  # chunks[i]: bytes and first block of a chunk, of dtype REGION
    roots: Any  # of the list (free_lists)
    words: Any
    counts: Any
    ledger: Any
    rules: Rules
    granule: int  # log2 of the alignment
    ties: int


def init(
    capacity,
    max_live,
    first=512 << 20,
    next=1 << 20,
    align=16,
    coalesce: Literal["hwm", "actual", "never"] = "hwm",
    blocks=0,
):
    if align < 1 or align & (align - 1) or align > 1 << 20:
        raise ValueError(f"align={align} is no power of two up to 1 MiB")
    if blocks == 1 or blocks < 0:
        raise ValueError(f"blocks={blocks} is neither 0, for all, nor 2 or more; what QuickPool does with 1 is not modelled")
    for name, value in (("first", first), ("next", next)):
        if not 0 <= value <= 1 << 60:
            raise ValueError(f"{name}={value} is not from 0 to 1 EiB")
    roots, words = new_lists(1)
    state = State(
        nodes=new_nodes(max_live),
        node_of=np.zeros(max_live + 1, np.uint32),
        pool=np.zeros(10, np.int64),
        chunks=np.zeros(FIRST_CHUNKS, REGION).view(np.recarray),
        roots=roots,
        words=words,
        counts=np.zeros(1, np.int64),
        ledger=new_ledger(0),
        rules=Rules(capacity=capacity, align=align, first=first, next=next, coalesce=WAYS[coalesce], blocks=blocks),
        granule=int(align).bit_length() - 1,
        ties=OLDEST,
    )
    state.pool[FRESH] = 1
    return state


def enlarge(state):
    """Return the state with twice the nodes or chunks, whichever may be too few."""
    state = more_nodes(state)
    if state.pool[CHUNKS] + 1 >= state.chunks.size:
        state = state._replace(chunks=extended_copy(state.chunks, 2 * state.chunks.size))
    return state


def alloc(state, request):
    """Place a block in the smallest free block that is enough, the first that became free of equals, or in a new chunk.

    Return its address, NOTHING for a request of 0 bytes, ENLARGE if an array is too small, NOWHERE if the device has no memory
    even after all chunks that are wholly free were given back.
    """
    if request.size == 0:
        return NOTHING
    if lacks_nodes(state) or state.pool[CHUNKS] + 1 >= state.chunks.size:
        return ENLARGE
    size = align_up(request.size, state.rules.align)
    state.ledger[BLOCK_SIZE] = size
    state.ledger[INSPECTED] = state.ledger[HOLES]
    x = block_of(state, size)
    if x == 0:
        return NOWHERE
    address = hand_out(state, x, request.block)
    state.pool[HIGHEST] = max(state.pool[HIGHEST], state.ledger[ALLOCATED])
    return address


def block_of(state, size):
    """Return a block of ``size`` bytes in no list, from a free one or from a new chunk; 0 if the device has no memory."""
    x = best(state, LIST, size)
    if x != 0:
        state.ledger[HOLE_TAKEN] = state.nodes[x].extent
        if is_whole(state, x):
            state.pool[WHOLE] -= 1
            state.pool[WHOLE_BYTES] -= state.nodes[x].extent
        remove(state, x)
    else:
        x = new_chunk(state, size)
        if x == 0:
            return x
    cut(state, x, size, LIST)
    return x


def is_whole(state, x):
    """Return whether block x is all of its chunk."""
    return state.nodes[x].prev == 0 and state.nodes[x].next == 0


@out_of_line
def new_chunk(state, size):
    """Return a new chunk with room for ``size`` bytes as a block in no list; 0 if the device has no memory."""
    rules, pool = state.rules, state.pool
    extent = max(size, rules.first if pool[ACTUAL_BYTES] == 0 else rules.next)
    if extent + rules.align > rules.capacity - state.ledger[RESERVED]:
        trim(state)
        if extent + rules.align > rules.capacity - state.ledger[RESERVED]:
            return np.int64(0)
    x = new_region(state, extent + rules.align)
    state.nodes[x].extent = extent
    chunk = state.chunks[pool[CHUNKS]]
    chunk.extent = extent
    chunk.first = x
    pool[CHUNKS] += 1
    pool[ACTUAL_BYTES] += extent
    return x


def free(state, request, address):
    """Free the block with the handle ``request.block``; the pool may coalesce then. ``address`` is not used."""
    x = np.int64(state.node_of[request.block])
    state.ledger[ALLOCATED] -= state.nodes[x].extent
    give(state, x)
    if state.rules.coalesce != NEVER and is_due(state):
        coalesce(state)


def give(state, x):
    """Put block x into the list, joined with its free neighbours."""
    x = put(state, x, LIST)
    if is_whole(state, x):
        state.pool[WHOLE] += 1
        state.pool[WHOLE_BYTES] += state.nodes[x].extent


def is_due(state):
    """Return whether so many chunks are wholly free that the pool coalesces, and there are two free blocks or more."""
    pool, blocks = state.pool, state.rules.blocks
    enough = pool[WHOLE] >= blocks if blocks > 0 else pool[WHOLE_BYTES] == pool[ACTUAL_BYTES]
    return enough and state.counts[LIST] > 1


@out_of_line
def coalesce(state):
    """Give the chunks that are wholly free back, and take one for them, as long as that is due.

    The chunk is taken as a request of what is missing, which is freed at once, so a free block that is enough serves it.
    """
    pool, due = state.pool, True
    while due:
        wanted = pool[HIGHEST] if state.rules.coalesce == HIGH_WATER else pool[ACTUAL_BYTES]
        trim(state)
        due = False
        missing = align_up(wanted - pool[ACTUAL_BYTES], state.rules.align)
        if wanted > pool[ACTUAL_BYTES]:
            taken = state.ledger[HOLE_TAKEN]
            x = block_of(state, missing)
            state.ledger[HOLE_TAKEN] = taken
            if x != 0:
                pool[HIGHEST] = max(pool[HIGHEST], state.ledger[ALLOCATED] + missing)
                give(state, x)
                pool[COALESCED] += 1
                due = is_due(state)


@out_of_line
def trim(state):
    """Give all chunks that are wholly free back to the device."""
    nodes, pool, chunks = state.nodes, state.pool, state.chunks
    if pool[WHOLE] == 0:
        return
    for i in range(pool[CHUNKS] - 1, -1, -1):
        x = chunks[i].first
        if nodes[x].free == 1 and nodes[x].extent == chunks[i].extent:
            remove(state, x)
            drop_node(state, x)
            state.ledger[RESERVED] -= chunks[i].extent + state.rules.align
            pool[ACTUAL_BYTES] -= chunks[i].extent
            pool[CHUNKS] -= 1
            chunks[i].extent = chunks[pool[CHUNKS]].extent
            chunks[i].first = chunks[pool[CHUNKS]].first
    pool[WHOLE] = 0
    pool[WHOLE_BYTES] = 0
    state.ledger[RELEASE_CALLS] += 1


def releasable(state):
    """Return the bytes of the chunks that are wholly free."""
    return state.pool[WHOLE_BYTES]


def largest_hole(state):
    """Return the bytes of the largest free block; 0 if there is none."""
    return largest_in(state, LIST)


def write_counters(state, row):
    """Write the number of chunks, of those wholly free, and how often the pool coalesced into ``row``."""
    row[0] = state.pool[CHUNKS]
    row[1] = state.pool[WHOLE]
    row[2] = state.pool[COALESCED]
