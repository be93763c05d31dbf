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
region has 1 TiB, the most that RMM allows. In a region of less than 1 MiB, which RMM does not make, every request fails. A hole
is a free range in one superblock.

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
from memtrace.contract.ledger import (
    ALLOCATED,
    BLOCK_SIZE,
    HOLE_TAKEN,
    MERGES,
    SPLITS,
    close_hole,
    new_ledger,
    open_hole,
    resize_hole,
)
from memtrace.contract.request import ENLARGE, NOTHING, NOWHERE
from memtrace.errors import MemtraceError
from memtrace.structures.caching.state import extended_copy
from memtrace.structures.free_lists import expect, expect_soon
from memtrace.structures.heap import FRESH, SPARE, drop_node, link, new_node, unlink
from memtrace.structures.stream_index import STREAMS, stream_index
from memtrace.structures.treap import insert_node, lowest_in_treap, pull_up, remove_node
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
GLOBAL = 0  # the global arena; that of the stream with index i is i + 1
FIRST_STREAMS = 64  # streams that a new state has room for
# places in State.pool, behind FRESH and SPARE: the same of superblocks; the counters; the state of the generator of priorities
SUPER_FRESH, SUPER_SPARE, SUPERS, TAKEN, GIVEN, SEED = 2, 3, 4, 5, 6, 7

NODE = np.dtype(
    (
        np.record,
        np.dtype(
            [
                ("addr", "i8"),  # address of the block
                ("extent", "i8"),  # its bytes
                ("most", "i8"),  # bytes of the largest free block in the node's subtree
                ("prev", "u4"),  # neighbours by address in the superblock; 0: none
                ("next", "u4"),
                ("left", "u4"),  # children and parent in the treap of an arena; 0: none
                ("right", "u4"),
                ("up", "u4"),
                ("free", "u4"),  # 1: free; 0: live
                ("rank", "i4"),  # treap priority
                ("count", "i4"),  # not kept up to date
                ("home", "u4"),  # the superblock
            ],
            align=True,
        ),
    )
)
SUPER = np.dtype(
    (
        np.record,
        np.dtype(
            [
                ("first", "u4"),  # its first block
                ("live", "u4"),  # number of its live blocks
                ("arena", "u4"),  # GLOBAL, or index of the stream + 1
                ("prev", "u4"),  # neighbours by address; 0: none
                ("next", "u4"),
            ],
            align=True,
        ),
    )
)


class State(NamedTuple):
    """Blocks are nodes; the free ones of each arena form a treap by address."""

    nodes: Any  # nodes[x]: a block, live or free
    node_of: Any  # node_of[handle]: the block's node
    pool: Any  # FRESH, SPARE, SUPER_FRESH to SEED
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
        ledger=new_ledger(extent),
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
    return state.pool[SPARE] == 0 and state.pool[FRESH] + 2 >= state.nodes.size


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
    arena = np.int64(GLOBAL)
    if size <= SUPERBLOCK:
        arena = stream_index(state, request.stream) + 1
    x = fitting(state, arena, size)
    if x == 0:
        give_all_back(state)
        x = fitting(state, arena, size)
        if x == 0:
            return NOWHERE
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
        resize_free(state, x, nodes[x].addr, part, nodes[x].extent - part)
        state.ledger[SPLITS] += 1
    if arena != GLOBAL:
        move_super(state, s, arena)
        state.pool[TAKEN] += 1
    return x


def resize_free(state, x, address, part, rest):
    """Cut free block x, a whole superblock, to ``part`` bytes at ``address``; the ``rest`` becomes a superblock behind it."""
    nodes = state.nodes
    resize_hole(state.ledger, nodes[x].extent, part)
    nodes[x].extent = part
    pull_up(nodes, x)
    y = new_node(state, address + part, rest)
    link(nodes, y, 0, 0)
    s = np.int64(nodes[x].home)
    new_super(state, y, s, np.int64(state.supers[s].next))
    put_free(state, y)


def new_super(state, x, before, after):
    """Make a global superblock of block x alone, between the superblocks ``before`` and ``after`` by address."""
    pool, supers = state.pool, state.supers
    s = pool[SUPER_SPARE]
    if s != 0:
        pool[SUPER_SPARE] = supers[s].next
    else:
        s = pool[SUPER_FRESH]
        pool[SUPER_FRESH] = s + 1
    pool[SUPERS] += 1
    supers[s].first = x
    supers[s].live = 0
    supers[s].arena = GLOBAL
    supers[s].prev = before
    supers[s].next = after
    supers[before].next = s
    supers[after].prev = s
    state.nodes[x].home = s


def put_free(state, x):
    """Make block x free: put it into the treap of the arena that owns its superblock, and count a hole."""
    nodes, pool = state.nodes, state.pool
    pool[SEED] = (pool[SEED] * 1103515245 + 12345) & 0x7FFFFFFF
    nodes[x].rank = pool[SEED]
    nodes[x].free = 1
    place_in_treap(state, x)
    open_hole(state.ledger, nodes[x].extent)


@out_of_line
def place_in_treap(state, x):
    """Put free block x, whose priority is set, into the treap of the arena that owns its superblock."""
    nodes = state.nodes
    arena = state.supers[nodes[x].home].arena
    nodes[x].left = 0
    nodes[x].right = 0
    nodes[x].up = 0
    nodes[x].most = nodes[x].extent
    nodes[x].count = 1
    state.roots[arena] = insert_node(nodes, np.int64(state.roots[arena]), x)


@out_of_line
def take_from_treap(state, x):
    """Take block x out of the treap of the arena that owns its superblock."""
    arena = state.supers[state.nodes[x].home].arena
    state.roots[arena] = remove_node(state.nodes, np.int64(state.roots[arena]), x, False)


def take(state, x, size, handle):
    """Place a block of ``size`` bytes at the low end of free block x; return its address. The rest stays free."""
    nodes, ledger = state.nodes, state.ledger
    address, extent = nodes[x].addr, nodes[x].extent
    s = np.int64(nodes[x].home)
    ledger[HOLE_TAKEN] = extent
    if extent > size:
        y = new_node(state, address, size)
        nodes[y].home = s
        before = np.int64(nodes[x].prev)
        link(nodes, y, before, x)
        if before == 0:
            state.supers[s].first = y
        nodes[x].addr = address + size
        nodes[x].extent = extent - size
        pull_up(nodes, x)
        resize_hole(ledger, extent, extent - size)
        ledger[SPLITS] += 1
    else:
        y = x
        take_from_treap(state, x)
        nodes[x].free = 0
        close_hole(ledger, extent)
    state.supers[s].live += 1
    state.node_of[handle] = y
    ledger[ALLOCATED] += size
    return address


def free(state, request, address):
    """Free the block with the handle ``request.block``, in the superblock that it is in. ``address`` is not used."""
    nodes, supers, ledger = state.nodes, state.supers, state.ledger
    x = np.int64(state.node_of[request.block])
    s = np.int64(nodes[x].home)
    ledger[ALLOCATED] -= nodes[x].extent
    supers[s].live -= 1
    after, before = np.int64(nodes[x].next), np.int64(nodes[x].prev)
    if nodes[before].free == 1 and before != 0:
        if nodes[after].free == 1 and after != 0:
            absorb_next(state, x, after)
        resize_hole(ledger, nodes[before].extent, nodes[before].extent + nodes[x].extent)
        nodes[before].extent += nodes[x].extent
        unlink(nodes, x)
        drop_node(state, x)
        pull_up(nodes, before)
        ledger[MERGES] += 1
    elif nodes[after].free == 1 and after != 0:
        resize_hole(ledger, nodes[after].extent, nodes[after].extent + nodes[x].extent)
        nodes[after].addr = nodes[x].addr
        nodes[after].extent += nodes[x].extent
        unlink(nodes, x)
        drop_node(state, x)
        pull_up(nodes, after)
        if before == 0:
            supers[s].first = after
        ledger[MERGES] += 1
    else:
        put_free(state, x)
    if supers[s].live == 0 and supers[s].arena == GLOBAL:
        join_empty(state, s)


def absorb_next(state, x, after):
    """Extend block x, which is in no treap, by the free block ``after``, directly behind it."""
    nodes = state.nodes
    take_from_treap(state, after)
    close_hole(state.ledger, nodes[after].extent)
    nodes[x].extent += nodes[after].extent
    nodes[after].free = 0
    unlink(nodes, after)
    drop_node(state, after)
    state.ledger[MERGES] += 1


@out_of_line
def join_empty(state, s):
    """Join superblock s of the global arena, which is empty, with its empty neighbours of the global arena."""
    supers = state.supers
    after, before = np.int64(supers[s].next), np.int64(supers[s].prev)
    if after != 0 and supers[after].live == 0 and supers[after].arena == GLOBAL:
        swallow(state, s, after)
    if before != 0 and supers[before].live == 0 and supers[before].arena == GLOBAL:
        swallow(state, before, s)


def swallow(state, s, after):
    """Extend superblock s by ``after``, the one behind it; both are global, and empty."""
    nodes, pool, supers = state.nodes, state.pool, state.supers
    x, y = np.int64(supers[s].first), np.int64(supers[after].first)
    take_from_treap(state, y)
    close_hole(state.ledger, nodes[y].extent)
    resize_hole(state.ledger, nodes[x].extent, nodes[x].extent + nodes[y].extent)
    nodes[x].extent += nodes[y].extent
    pull_up(nodes, x)
    nodes[y].free = 0
    drop_node(state, y)
    beyond = np.int64(supers[after].next)
    supers[s].next = beyond
    supers[beyond].prev = s
    supers[after].next = pool[SUPER_SPARE]
    pool[SUPER_SPARE] = after
    pool[SUPERS] -= 1
    state.ledger[MERGES] += 1


def move_super(state, s, arena):
    """Make superblock s that of another arena, with its free blocks."""
    nodes, supers = state.nodes, state.supers
    x = np.int64(supers[s].first)
    while x != 0:
        if nodes[x].free == 1:
            take_from_treap(state, x)
        x = np.int64(nodes[x].next)
    supers[s].arena = arena
    x = np.int64(supers[s].first)
    while x != 0:
        if nodes[x].free == 1:
            place_in_treap(state, x)
        x = np.int64(nodes[x].next)


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
        most = max(most, state.nodes[np.int64(state.roots[arena])].most)
    return most


def write_counters(state, row):
    """Write the number of superblocks, of those that streams own, and of those given back so far into ``row``."""
    row[0] = state.pool[SUPERS]
    row[1] = state.pool[TAKEN]
    row[2] = state.pool[GIVEN]
