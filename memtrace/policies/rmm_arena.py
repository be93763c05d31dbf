"""RMM's arena: large requests by first fit in one global arena, small ones in superblocks of 1 MiB that streams take from it.

Requests are rounded up to 256 bytes. All memory is one region from the start, cut into superblocks, which lie side by side:

    | 1 MiB of stream 1 | 1 MiB of stream 0 | 3 MiB, global: one large block | the rest, global and empty           |

- More than 1 MiB: the first superblock of the global arena in which the request fits, by address. If it is empty, it is cut to
  the size of the request, unless less than 1 MiB would be left; the block takes the first free range that is enough.
- Up to 1 MiB: the first superblock of the stream's own arena in which it fits, by address. If there is none, the stream takes
  the first global superblock in which it fits, cut to 1 MiB if it is empty and 1 MiB is left.
- A free joins the free neighbours in its superblock, whoever owns it and whatever stream frees. An empty superblock of the global
  arena joins its empty neighbours; one of a stream stays with it.
- A request that finds no room has all streams give all their superblocks back to the global arena, those with live blocks too,
  and is tried once more. A stream may then take a superblock in which blocks of other streams live.

`size=capacity`: bytes of the region; a share such as `50%`, which is RMM's default, is of the capacity. Without a capacity the
region has 1 TiB, the most that RMM allows, and reserved bytes end with the highest superblock that was ever in use. In a region
of less than 1 MiB, which RMM does not make, every request fails. A hole is a free range in one superblock.

Not modelled: size classes (RMM_ARENA_USE_SIZE_CLASSES), several threads, each of which has an arena for the default stream,
alignments above 256.

Cost: a treap by address for each arena, O(log n); giving all superblocks back takes a step for each.
Source: librmm 25.2.0, arena_memory_resource.hpp and detail/arena.hpp: by their behaviour, in words of our own, compared with the
library: addresses and refusals.
"""

from typing import Any, NamedTuple

import numpy as np

from memtrace.contract.bits import align_up
from memtrace.contract.calls import out_of_line
from memtrace.contract.ledger import BLOCK_SIZE, HOLE_TAKEN, RESERVED, SPLITS, new_ledger
from memtrace.contract.request import ENLARGE, NOTHING, NOWHERE
from memtrace.errors import MemtraceError
from memtrace.structures.caching.state import extended_copy
from memtrace.structures.free_lists import expect, expect_soon
from memtrace.structures.heap import FRESH, link, new_node
from memtrace.structures.stream_index import STREAMS, stream_index
from memtrace.structures.superblocks import (
    GLOBAL,
    NODE,
    SUPER,
    SUPER_FRESH,
    SUPER_SPARE,
    SUPERS,
    cut_super,
    free_block,
    join_empty,
    largest_free,
    move_super,
    new_super,
    put_free,
    reserve_super,
    take,
)
from memtrace.structures.treap import lowest_in_treap
from memtrace.units import parse_size

__all__ = ["expect", "expect_soon"]

ORDER = 43
GROUPS = ("pools",)
VIRTUAL = True
UNUSABLE = True
DEFERRED = True
MAX_ALIGN = 256
NOT_COUNTED = ("searches",)
COUNTERS = ("superblocks", "superblocks_of_streams", "given_back")

UNIT = 256  # bytes: requests are rounded up to a multiple
SUPERBLOCK = 1 << 20  # bytes of a stream's superblock
MOST = 1 << 40  # bytes of the largest region
UNLIMITED = 1 << 62  # capacity in bytes that stands for none
FIRST_STREAMS = 64  # streams that a new state has room for
TAKEN, GIVEN = 6, 7  # places in State.pool, behind those of superblocks: the counters


class State(NamedTuple):
    """Blocks are nodes; the free ones of each arena form a treap by address."""

    nodes: Any  # nodes[x]: a block, live or free
    node_of: Any  # node_of[handle]: the block's node
    pool: Any  # FRESH, SPARE, SUPER_FRESH to SEED, TAKEN, GIVEN
    supers: Any  # supers[s]: a superblock; number 0 closes the list by address
    roots: Any  # roots[arena]: root of its treap, or 0
    number_of: Any  # number_of[i]: the number of the stream with index i
    seen: Any  # how many streams there are, and the last one
    ledger: Any


def init(capacity, max_live, size="capacity"):
    extent = region_size(size, capacity)
    state = State(
        nodes=np.zeros(2 * max_live + 64, NODE).view(np.recarray),
        node_of=np.zeros(max_live + 1, np.uint32),
        pool=np.zeros(8, np.int64),
        supers=np.zeros(64, SUPER).view(np.recarray),
        roots=np.zeros(FIRST_STREAMS + 1, np.uint32),
        number_of=np.zeros(FIRST_STREAMS, np.int64),
        seen=np.zeros(2, np.int64),
        ledger=new_ledger(extent if capacity < UNLIMITED or size != "capacity" else 0),
    )
    state.pool[FRESH] = 1
    state.pool[SUPER_FRESH] = 1
    if extent > 0:
        x = new_node(state, 0, extent)
        link(state.nodes, x, 0, 0)
        new_super(state, x, 0, 0)
        put_free(state, x)
    return state


def region_size(text, capacity):
    """Return the bytes of the region for the option `size`; 0 if they are less than a superblock.

    Raise ValueError if the text is neither bytes nor a share from 0 to 100 %, or the region is larger than the capacity.
    """
    whole = min(capacity, MOST)
    if text == "capacity":
        extent = whole
    elif text.endswith("%"):
        if not text[:-1].isdigit() or int(text[:-1]) > 100:
            raise ValueError(f"size={text} is no share from 0% to 100%")
        extent = whole * int(text[:-1]) // 100
    else:
        try:
            extent = parse_size(text)
        except MemtraceError as error:
            raise ValueError(f"size={text}: {error}") from None
        if extent > whole:
            raise ValueError(f"size={text} is more than the device has, or more than 1 TiB")
    extent &= -UNIT
    return extent if extent >= SUPERBLOCK else 0


def enlarge(state):
    """Return the state with twice the nodes, superblocks or streams, whichever may be too few."""
    if lacks_nodes(state):
        state = state._replace(nodes=extended_copy(state.nodes, 2 * state.nodes.size))
    if state.pool[SUPER_SPARE] == 0 and state.pool[SUPER_FRESH] == state.supers.size:
        state = state._replace(supers=extended_copy(state.supers, 2 * state.supers.size))
    if state.seen[STREAMS] == state.number_of.size:
        more = 2 * state.number_of.size
        state = state._replace(number_of=extended_copy(state.number_of, more), roots=extended_copy(state.roots, more + 1))
    return state


def lacks_nodes(state):
    """Return whether nodes may be too few for a request, which makes 2 of them at most."""
    return state.pool[FRESH] + 2 >= state.nodes.size


def lacks_room(state):
    """Return whether an array may be too small for a request, which makes one superblock and one arena at most."""
    full = state.pool[SUPER_SPARE] == 0 and state.pool[SUPER_FRESH] == state.supers.size
    return full or lacks_nodes(state) or state.seen[STREAMS] == state.number_of.size


def alloc(state, request):
    """Place a block in the global arena or in that of the request's stream; return its address.

    Return NOTHING for a request of 0 bytes, ENLARGE if an array is too small, NOWHERE if there is no room even after all
    superblocks were given back.
    """
    if request.size == 0:
        return NOTHING
    if lacks_room(state):
        return ENLARGE
    size = align_up(request.size, UNIT)
    state.ledger[BLOCK_SIZE] = size
    reserved = state.ledger[RESERVED]
    arena = np.int64(GLOBAL)
    if size <= SUPERBLOCK:
        arena = stream_index(state, request.stream) + 1
    x = fitting(state, arena, size)
    if x == 0:
        give_all_back(state)
        x = fitting(state, arena, size)
        if x == 0:
            return NOWHERE
    if state.ledger[RESERVED] == reserved:
        state.ledger[HOLE_TAKEN] = state.nodes[x].extent
    return take(state, x, size, request.block)


def fitting(state, arena, size):
    """Return a free block of at least ``size`` bytes in a superblock of the arena, which may take one for it; 0: none."""
    if arena != GLOBAL:
        x = np.int64(lowest_in_treap(state.nodes, np.int64(state.roots[arena]), size))
        if x != 0:
            return x
    return from_global(state, arena, size)


@out_of_line
def from_global(state, arena, size):
    """Return the first free block of at least ``size`` bytes of the global arena; its superblock becomes that of ``arena``.

    An empty superblock is cut to max(1 MiB, size) if at least 1 MiB is left. Return 0 if there is none.
    """
    nodes, supers = state.nodes, state.supers
    x = np.int64(lowest_in_treap(nodes, np.int64(state.roots[GLOBAL]), size))
    if x == 0:
        return x
    s, part = np.int64(nodes[x].home), max(size, SUPERBLOCK)
    if supers[s].live == 0 and nodes[x].extent >= part + SUPERBLOCK:
        cut_super(state, x, nodes[x].addr, part, nodes[x].extent - part)
        state.ledger[SPLITS] += 1
    if supers[s].live == 0:
        reserve_super(state, x)
    if arena != GLOBAL:
        move_super(state, s, arena)
        state.pool[TAKEN] += 1
    return x


def free(state, request, address):
    """Free the block with the handle ``request.block``, in the superblock that it is in. ``address`` is not used."""
    free_block(state, request.block)


@out_of_line
def give_all_back(state):
    """Give the superblocks of all streams back to the global arena, where empty neighbours join."""
    supers = state.supers
    s = np.int64(supers[0].next)
    while s != 0:
        if supers[s].arena != GLOBAL:
            move_super(state, s, GLOBAL)
            state.pool[TAKEN] -= 1
            state.pool[GIVEN] += 1
            before = np.int64(supers[s].prev)
            if supers[s].live == 0:
                join_empty(state, s)
                if before != 0 and np.int64(supers[before].next) != s:
                    s = before  # which has swallowed it
        s = np.int64(supers[s].next)


@out_of_line
def largest_hole(state):
    """Return the bytes of the largest free block of all arenas; 0 if there is none."""
    most = np.int64(0)
    for arena in range(state.seen[STREAMS] + 1):
        most = max(most, largest_free(state, arena))
    return most


def write_counters(state, row):
    """Write the number of superblocks, of those that streams own, and of those given back so far into ``row``."""
    row[0] = state.pool[SUPERS]
    row[1] = state.pool[TAKEN]
    row[2] = state.pool[GIVEN]
