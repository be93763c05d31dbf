"""Chunks in regions: the part that the arenas of TensorFlow and ONNX Runtime have in common.

    region 0                 region 1                               region 2
    |A  |B|..|C        |     |D            |....................|   |E                    ...

The smallest free chunk that is enough serves a request, the lowest of equals (`size_bins`). It is cut if the rest is at least as
large as the block, or has `rules.waste` bytes; else the block takes all of it. A freed chunk joins its free neighbours at once.
Regions lie one behind another, each at a multiple of 2 MiB, and never join. How large they are is the policy's matter.

State fields: `nodes`, `node_of`, `pool`, `heads`, `words`, `ledger`, `granule` as in `size_bins`; `regions`, an array of REGION;
and `rules.waste`. The chunks of a region are linked by address, and its first chunk stays the first.
"""

import numpy as np

from memtrace.contract.bits import align_up
from memtrace.contract.calls import out_of_line
from memtrace.contract.ledger import (
    ALLOCATED,
    MERGES,
    RESERVE_CALLS,
    RESERVED,
    SPLITS,
    close_hole,
    open_hole,
    resize_hole,
)
from memtrace.structures import size_bins
from memtrace.structures.heap import drop_node, link, new_node, unlink

UNIT = 256  # bytes: requests are rounded up to a multiple
GRANULE = 2 << 20  # bytes: regions start at multiples of it
MOST_WASTE = 128 << 20  # bytes: from so much on a rest is cut off, if nothing else is said
# places in State.pool, behind the two of the nodes: number of regions; bytes and address of the next one
REGIONS, NEXT_BYTES, NEXT_ADDRESS = 2, 3, 4

REGION = np.dtype((np.record, np.dtype([("extent", "i8"), ("first", "i8")], align=True)))


def hand_out(state, x, size, handle):
    """Turn free chunk x into a block of at least ``size`` bytes for this handle; return its address.

    The rest is cut off as a free chunk if it is at least as large as the block, or has `Rules.waste` bytes.
    """
    nodes, ledger = state.nodes, state.ledger
    close_hole(ledger, nodes[x].extent)
    size_bins.remove(state, x)
    nodes[x].free = 0
    rest = nodes[x].extent - size
    if rest >= size or rest >= state.rules.waste:
        cut(state, x, size)
    state.node_of[handle] = x
    ledger[ALLOCATED] += nodes[x].extent
    return nodes[x].addr


def cut(state, x, size):
    """Shorten chunk x to ``size`` bytes; return the free chunk made of the rest, or x if nothing is left."""
    nodes = state.nodes
    rest = nodes[x].extent - size
    if rest == 0:
        return x
    y = new_node(state, nodes[x].addr + size, rest)
    link(nodes, y, x, nodes[x].next)
    nodes[x].extent = size
    nodes[y].free = 1
    size_bins.insert(state, y)
    open_hole(state.ledger, rest)
    state.ledger[SPLITS] += 1
    return y


@out_of_line
def cut_front(state, x, align):
    """Split free chunk x at its first address aligned to ``align``; return the upper chunk, which begins there.

    Both are free chunks. The chunk does not begin at an aligned address.
    """
    nodes = state.nodes
    gap = align_up(nodes[x].addr, align) - nodes[x].addr
    close_hole(state.ledger, nodes[x].extent)
    size_bins.remove(state, x)
    y = cut(state, x, gap)
    size_bins.insert(state, x)
    open_hole(state.ledger, gap)
    return y


def free_chunk(state, handle):
    """Free the block with this handle; its chunk coalesces with its free neighbours."""
    nodes, ledger = state.nodes, state.ledger
    x = np.int64(state.node_of[handle])
    ledger[ALLOCATED] -= nodes[x].extent
    after, before = np.int64(nodes[x].next), np.int64(nodes[x].prev)
    if nodes[after].free == 1:
        swallow(state, x, after)
    if nodes[before].free == 1:
        ledger[MERGES] += 1
        size_bins.remove(state, before)
        grown = nodes[before].extent + nodes[x].extent
        resize_hole(ledger, nodes[before].extent, grown)
        unlink(nodes, x)
        drop_node(state, x)
        nodes[before].extent = grown
        x = before
    else:
        open_hole(ledger, nodes[x].extent)
        nodes[x].free = 1
    size_bins.insert(state, x)


def swallow(state, x, after):
    """Extend chunk x, which is in no bin, by the free chunk ``after``, directly behind it."""
    nodes = state.nodes
    close_hole(state.ledger, nodes[after].extent)
    size_bins.remove(state, after)
    nodes[x].extent += nodes[after].extent
    nodes[after].free = 0
    unlink(nodes, after)
    drop_node(state, after)
    state.ledger[MERGES] += 1


def add_region(state, extent):
    """Add a region of ``extent`` bytes, one free chunk; there must be room for it in ``State.regions``."""
    pool, ledger = state.pool, state.ledger
    x = new_node(state, pool[NEXT_ADDRESS], extent)
    link(state.nodes, x, 0, 0)
    state.nodes[x].free = 1
    size_bins.insert(state, x)
    open_hole(ledger, extent)
    region = state.regions[pool[REGIONS]]
    region.extent = extent
    region.first = x
    pool[REGIONS] += 1
    pool[NEXT_ADDRESS] = align_up(pool[NEXT_ADDRESS] + extent, GRANULE)
    ledger[RESERVED] += extent
    ledger[RESERVE_CALLS] += 1


def drop_region(state, i):
    """Give region i back, in which nothing is live; the last one gets its number."""
    nodes, pool, regions = state.nodes, state.pool, state.regions
    x = regions[i].first
    close_hole(state.ledger, nodes[x].extent)
    size_bins.remove(state, x)
    nodes[x].free = 0
    drop_node(state, x)
    state.ledger[RESERVED] -= regions[i].extent
    last = pool[REGIONS] - 1
    regions[i].extent = regions[last].extent
    regions[i].first = regions[last].first
    pool[REGIONS] = last


def is_unused(state, i):
    """Return whether region i is one free chunk, so that nothing in it is live."""
    x = state.regions[i].first
    return state.nodes[x].free == 1 and state.nodes[x].extent == state.regions[i].extent


@out_of_line
def unused_from(state, first):
    """Return the bytes of the regions from number ``first`` on in which nothing is live."""
    unused = np.int64(0)
    for i in range(first, state.pool[REGIONS]):
        if is_unused(state, i):
            unused += state.regions[i].extent
    return unused
