"""Blocks of a caching allocator: they are split when they are handed out, and coalesced with free neighbours when freed.

A block is a node, which is a record in ``state.nodes``, linked with its neighbours by address in the same segment. Node 0 is the
sentinel for "no node". A queue is ``2 * stream index + pool``, where pool is 0 for small blocks and 1 for large ones. What
happens is also written to the event history of the allocator, as PyTorch's memory history has it, if the option asks for it.
"""

import numpy as np

from memtrace.contract.calls import out_of_line
from memtrace.contract.ledger import ALLOCATED, MERGES, SPLITS
from memtrace.structures.caching.free_sets import insert_free, remove_free
from memtrace.structures.caching.state import FREE, FRESH, HISTORY, LIVE, NODES, NODES_MADE, SPARE, SPARE_NODE, UNSPLIT
from memtrace.structures.caching.statistics import (
    ACTIVE,
    ACTIVE_BYTES,
    ALLOCATED_BYTES,
    ALLOCATION,
    INACTIVE_SPLIT,
    INACTIVE_SPLIT_BYTES,
    OVERSIZE_ALLOCATIONS,
    REQUESTED_BYTES,
    change,
    fall,
    rise,
    rise_one,
)
from memtrace.structures.caching.versions import OLDEST_OBJECT, OLDEST_SEGMENT

ACTIONS = (
    "alloc",
    "free_requested",
    "free_completed",
    "segment_alloc",
    "segment_free",
    "segment_map",
    "segment_unmap",
    "oom",
)
ALLOC, FREE_REQUESTED, FREE_COMPLETED, SEGMENT_ALLOC, SEGMENT_FREE, SEGMENT_MAP, SEGMENT_UNMAP, OOM = range(8)


def record_event(state, action, address, size, stream_index):
    """Append an event to the history, if one is kept.

    ``action`` is a code (ALLOC ... OOM), ``address`` the start of the block or range (of an OOM the free bytes of the device),
    ``size`` in bytes.
    """
    if state.history.size > 1:
        append_event(state, action, address, size, stream_index)


@out_of_line
def append_event(state, action, address, size, stream_index):
    """Append an event to the history, which has room, with the stream's number in place of its index.

    The arguments are those of ``record_event``.
    """
    i = state.at[HISTORY]
    entry = state.history[i]
    entry.action = action
    entry.addr = address
    entry.extent = size
    entry.stream = state.streams[stream_index].number
    state.at[HISTORY] = i + 1


def events(state):
    """Return the history so far as a list of (action name, address, size, stream number).

    Sizes are in bytes as PyTorch records them: of a block what was requested, of an ``oom`` the rounded request.
    """
    return [
        (ACTIONS[int(entry["action"])], int(entry["addr"]), int(entry["extent"]), int(entry["stream"]))
        for entry in np.asarray(state.history)[: int(state.at[HISTORY])]
    ]


SMALLEST_REST = 1 << 20  # bytes: a large block is not split if the rest would be this size or smaller


def new_node(state, address, extent, queue, segment):
    """Return the index of a node for ``extent`` bytes at ``address``, in the segment with index ``segment`` and of ``queue``.

    The node comes from the list of spare nodes, or else has never been used; ``state.nodes`` must have room. The caller sets the
    node's links and its state.
    """
    at, nodes = state.at, state.nodes
    x = at[SPARE]
    if x != 0:
        at[SPARE] = nodes[x].next
    else:
        x = at[FRESH]
        at[FRESH] = x + 1
    at[NODES] += 1
    nodes[x].addr = address
    nodes[x].extent = extent
    nodes[x].queue = queue
    nodes[x].segment = segment
    nodes[x].number = age_rank(state, segment)
    nodes[x].recorded = 0
    nodes[x].waits = 0
    return x


def age_rank(state, segment):
    """Return the age rank of a new node in the segment with this index, by the rule for equal free blocks."""
    if state.rules.ties == OLDEST_SEGMENT:
        return state.segments[segment].number
    state.at[NODES_MADE] += 1
    return state.at[NODES_MADE] if state.rules.ties == OLDEST_OBJECT else np.int64(0)


def drop_node(state, x):
    """Put node x on the list of spare nodes; the caller has already unlinked it from its neighbours."""
    state.nodes[x].next = state.at[SPARE]
    state.nodes[x].state = SPARE_NODE
    state.at[SPARE] = x
    state.at[NODES] -= 1


def link_behind(nodes, x, y):
    """Insert node y directly behind node x in the address-ordered list of their segment."""
    after = nodes[x].next
    nodes[y].prev = x
    nodes[y].next = after
    nodes[x].next = y
    if after != 0:
        nodes[after].prev = y


def is_split(nodes, x):
    """Return whether block x is only a part of its segment, which means that it has a neighbour on at least one side."""
    return nodes[x].prev != 0 or nodes[x].next != 0


def splits(rules, queue, size, rest):
    """Return whether a block is split if a request of ``size`` bytes would leave ``rest`` bytes of it.

    In the small pool, and with expandable segments, any rest is split off. Otherwise a block is split only if the request is not
    oversize (below ``max_split``) and the rest is larger than SMALLEST_REST.
    """
    if queue & 1 == 0 or rules.expandable:
        return rest > 0
    return size < rules.max_split and rest > SMALLEST_REST


def hand_out(state, x, size, requested, handle):
    """Make free block x a live block of at least ``size`` bytes for ``handle``, and return its address.

    The caller has already taken x out of the free set. If x is split, it keeps the low end and the rest becomes a free block,
    which keeps the age of x: for PyTorch the rest is the old object, and the front part a new one.
    ``size`` is the rounded request in bytes, ``requested`` the request before it was rounded. Updates ledger, statistics and
    history.
    """
    nodes, stats, rules = state.nodes, state.stats, state.rules
    queue = np.int64(nodes[x].queue)
    pool = queue & 1
    extent = nodes[x].extent
    whole = not is_split(nodes, x)
    if splits(rules, queue, size, extent - size) and not state.streams[queue >> 1].private & UNSPLIT:
        y = new_node(state, nodes[x].addr + size, extent - size, queue, nodes[x].segment)
        link_behind(nodes, x, y)
        nodes[x].extent = size
        nodes[x].number, nodes[y].number = nodes[y].number, nodes[x].number
        insert_free(state, y)
        state.ledger[SPLITS] += 1
        if not rules.expandable:
            if whole:
                rise(stats, INACTIVE_SPLIT, pool, 1)
                rise(stats, INACTIVE_SPLIT_BYTES, pool, extent - size)
            else:
                fall(stats, INACTIVE_SPLIT_BYTES, pool, size)
        extent = size
    elif not whole and not rules.expandable:
        fall(stats, INACTIVE_SPLIT, pool, 1)
        fall(stats, INACTIVE_SPLIT_BYTES, pool, extent)
    nodes[x].state = LIVE
    nodes[x].requested = requested
    nodes[x].handle = handle
    state.node_of[handle] = x
    state.ledger[ALLOCATED] += extent
    rise(stats, ALLOCATION, pool, 1)
    rise(stats, ALLOCATED_BYTES, pool, extent)
    rise(stats, ACTIVE, pool, 1)
    rise(stats, ACTIVE_BYTES, pool, extent)
    rise(stats, REQUESTED_BYTES, pool, requested)
    if extent >= rules.max_split:
        rise_one(stats, OVERSIZE_ALLOCATIONS, 1)
    record_event(state, ALLOC, nodes[x].addr, requested, queue >> 1)
    return nodes[x].addr


def request_free(state, x):
    """Record that the program freed block x, in the ledger, the statistics and the history.

    The block stays active until ``complete_free``, because other streams may still use it.
    """
    nodes, stats = state.nodes, state.stats
    queue, extent = np.int64(nodes[x].queue), nodes[x].extent
    state.ledger[ALLOCATED] -= extent
    fall(stats, ALLOCATION, queue & 1, 1)
    fall(stats, ALLOCATED_BYTES, queue & 1, extent)
    record_event(state, FREE_REQUESTED, nodes[x].addr, nodes[x].requested, queue >> 1)
    if extent >= state.rules.max_split:
        stats[OVERSIZE_ALLOCATIONS] -= 1


def complete_free(state, x):
    """Make block x free, coalesce it with the free blocks beside it, and put the result into the free set.

    Node x stays the node of the result. No stream may use the block any more. Updates ledger, statistics and history.
    """
    nodes, stats = state.nodes, state.stats
    queue = np.int64(nodes[x].queue)
    pool = queue & 1
    extent = nodes[x].extent
    record_event(state, FREE_COMPLETED, nodes[x].addr, nodes[x].requested, queue >> 1)
    fall(stats, ACTIVE, pool, 1)
    fall(stats, ACTIVE_BYTES, pool, extent)
    fall(stats, REQUESTED_BYTES, pool, nodes[x].requested)
    joined, swallowed = join_neighbours(state, x)
    insert_free(state, x)
    state.ledger[MERGES] += joined
    if not state.rules.expandable:
        if is_split(nodes, x):
            change(stats, INACTIVE_SPLIT, pool, 1 - joined)
            change(stats, INACTIVE_SPLIT_BYTES, pool, extent)
        else:
            fall(stats, INACTIVE_SPLIT, pool, joined)
            fall(stats, INACTIVE_SPLIT_BYTES, pool, swallowed)


def join_neighbours(state, x):
    """Coalesce node x with the free blocks directly before and behind it; return their number (0 to 2) and their bytes.

    The neighbours leave the free set and their nodes become spare. Node x itself is not put into a free set.
    """
    nodes = state.nodes
    joined, swallowed = np.int64(0), np.int64(0)
    before, after = np.int64(nodes[x].prev), np.int64(nodes[x].next)
    if nodes[before].state == FREE:
        remove_free(state, before)
        joined += 1
        swallowed += nodes[before].extent
        absorb_previous(state, x, before)
    if nodes[after].state == FREE:
        remove_free(state, after)
        joined += 1
        swallowed += nodes[after].extent
        absorb_next(state, x, after)
    return joined, swallowed


@out_of_line
def join_neighbours_out_of_line(state, x):
    """Do the same as ``join_neighbours``, compiled out of line."""
    return join_neighbours(state, x)


@out_of_line
def complete_free_out_of_line(state, x):
    """Do the same as ``complete_free``, compiled out of line."""
    complete_free(state, x)


def absorb_previous(state, x, before):
    """Extend node x down over node ``before``, its direct predecessor by address, and drop that node.

    The predecessor must already be out of the set that it was in. Node x takes the predecessor's address.
    """
    nodes = state.nodes
    nodes[x].addr = nodes[before].addr
    nodes[x].extent += nodes[before].extent
    further = nodes[before].prev
    nodes[x].prev = further
    if further != 0:
        nodes[further].next = x
    drop_node(state, before)


def absorb_next(state, x, after):
    """Extend node x up over node ``after``, its direct successor by address, and drop that node.

    The successor must already be out of the set that it was in.
    """
    nodes = state.nodes
    nodes[x].extent += nodes[after].extent
    further = nodes[after].next
    nodes[x].next = further
    if further != 0:
        nodes[further].prev = x
    drop_node(state, after)
