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
from memtrace.contract.ledger import BLOCK_SIZE, HOLE_TAKEN, HOLES, INSPECTED, RELEASE_CALLS, RESERVED, new_ledger
from memtrace.contract.request import NOTHING, NOWHERE
from memtrace.structures import size_bins
from memtrace.structures.bfc_chunks import (
    MOST_WASTE,
    NEXT_BYTES,
    REGION,
    REGIONS,
    UNIT,
    add_region,
    cut_front,
    drop_region,
    free_chunk,
    hand_out,
    is_unused,
    unused_from,
)
from memtrace.structures.heap import FRESH, expect, expect_soon
from memtrace.structures.size_bins import best, largest_hole

__all__ = ["expect", "expect_soon", "largest_hole"]

ORDER = 42
GROUPS = ("gpu",)
KNOWN_AS = {"tensorflow": "", "jax": ""}
VIRTUAL = True
COUNTERS = ("regions", "next_region_bytes")

FIRST_REGION = 2 << 20  # bytes of the first region
UNLIMITED = 1 << 62  # capacity in bytes that stands for none
# Upper bound: each region is twice as large as the one before or takes all that is left; before another can take all that is
# left, one has to be given back.
MOST_REGIONS = 64


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


def free(state, request, address):
    """Free the block with the handle ``request.block``; its chunk coalesces with its free neighbours. ``address`` is not used."""
    free_chunk(state, request.block)


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
    add_region(state, extent)
    return True


@out_of_line
def collect(state, size):
    """Give back all regions in which nothing is live, if that can make room for ``size`` bytes; return whether it did.

    If it cannot, nothing changes.
    """
    unused = releasable(state)
    if unused == 0 or size > state.rules.capacity - state.ledger[RESERVED] + unused:
        return False
    for i in range(state.pool[REGIONS] - 1, -1, -1):
        if is_unused(state, i):
            drop_region(state, i)
    state.ledger[RELEASE_CALLS] += 1
    return True


def releasable(state):
    """Return the bytes of the regions in which nothing is live."""
    return unused_from(state, 0)


def write_counters(state, row):
    """Write the number of regions and the size of the next one in bytes into ``row``."""
    row[0] = state.pool[REGIONS]
    row[1] = state.pool[NEXT_BYTES]
