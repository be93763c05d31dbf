"""ggml's tensor allocator (llama.cpp): best fit in up to 16 chunks; the last free block of a chunk is only the last resort.

Sizes are rounded up to `align`. A chunk, a buffer of the backend, has `chunk` bytes (max_chunk_size), more if one tensor needs
it; the 16th has no end. What a chunk has to have in the end is its high-water mark: reserved bytes are the sum of the marks.

    chunk 0  |AAAA|...|BB|....|CC|..............  the last free block, behind C, is at the chunk's end
                   ^ free      ^ free            ^ mark

1. Of the free blocks of each chunk but its last one: the smallest that is enough, the highest of equals; of several chunks
   the last chunk that has one, even if another has a smaller one.
2. Else the last free blocks: the one that raises its chunk's mark least; of those that do not raise it the one with the least
   left over below the mark. The first of equals.
3. Else a new chunk. A block is placed at the low end of the free block; a freed block joins both neighbours at once.

`align=32`: bytes, a power of two; that of the backend's buffers, 32 on a CPU, 128 with CUDA. `chunk=0`: bytes; 0: one chunk
without end. Addresses are virtual: chunks start at multiples of 2 MiB, one behind another. The graph allocator frees a tensor
when its last child is computed, and lets some operations write in place: a trace has these frees already.

Not modelled: the limit of 256 free blocks in a chunk, at which ggml aborts. ggml measures first and allocates afterwards, so it
refuses nothing: the capacity, which limits the sum of the marks, is ours. A request of 0 bytes gets nothing.

Cost: near that of best fit, size classes under a bitmap in each chunk; O(log n) with `chunk`, a treap by address.
Source: ggml 0.21.0, src/ggml-alloc.c (dyn_tallocr): by its behaviour, in words of our own, compared with its code.
"""

from typing import Any, NamedTuple

import numpy as np

from memtrace.contract.bits import align_up
from memtrace.contract.calls import out_of_line
from memtrace.contract.ledger import (
    ALLOCATED,
    BLOCK_SIZE,
    HOLE_TAKEN,
    INSPECTED,
    MERGES,
    RESERVE_CALLS,
    RESERVED,
    SPLITS,
    close_hole,
    new_ledger,
    open_hole,
)
from memtrace.contract.request import NOTHING, NOWHERE
from memtrace.structures import free_lists
from memtrace.structures.caching.free_sets import BY_ADDRESS, insert_node, remove_node
from memtrace.structures.free_lists import GRANULE, LOWEST, NEXT_ADDRESS, best, expect, expect_soon, highest_of_size, largest_in
from memtrace.structures.heap import FRESH, drop_node, link, new_node, unlink

__all__ = ["expect", "expect_soon"]

ORDER = 45
GROUPS = ("pools",)
KNOWN_AS = {"llama.cpp": ""}
VIRTUAL = True
MAX_ALIGN = 1
COUNTERS = ("chunks",)

MOST_CHUNKS = 16
ENDLESS = 1 << 61  # bytes of a chunk without end
CHUNKS = 4  # place in State.pool, behind those of free_lists: number of chunks

MARK = np.dtype(
    (
        np.record,
        np.dtype(
            [
                ("addr", "i8"),  # of the free block; the order of the treap
                ("extent", "i8"),  # not in use, nor is number: what a treap in another order compares
                ("number", "i8"),
                ("left", "u4"),  # children in the treap by address; 0: none
                ("right", "u4"),
            ],
            align=True,
        ),
    )
)
CHUNK = np.dtype(
    (
        np.record,
        np.dtype(
            [
                ("start", "i8"),  # its first address
                ("most", "i8"),  # the high-water mark: bytes from the start on
                ("last", "u4"),  # its last free block by address, which is not in its list; 0: it has no free block
                ("root", "u4"),  # of the treap of all its free blocks by address
            ],
            align=True,
        ),
    )
)


class Rules(NamedTuple):
    """The options, in bytes."""

    capacity: int
    align: int
    chunk: int


class State(NamedTuple):
    """Blocks are nodes of free_lists; list k has the free blocks of chunk k but its last one."""

    nodes: Any  # nodes[x]: a block, live or free
    node_of: Any  # node_of[handle]: the block's node
    pool: Any  # FRESH to CLOCK, CHUNKS
    roots: Any  # of the lists (free_lists)
    words: Any
    counts: Any  # counts[k]: number of blocks in list k
    marks: Any  # marks[x]: a MARK of free block x
    chunks: Any  # chunks[k]: a CHUNK
    ledger: Any
    rules: Rules
    granule: int  # log2 of the alignment
    ties: int
    limited: bool  # chunks have an end, so the last free block may be used up


def init(capacity, max_live, align=32, chunk=0):
    if align < 1 or align & (align - 1) or align > 1 << 20:
        raise ValueError(f"align={align} is no power of two up to 1 MiB")
    if not 0 <= chunk <= 1 << 60:
        raise ValueError(f"chunk={chunk} is not from 0 to 1 EiB")
    nodes = free_lists.new_nodes(max_live + MOST_CHUNKS)
    roots, words = free_lists.new_lists(MOST_CHUNKS)
    state = State(
        nodes=nodes,
        node_of=np.zeros(max_live + 1, np.uint32),
        pool=np.zeros(5, np.int64),
        roots=roots,
        words=words,
        counts=np.zeros(MOST_CHUNKS, np.int64),
        marks=np.zeros(nodes.size if chunk > 0 else 1, MARK).view(np.recarray),
        chunks=np.zeros(MOST_CHUNKS, CHUNK).view(np.recarray),
        ledger=new_ledger(0),
        rules=Rules(capacity=capacity, align=align, chunk=chunk if chunk > 0 else ENDLESS),
        granule=int(align).bit_length() - 1,
        ties=LOWEST,
        limited=chunk > 0,
    )
    state.pool[FRESH] = 1
    return state


def alloc(state, request):
    """Place a block in a free block of a chunk, or in a new chunk; return its address.

    Return NOTHING for a request of 0 bytes, NOWHERE if the capacity does not allow the higher mark.
    """
    if request.size == 0:
        return NOTHING
    ledger = state.ledger
    size = align_up(request.size, state.rules.align)
    ledger[BLOCK_SIZE] = size
    for k in range(state.pool[CHUNKS] - 1, -1, -1):
        ledger[INSPECTED] += state.counts[k]
        x = best(state, k, size)
        if x != 0:
            x = highest_of_size(state, k, state.nodes[x].extent)
            ledger[HOLE_TAKEN] = state.nodes[x].extent
            free_lists.remove(state, x)
            return take(state, x, k, size, request.block)
    return take_last(state, size, request.block)


@out_of_line
def take_last(state, size, handle):
    """Place a block in the last free block of a chunk, or in a new chunk; return its address, NOWHERE beyond the capacity."""
    nodes, chunks, ledger = state.nodes, state.chunks, state.ledger
    found, reuse, count = np.int64(-1), np.int64(0), state.pool[CHUNKS]
    for k in range(count):
        x = np.int64(chunks[k].last)
        if x == 0:
            continue
        if counted(state, k, x) > 0:
            ledger[INSPECTED] += 1
        if nodes[x].extent < size:
            continue
        over = below_mark(state, k, x) - size  # what is left over below the mark; below 0: by how much the mark rises
        if found < 0 or (reuse < 0 and over > reuse) or 0 <= over < reuse:
            found, reuse = np.int64(k), over
    if found < 0 and count < MOST_CHUNKS:
        reuse = -size
    rise = max(-reuse, 0)
    if (found < 0 and count == MOST_CHUNKS) or rise > state.rules.capacity - ledger[RESERVED]:
        return np.int64(NOWHERE)
    if found < 0:
        found = new_chunk(state, size)
    x = np.int64(chunks[found].last)
    hole = counted(state, found, x)
    if hole > 0:
        close_hole(ledger, hole)
    chunks[found].last = 0
    if rise == 0:
        ledger[HOLE_TAKEN] = hole
    else:
        chunks[found].most += rise
        ledger[RESERVED] += rise
        ledger[RESERVE_CALLS] += 1
    return take(state, x, found, size, handle)


def below_mark(state, k, x):
    """Return the bytes from the start of free block x up to the mark of chunk k."""
    return state.chunks[k].start + state.chunks[k].most - state.nodes[x].addr


def counted(state, k, x):
    """Return the bytes of free block x, the last of chunk k, that are a hole: those below the mark."""
    return min(state.nodes[x].extent, below_mark(state, k, x))


@out_of_line
def new_chunk(state, size):
    """Add a chunk for a block of ``size`` bytes; return its number. All of it is its last free block, and its mark is 0."""
    pool, chunks = state.pool, state.chunks
    k = pool[CHUNKS]
    extent = max(size, state.rules.chunk) if k < MOST_CHUNKS - 1 else ENDLESS
    x = new_node(state, pool[NEXT_ADDRESS], extent)
    link(state.nodes, x, 0, 0)
    state.nodes[x].free = 1
    chunks[k].start = pool[NEXT_ADDRESS]
    note(state, x, k)
    chunks[k].last = x
    pool[NEXT_ADDRESS] = align_up(pool[NEXT_ADDRESS] + extent, GRANULE)
    pool[CHUNKS] = k + 1
    return k


def take(state, x, k, size, handle):
    """Place a block at the low end of free block x of chunk k, which counts in no list; return its address.

    What is left of it is free again; where it was the last one and nothing is left, the next lower one is the last.
    """
    nodes, ledger = state.nodes, state.ledger
    address, rest = nodes[x].addr, nodes[x].extent - size
    if rest > 0:
        y = new_node(state, address, size)
        link(nodes, y, nodes[x].prev, x)
        nodes[x].addr += size
        nodes[x].extent = rest
        nodes[x].free = 1
        if state.limited:
            state.marks[x].addr = nodes[x].addr  # its place among the free blocks is the same
        add(state, x, k)
        ledger[SPLITS] += 1
    else:
        y = x
        nodes[x].free = 0
        forget(state, x, k)
        if state.chunks[k].last == 0:
            promote(state, k)
    state.node_of[handle] = y
    ledger[ALLOCATED] += size
    return address


def note(state, x, k):
    """Put free block x into the treap by address of chunk k, if chunks have an end."""
    if state.limited:
        state.marks[x].addr = state.nodes[x].addr
        state.chunks[k].root = insert_node(state.marks, np.int64(state.chunks[k].root), x, BY_ADDRESS)


def forget(state, x, k):
    """Take free block x out of the treap by address of chunk k, if chunks have an end."""
    if state.limited:
        state.chunks[k].root = remove_node(state.marks, np.int64(state.chunks[k].root), x, BY_ADDRESS)


@out_of_line
def add(state, x, k):
    """Put free block x of chunk k, which is in the treap by address, into the list, or in the place of the last one."""
    last = np.int64(state.chunks[k].last)
    if last != 0 and state.nodes[x].addr < state.nodes[last].addr:
        free_lists.insert(state, x, k)
        return
    if last != 0:
        hole = counted(state, k, last)
        if hole > 0:
            close_hole(state.ledger, hole)
        free_lists.insert(state, last, k)
    set_last(state, x, k)


def set_last(state, x, k):
    """Make free block x, which is in no list, the last one of chunk k."""
    state.nodes[x].free = 1
    state.nodes[x].list = k
    state.chunks[k].last = x
    hole = counted(state, k, x)
    if hole > 0:
        open_hole(state.ledger, hole)


@out_of_line
def promote(state, k):
    """Make the highest free block of chunk k its last one, if there is any."""
    x = np.int64(state.chunks[k].root)
    while state.marks[x].right != 0:
        x = np.int64(state.marks[x].right)
    if x != 0:
        free_lists.remove(state, x)
        set_last(state, x, k)


@out_of_line
def drop(state, x, k):
    """Take free block x of chunk k out of its list, or out of the last one's place, and out of the treap by address."""
    if state.chunks[k].last == x:
        state.chunks[k].last = 0
        hole = counted(state, k, x)
        if hole > 0:
            close_hole(state.ledger, hole)
    else:
        free_lists.remove(state, x)
    state.nodes[x].free = 0
    forget(state, x, k)


def free(state, request, address):
    """Free the block with the handle ``request.block``; it joins the free blocks on both sides."""
    nodes, ledger = state.nodes, state.ledger
    x = np.int64(state.node_of[request.block])
    ledger[ALLOCATED] -= nodes[x].extent
    k = chunk_of(state, address)
    after, before = np.int64(nodes[x].next), np.int64(nodes[x].prev)
    if nodes[after].free == 1:
        drop(state, after, k)
        nodes[x].extent += nodes[after].extent
        unlink(nodes, after)
        drop_node(state, after)
        ledger[MERGES] += 1
    if nodes[before].free == 1:
        drop(state, before, k)
        nodes[before].extent += nodes[x].extent
        unlink(nodes, x)
        drop_node(state, x)
        ledger[MERGES] += 1
        x = before
    note(state, x, k)
    add(state, x, k)


def chunk_of(state, address):
    """Return the number of the chunk that ``address`` is in."""
    k = state.pool[CHUNKS] - 1
    while state.chunks[k].start > address:
        k -= 1
    return k


@out_of_line
def largest_hole(state):
    """Return the bytes of the largest hole; 0 if there is none."""
    most = np.int64(0)
    for k in range(state.pool[CHUNKS]):
        most = max(most, largest_in(state, k))
        if state.chunks[k].last != 0:
            most = max(most, counted(state, k, np.int64(state.chunks[k].last)))
    return most


def write_counters(state, row):
    """Write the number of chunks into ``row``."""
    row[0] = state.pool[CHUNKS]
