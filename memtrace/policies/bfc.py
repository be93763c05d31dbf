"""BFC, TensorFlow's and JAX's allocator: best fit with coalescing in regions that double; a chunk twice too large is cut.

Requests are rounded up to 256 bytes. The smallest free chunk that is enough serves one, the lowest of equals. It is cut
if it has twice the bytes that are needed, or 128 MiB more than that; else the block takes all of it. A freed chunk joins
its free neighbours at once. If no chunk is enough, the device is asked for a region: first 2 MiB, then twice as much each
time, doubled further until the request fits, and no more than the capacity leaves. Regions never join each other.
With `garbage_collection` the regions in which nothing is live are given back before a request fails.

    region 0, 2 MiB          region 1, 4 MiB                        region 2, 8 MiB
    |A  |B|..|C        |     |D            |....................|   |E                    ...

Options, by TensorFlow's names: allow_growth (true; false: the first request takes all of the capacity as one region),
garbage_collection (false, as the class has it; TensorFlow turns it on for GPUs: TF_ENABLE_GPU_GARBAGE_COLLECTION),
fragmentation_fraction (0, which stands for 128 MiB; else the share of the capacity that a block may have too much).
A request of 0 bytes gets nothing; an alignment above 256 leaves the bytes before it as a chunk of their own.
Bins (256 bytes, then doubling, 21 of them) only speed the search up: they do not change what is found, so they are not here.
Addresses are virtual: regions lie one after another, each at a multiple of 2 MiB, and what is given back leaves a gap.

Not modelled: the wait of up to 10 seconds for another thread's free (a request fails at once), chunks that wait for a
kernel to end (timestamps), regions that grow into each other (the virtual memory suballocator), a device that has less
than the capacity (regions of nine tenths are tried then), partitioning in two ends. Streams share everything. There is
no call that empties a cache: `trim` does nothing.

Cost: as best fit. Source: tensorflow/core/common_runtime/bfc_allocator.cc, and its successor xla/tsl/framework/bfc_allocator.cc
in openxla/xla, as of 2026: by its behaviour, in words of our own.
"""

from typing import Any, NamedTuple

import numpy as np

from memtrace.contract.bits import align_up
from memtrace.contract.calls import out_of_line
from memtrace.contract.ledger import (
    ALLOCATED,
    BLOCK_SIZE,
    HOLE_TAKEN,
    HOLES,
    INSPECTED,
    MERGES,
    RELEASE_CALLS,
    RESERVE_CALLS,
    RESERVED,
    SPLITS,
    close_hole,
    new_ledger,
    open_hole,
    resize_hole,
)
from memtrace.contract.request import NOTHING, NOWHERE
from memtrace.structures import size_bins
from memtrace.structures.heap import FRESH, drop_node, expect, expect_soon, link, new_node, unlink
from memtrace.structures.size_bins import best, largest_hole

__all__ = ["expect", "expect_soon", "largest_hole"]

ORDER = 42
GROUPS = ("gpu",)
VIRTUAL = True
COUNTERS = ("regions", "next_region_bytes")

UNIT = 256  # bytes: requests are rounded up to a multiple
FIRST_REGION = 2 << 20  # bytes of the first region
GRANULE = 2 << 20  # bytes: regions start at multiples of it
MOST_WASTE = 128 << 20  # bytes: the default of Rules.waste
UNLIMITED = 1 << 62  # capacity in bytes that stands for none
# Upper bound: each region is twice as large as the one before or takes all that is left; before another can take all that is
# left, one has to be given back.
MOST_REGIONS = 64
# places in State.pool, behind the two of the nodes: number of regions; bytes and address of the next one
REGIONS, NEXT_BYTES, NEXT_ADDRESS = 2, 3, 4

REGION = np.dtype((np.record, np.dtype([("extent", "i8"), ("first", "i8")], align=True)))


class Rules(NamedTuple):
    """The options, in bytes."""

    capacity: int
    waste: int  # a rest of a chunk of at least so many bytes is cut off
    collect: bool  # regions in which nothing is live are given back before a request fails


class State(NamedTuple):
    """Chunks are nodes of size_bins; those of a region are linked by address, and its first chunk stays the first."""

    nodes: Any  # nodes[x]: a chunk, live or free
    node_of: Any  # node_of[handle]: the block's chunk
    pool: Any  # first chunk never used, head of the list of spare ones, REGIONS, NEXT_BYTES, NEXT_ADDRESS
    heads: Any  # heads[bin]: root of the heap of free chunks in a size bin, or 0
    words: Any  # bitmap of the bins that are not empty
    regions: Any  # regions[i]: bytes and first chunk of a region, of dtype REGION
    ledger: Any
    rules: Rules
    granule: int  # log2 of the unit in which chunk sizes are counted


def init(capacity, max_live, allow_growth=True, garbage_collection=False, fragmentation_fraction="0"):
    waste = most_waste(fragmentation_fraction, capacity)
    if not allow_growth and capacity >= UNLIMITED:
        raise ValueError("allow_growth=false takes all of the capacity at once, so there has to be one; try: --capacity 24GiB")
    first = min(capacity, FIRST_REGION) if allow_growth else capacity
    pool = np.zeros(5, np.int64)
    pool[FRESH] = 1
    pool[NEXT_BYTES] = max(align_up(first, UNIT), UNIT)
    return State(
        np.zeros(2 * max_live + MOST_REGIONS + 8, size_bins.NODE).view(np.recarray),
        np.zeros(max_live + 1, np.uint32),
        pool,
        np.zeros(size_bins.BINS, np.uint32),
        np.zeros(size_bins.LEVEL_2 + 1, np.int64),
        np.zeros(MOST_REGIONS, REGION).view(np.recarray),
        new_ledger(0),
        Rules(capacity, waste, garbage_collection),
        8,
    )


def most_waste(fraction, capacity):
    """Return the bytes from which on a rest of a chunk is cut off: ``fraction`` of the capacity, or 128 MiB for 0.

    ``fraction`` is the option's text. Raise ValueError if it is no number from 0 to 1, or the capacity has no limit.
    """
    try:
        share = float(fraction)
    except ValueError:
        raise ValueError(f"fragmentation_fraction={fraction} is no number") from None
    if not 0 <= share <= 1:
        raise ValueError(f"fragmentation_fraction={fraction} is not from 0 to 1")
    if share > 0 and capacity >= UNLIMITED:
        raise ValueError("fragmentation_fraction is a share of the device's memory; try: --capacity 24GiB")
    return int(share * capacity) if share > 0 else MOST_WASTE


def alloc(state, request):
    """Place a block in the smallest free chunk that the request fits, the lowest of equals; return its address.

    If none fits, the device is asked for a region. Return NOTHING for a request of 0 bytes, NOWHERE if the device has no
    room.
    """
    if request.size == 0:
        return NOTHING
    ledger, align = state.ledger, max(request.align, UNIT)
    size = align_up(request.size, UNIT)
    ledger[BLOCK_SIZE] = size
    ledger[INSPECTED] = ledger[HOLES]
    x = best(state, size, align)
    if x != 0:
        ledger[HOLE_TAKEN] = state.nodes[x].extent
    else:
        x = chunk_of_new_region(state, size, align)
        if x == 0:
            return NOWHERE
    if state.nodes[x].addr & (align - 1):
        x = cut_front(state, x, align)
    return hand_out(state, x, size, request.block)


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


def free(state, request, address):
    """Free the block with the handle ``request.block``; its chunk coalesces with its free neighbours. ``address`` is not used."""
    nodes, ledger = state.nodes, state.ledger
    x = np.int64(state.node_of[request.block])
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


@out_of_line
def chunk_of_new_region(state, size, align):
    """Return a free chunk of a new region in which the request fits; 0 if there is none.

    With `garbage_collection`, unused regions are given back first if there is no room otherwise.
    """
    x = np.int64(0)
    if extend(state, size):
        x = np.int64(best(state, size, align))
    if x == 0 and state.rules.collect and collect(state, size) and extend(state, size):
        x = np.int64(best(state, size, align))
    return x


@out_of_line
def extend(state, size):
    """Ask the device for a region with room for ``size`` bytes, one free chunk; return whether it has one.

    The region has `State.pool[NEXT_BYTES]` bytes, doubled until the request fits, at most what the capacity leaves.
    """
    pool, ledger = state.pool, state.ledger
    left = (state.rules.capacity - ledger[RESERVED]) & -UNIT
    if size > left:
        return False
    doubled = False
    while size > pool[NEXT_BYTES]:
        pool[NEXT_BYTES] *= 2
        doubled = True
    extent = min(pool[NEXT_BYTES], left)
    if not doubled:
        pool[NEXT_BYTES] = min(2 * pool[NEXT_BYTES], UNLIMITED)
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
    return True


@out_of_line
def collect(state, size):
    """Give back all regions in which nothing is live, if that can make room for ``size`` bytes; return whether it did.

    If it cannot, nothing changes.
    """
    nodes, pool, ledger = state.nodes, state.pool, state.ledger
    unused = releasable(state)
    if unused == 0 or size > state.rules.capacity - ledger[RESERVED] + unused:
        return False
    for i in range(pool[REGIONS] - 1, -1, -1):
        if is_unused(state, i):
            x = state.regions[i].first
            close_hole(ledger, nodes[x].extent)
            size_bins.remove(state, x)
            nodes[x].free = 0
            drop_node(state, x)
            last = pool[REGIONS] - 1
            state.regions[i].extent = state.regions[last].extent
            state.regions[i].first = state.regions[last].first
            pool[REGIONS] = last
    ledger[RESERVED] -= unused
    ledger[RELEASE_CALLS] += 1
    return True


def is_unused(state, i):
    """Return whether region i is one free chunk, so that nothing in it is live."""
    x = state.regions[i].first
    return state.nodes[x].free == 1 and state.nodes[x].extent == state.regions[i].extent


@out_of_line
def releasable(state):
    """Return the bytes of the regions in which nothing is live."""
    unused = np.int64(0)
    for i in range(state.pool[REGIONS]):
        if is_unused(state, i):
            unused += state.regions[i].extent
    return unused


def write_counters(state, row):
    """Write the number of regions and the size of the next one in bytes into ``row``."""
    row[0] = state.pool[REGIONS]
    row[1] = state.pool[NEXT_BYTES]
