"""RMM's pool: best fit in the list of the stream, then in those of other streams, which are merged before the pool grows.

Requests are rounded up to 256 bytes. Each stream has a list of free blocks; the smallest that is enough serves a request, the
lowest of equals, and what is left goes back to that list. Then:

1. The lists of other streams, one after another: the first that has a block which is enough; the rest stays in that list.
2. Each of these lists is merged into that of the stream, whole, until a block is enough.
3. The pool grows by a region; the rest of it goes to the list of the stream.

A free goes to the list of the stream that it names, where the block joins its neighbours; regions never join, and nothing is
given back. A region has max(n, half of what is left to the maximum) bytes, or max(n, bytes of the pool) without a maximum. If
the device has less, it is halved down to n, the rounded request.

`initial=0`: bytes of the first region, in the list of the default stream; a share such as `50%` is of the capacity.
`maximum=capacity`: the capacity is the pool's maximum; with `none`, or with bytes, it is what the device has. `50%` with
`maximum=none` is what rmm.reinitialize(pool_allocator=True) makes. `frees=auto`: a free goes to the stream that it names
(`told`), or, in a trace of which no free names a stream but the default one, as in recordings of PyTorch, to that of the alloc
(`own`).

Choices: RMM goes through other streams' lists in the order of the addresses of their CUDA events, which the program does not
determine; here it is the order in which streams are first used, as events are mostly made. Addresses are virtual: regions start
at multiples of 2 MiB. RMM rounds what is left to the maximum up to 256 bytes, so its last region may end up to 255 bytes above
it: so does this one, and reserved bytes are then those of the capacity. Not modelled: alignments above 256, per-thread default
streams.

Cost: near that of best fit, size classes under a bitmap in each list; others are asked only when the own one has nothing.
Source: librmm 25.2.0, pool_memory_resource.hpp and detail/stream_ordered_memory_resource.hpp; the same rules in rapidsai/rmm of
2026: by their behaviour, in words of our own, compared with the library: addresses, refusals and bytes of the pool.
"""

from typing import Any, Literal, NamedTuple

import numpy as np

from memtrace.contract.bits import align_up
from memtrace.contract.calls import out_of_line
from memtrace.contract.ledger import BLOCK_SIZE, HOLE_TAKEN, INSPECTED, RESERVED, new_ledger
from memtrace.contract.request import ENLARGE, NOTHING, NOWHERE
from memtrace.errors import MemtraceError
from memtrace.structures.caching.state import extended_copy
from memtrace.structures.free_lists import (
    LOWEST,
    absorb,
    best,
    cut,
    expect,
    expect_soon,
    hand_out,
    insert,
    lacks_nodes,
    more_nodes,
    new_lists,
    new_nodes,
    new_region,
    release,
    remove,
)
from memtrace.structures.heap import FRESH
from memtrace.structures.stream_index import STREAMS, lacks_streams, largest_hole, new_streams, stream_index
from memtrace.units import parse_size

__all__ = ["expect", "expect_soon"]

ORDER = 43
GROUPS = ("pools",)
KNOWN_AS = {"rmm": "", "rapids": ""}
VIRTUAL = True
UNUSABLE = True  # the bytes by which the last region may end above the maximum, less than UNIT
MAX_ALIGN = 256
COUNTERS = ("regions", "streams", "merged_lists")

UNIT = 256  # bytes: requests are rounded up to a multiple
UNLIMITED = 1 << 62  # bytes that stand for no limit
# places in State.pool, behind those of free_lists: bytes of all regions; the stream that frees now, plus NAMED; the counters
HELD, FREED_BY, REGIONS, MERGED = 4, 5, 6, 7
NAMED = 1 << 32  # more than the number of any stream


class Rules(NamedTuple):
    """The options, in bytes."""

    maximum: int  # of the pool; UNLIMITED: none
    device: int  # that the device has; UNLIMITED: the pool has a maximum, and the device enough for it
    capacity: int
    auto: bool  # `told` is what the trace says
    told: bool  # a free goes to the list of the stream that it names


class State(NamedTuple):
    """Blocks are nodes of free_lists; the list of a stream has the stream's index."""

    nodes: Any  # nodes[x]: a block, live or free
    node_of: Any  # node_of[handle]: the block's node
    pool: Any  # FRESH to CLOCK, HELD to MERGED
    roots: Any  # of the lists (free_lists)
    words: Any
    counts: Any  # counts[i]: number of free blocks of this list
    number_of: Any  # number_of[i]: the number of the stream with index i
    seen: Any  # how many streams there are, and the last one
    ledger: Any
    rules: Rules
    granule: int  # log2 of what sizes are multiples of, but for what is left at the end of a region
    ties: int


def init(capacity, max_live, initial="0", maximum="capacity", frees: Literal["auto", "told", "own"] = "auto"):
    first = first_region(initial, capacity)
    if maximum == "capacity":
        most, device = (capacity & -UNIT if capacity < UNLIMITED else UNLIMITED), UNLIMITED
    else:
        most, device = (UNLIMITED if maximum == "none" else size_of("maximum", maximum)), capacity
    if (most < UNLIMITED and most % UNIT) or first % UNIT:
        raise ValueError(f"RMM takes multiples of {UNIT} bytes for initial and maximum")
    if first > min(most, device):
        raise ValueError(f"initial={initial} is more than the pool may have: {min(most, device)} bytes")
    number_of, seen = new_streams(max_live + 1)
    roots, words = new_lists(number_of.size)
    state = State(
        nodes=new_nodes(max_live),
        node_of=np.zeros(max_live + 1, np.uint32),
        pool=np.zeros(8, np.int64),
        roots=roots,
        words=words,
        counts=np.zeros(number_of.size, np.int64),
        number_of=number_of,
        seen=seen,
        ledger=new_ledger(0),
        rules=Rules(maximum=most, device=device, capacity=capacity, auto=frees == "auto", told=frees == "told"),
        granule=8,
        ties=LOWEST,
    )
    state.pool[FRESH] = 1
    if first > 0:
        insert(state, region_of(state, first), stream_index(state, 0))
    return state


def start(state, facts):
    """Return the state in which frees go to the streams that they name, if the trace has such frees."""
    if not state.rules.auto:
        return state
    return state._replace(rules=state.rules._replace(told=facts.frees_name_streams()))


def first_region(text, capacity):
    """Return the bytes that the option `initial` stands for; a share is of the capacity, cut to 256 bytes as RMM does.

    Raise ValueError if the text is neither bytes nor a share from 0 to 100 %, or a share of no capacity.
    """
    if not text.endswith("%"):
        return size_of("initial", text)
    share = text[:-1]
    if not share.isdigit() or int(share) > 100:
        raise ValueError(f"initial={text} is no share from 0% to 100%")
    if capacity >= UNLIMITED:
        raise ValueError(f"initial={text} is a share of the device's memory; try: --capacity 24GiB")
    return capacity * int(share) // 100 & -UNIT


def size_of(option, text):
    """Return the bytes of an option's text; raise ValueError if it is none."""
    try:
        return parse_size(text)
    except MemtraceError as error:
        raise ValueError(f"{option}={text}: {error}") from None


def enlarge(state):
    """Return the state with room for more nodes and streams."""
    state = more_nodes(state)
    if lacks_streams(state):
        more = state.number_of.size
        state = state._replace(
            roots=extended_copy(state.roots, state.roots.size + more),
            counts=extended_copy(state.counts, 2 * more),
            number_of=extended_copy(state.number_of, 2 * more),
        )
    return state


def alloc(state, request):
    """Place a block in the list of the request's stream, in those of others, or in a new region; return its address.

    Return NOTHING for a request of 0 bytes, ENLARGE if an array is too small, NOWHERE if the pool cannot grow: lists of other
    streams are merged even then.
    """
    if request.size == 0:
        return NOTHING
    if lacks_nodes(state) or lacks_streams(state):
        return ENLARGE
    size = align_up(request.size, UNIT)
    own = stream_index(state, request.stream)
    ledger = state.ledger
    ledger[BLOCK_SIZE] = size
    ledger[INSPECTED] = state.counts[own]
    x = best(state, own, size)
    if x == 0:
        x = block_of_others(state, own, size)
        if x == 0:
            x = region_for(state, size)
            if x == 0:
                return NOWHERE
            cut(state, x, size, own)
            return hand_out(state, x, request.block)
    ledger[HOLE_TAKEN] = state.nodes[x].extent
    remove(state, x)
    cut(state, x, size, np.int64(state.nodes[x].list))
    return hand_out(state, x, request.block)


@out_of_line
def block_of_others(state, own, size):
    """Return a free block of at least ``size`` bytes from other lists than ``own``, or from it after merging; 0: none."""
    for other in range(state.seen[STREAMS]):
        if other != own and state.counts[other] > 0:
            state.ledger[INSPECTED] += state.counts[other]
            x = best(state, other, size)
            if x != 0:
                return x
    for other in range(state.seen[STREAMS]):
        if other != own and state.counts[other] > 0:
            absorb(state, own, np.int64(other))
            state.pool[MERGED] += 1
            state.ledger[INSPECTED] += state.counts[own]
            x = best(state, own, size)
            if x != 0:
                return x
    return np.int64(0)


@out_of_line
def region_for(state, size):
    """Return a new region of at least ``size`` bytes, a multiple of 256, as a block in no list; 0 if the pool cannot grow."""
    rules, held = state.rules, state.pool[HELD]
    if rules.maximum < UNLIMITED:
        left = align_up(max(rules.maximum - held, 0), UNIT)
        if size > left:
            return np.int64(0)
        extent = max(size, left // 2)
    else:
        extent = max(size, held)
    while extent > rules.device - held:
        if extent == size:
            return np.int64(0)
        extent = max(size, extent // 2)
    return region_of(state, extent)


def region_of(state, extent):
    """Return a new region of ``extent`` bytes as a block in no list."""
    x = new_region(state, extent)
    state.pool[HELD] += extent
    state.pool[REGIONS] += 1
    state.ledger[RESERVED] = min(state.pool[HELD], state.rules.capacity)
    return x


def freed_by(state, request, stream):
    """Note the stream that frees the block of ``request``."""
    state.pool[FREED_BY] = stream + NAMED


def free(state, request, address):
    """Free the block with the handle ``request.block`` to the list of the stream that frees it. ``address`` is not used.

    The old block of a realloc, and the scratch block of a swap, go to the list of their own stream.
    """
    stream = request.stream
    if state.rules.told and state.pool[FREED_BY] != 0:
        stream = state.pool[FREED_BY] - NAMED
    state.pool[FREED_BY] = 0
    release(state, request.block, stream_index(state, stream))


def write_counters(state, row):
    """Write the number of regions, of streams, and of lists merged so far into ``row``."""
    row[0] = state.pool[REGIONS]
    row[1] = state.seen[STREAMS]
    row[2] = state.pool[MERGED]
