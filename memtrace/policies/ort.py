"""ONNX Runtime's BFC arena: as TensorFlow's (`bfc`), with regions whose growth can be set, and a shrink that gives them back.

Requests are rounded up to 256 bytes. The smallest free chunk that is enough serves one, the lowest of equals. It is cut if it has
twice the bytes that are needed, or `waste` bytes more than that; else the block takes all of it: 700 KiB take all of the first
MiB. A freed chunk joins its free neighbours at once. If no chunk is enough, the arena is extended by a region:

- `extend=doubling`: the first has `first` bytes, each further one twice as many as the one before, up to `max_extend`. For a
  request that is larger than the next region that size is doubled until the request fits, above `max_extend` too, and then the
  region after it has as many bytes, not twice as many. No region is larger than what the capacity leaves.
- `extend=exact`: each region has the bytes of its request, rounded.

A `trim` event is a shrink (memory.enable_memory_arena_shrinkage): all regions in which nothing is live are given back, with
`doubling` all but the first; after it the next region has `growth` bytes, and so again after each shrink.

Options, with the names that ONNX Runtime has for them: `first=1MiB` (initial_chunk_size_bytes), `waste=128MiB`
(max_dead_bytes_per_chunk), `growth=2MiB` (initial_growth_chunk_size_bytes), `max_extend=1GiB` (max_power_of_two_extend_bytes),
`extend` (arena_extend_strategy: kNextPowerOfTwo, kSameAsRequested). The capacity is max_mem, gpu_mem_limit. A request of 0 bytes
gets nothing; an alignment above 256 leaves the bytes before it as a chunk of their own. Addresses are virtual: regions lie one
after another, each at a multiple of 2 MiB, and what is given back leaves a gap.

Not modelled: a device that has less than the capacity (regions of nine tenths are tried then), the arena that knows streams,
memory patterns and planned buffers, which are requested from the arena as one.

Cost: as best fit. Source: onnxruntime 1.32.0, core/framework/bfc_arena.cc: by its behaviour, in words of our own, compared with
the library's CPU arena: addresses, refusals and bytes held.
"""

from typing import Any, Literal, NamedTuple

import numpy as np

from memtrace.contract.bits import align_up
from memtrace.contract.calls import out_of_line
from memtrace.contract.ledger import BLOCK_SIZE, HOLE_TAKEN, HOLES, INSPECTED, RELEASE_CALLS, RESERVED, new_ledger
from memtrace.contract.request import ENLARGE, NOTHING, NOWHERE
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
from memtrace.structures.caching.state import extended_copy
from memtrace.structures.heap import FRESH, expect, expect_soon
from memtrace.structures.size_bins import best, largest_hole

__all__ = ["expect", "expect_soon", "largest_hole"]

ORDER = 44
GROUPS = ("pools",)
KNOWN_AS = {"onnxruntime": ""}
VIRTUAL = True
COUNTERS = ("regions", "next_region_bytes")

FIRST_REGIONS = 64  # regions that a new state has room for
UNLIMITED = 1 << 62  # bytes


class Rules(NamedTuple):
    """The options, in bytes."""

    capacity: int
    waste: int  # a rest of a chunk of at least so many bytes is cut off
    growth: int  # of the next region after a shrink
    most: int  # of a region, if its request is not larger
    exact: bool  # a region has the bytes of its request


class State(NamedTuple):
    """Chunks are nodes of bfc_chunks."""

    nodes: Any  # nodes[x]: a chunk, live or free
    node_of: Any  # node_of[handle]: the block's chunk
    pool: Any  # first chunk never used, head of the list of spare ones, REGIONS, NEXT_BYTES, NEXT_ADDRESS
    heads: Any  # heads[bin]: root of the heap of free chunks in a size bin, or 0
    words: Any  # bitmap of the bins that are not empty
    regions: Any  # regions[i]: bytes and first chunk of a region; the first region of all stays number 0 while it is held
    ledger: Any
    rules: Rules
    granule: int  # log2 of the unit in which chunk sizes are counted


def init(
    capacity,
    max_live,
    first=1 << 20,
    max_extend=1 << 30,
    extend: Literal["doubling", "exact"] = "doubling",
    growth=2 << 20,
    waste=MOST_WASTE,
):
    for name, value in (("first", first), ("max_extend", max_extend), ("growth", growth), ("waste", waste)):
        if value < 1:
            raise ValueError(f"{name}={value} is below 1")
        if name in ("max_extend", "growth") and value % UNIT:
            raise ValueError(f"{name}={value} is no multiple of {UNIT}: ONNX Runtime fails when it adds a region of such a size")
    pool = np.zeros(5, np.int64)
    pool[FRESH] = 1
    pool[NEXT_BYTES] = max(align_up(min(capacity, first), UNIT), UNIT)
    return State(
        nodes=np.zeros(2 * max_live + FIRST_REGIONS + 8, size_bins.NODE).view(np.recarray),
        node_of=np.zeros(max_live + 1, np.uint32),
        pool=pool,
        heads=np.zeros(size_bins.BINS, np.uint32),
        words=np.zeros(size_bins.LEVEL_2 + 1, np.int64),
        regions=np.zeros(FIRST_REGIONS, REGION).view(np.recarray),
        ledger=new_ledger(0),
        rules=Rules(capacity=capacity, waste=waste, growth=growth, most=max_extend, exact=extend == "exact"),
        granule=8,
    )


def enlarge(state):
    """Return the state with room for twice the regions, and for a free chunk in each of them."""
    regions = extended_copy(state.regions, 2 * state.regions.size)
    return state._replace(regions=regions, nodes=extended_copy(state.nodes, state.nodes.size + regions.size))


def alloc(state, request):
    """Place a block in the smallest free chunk that the request fits, the lowest of equals; return its address.

    If none fits, the arena is extended. Return NOTHING for a request of 0 bytes, ENLARGE if there is no room for a region,
    NOWHERE if the capacity does not allow one.
    """
    if request.size == 0:
        return NOTHING
    if state.pool[REGIONS] == state.regions.size or state.pool[FRESH] + 3 >= state.nodes.size:
        return ENLARGE
    ledger, align = state.ledger, max(request.align, UNIT)
    size = align_up(request.size, UNIT)
    ledger[BLOCK_SIZE] = size
    ledger[INSPECTED] = ledger[HOLES]
    x = best(state, size, align)
    if x != 0:
        ledger[HOLE_TAKEN] = state.nodes[x].extent
    else:
        x = np.int64(best(state, size, align)) if extend(state, size) else np.int64(0)
        if x == 0:
            return NOWHERE
    if state.nodes[x].addr & (align - 1):
        x = cut_front(state, x, align)
    return hand_out(state, x, size, request.block)


def free(state, request, address):
    """Free the block with the handle ``request.block``; its chunk coalesces with its free neighbours. ``address`` is not used."""
    free_chunk(state, request.block)


@out_of_line
def extend(state, size):
    """Extend the arena by a region with room for ``size`` bytes, one free chunk; return whether the capacity allows it."""
    pool, rules = state.pool, state.rules
    left = (rules.capacity - state.ledger[RESERVED]) & -UNIT
    if size > left:
        return False
    extent = size
    if not rules.exact:
        doubled = False
        while size > pool[NEXT_BYTES]:
            pool[NEXT_BYTES] *= 2
            doubled = True
        extent = min(pool[NEXT_BYTES], left)
        if not doubled:
            pool[NEXT_BYTES] = min(2 * pool[NEXT_BYTES], rules.most)
    add_region(state, extent)
    return True


def kept(state):
    """Return how many regions a shrink keeps though nothing in them is live: those with the lowest numbers."""
    return 0 if state.rules.exact else 1


def releasable(state):
    """Return the bytes of the regions that a shrink would give back."""
    return unused_from(state, kept(state))


@out_of_line
def trim(state):
    """Shrink the arena: give back the regions in which nothing is live, and begin to grow anew."""
    before = state.pool[REGIONS]
    for i in range(before - 1, kept(state) - 1, -1):
        if is_unused(state, i):
            drop_region(state, i)
    if state.pool[REGIONS] < before:
        state.ledger[RELEASE_CALLS] += 1
    state.pool[NEXT_BYTES] = state.rules.growth


def write_counters(state, row):
    """Write the number of regions and the size of the next one in bytes into ``row``."""
    row[0] = state.pool[REGIONS]
    row[1] = state.pool[NEXT_BYTES]
