"""Streams, and blocks that other streams still use after they were freed.

Such a block becomes pending: for each stream that uses it, an event joins that stream's queue, and the block is free when all its
events are done. The events of one stream are done in order. A stream has a number, as in the trace, and an index, in the order of
first use.
"""

import numpy as np

from memtrace.contract.bits import lowest_set
from memtrace.contract.calls import out_of_line
from memtrace.contract.ledger import HAS_COMPLETIONS
from memtrace.contract.request import ENLARGE, NOTHING
from memtrace.structures.caching.blocks import complete_free_out_of_line
from memtrace.structures.caching.state import (
    DONE,
    ENTRIES,
    ENTRY_FRESH,
    ENTRY_SPARE,
    EVENTS_REPORTED,
    LAST_INDEX,
    LAST_STREAM,
    PENDING,
    QUEUED,
    SEQUENCE,
    STREAMS,
    lacks_entries,
)
from memtrace.structures.caching.statistics import SYNC_ALL_STREAMS
from memtrace.structures.caching.stream_tables import (
    EVENTS,
    USES,
    clear_table,
    insert_stream,
    remove_slot,
    stream_hash,
    table_end,
    table_start,
)

NEVER_LATER = 1 << 62  # above the number of every stream event


def stream_of(state, stream):
    """Return the index of the stream with number ``stream``, and add the stream if it is new.

    Returns -1 if it is new and the arrays have no room for it.
    """
    at, streams = state.at, state.streams
    if stream == at[LAST_STREAM]:
        return at[LAST_INDEX]
    if 0 <= stream < streams.size and streams[stream].known != 0:
        return np.int64(streams[stream].known) - 1
    return look_stream_up(state, stream)


def rank(stream):
    """Return the sort key of a stream's number: streams are ordered as unsigned numbers."""
    return stream if stream >= 0 else stream + (1 << 33)


@out_of_line
def look_stream_up(state, stream):
    """Return the index of the stream with number ``stream`` by binary search, and add the stream if it is new.

    Returns -1 if it is new and ``state.streams`` is full. Caches the answer for ``stream_of``.
    """
    at, streams = state.at, state.streams
    low, high = np.int64(0), at[STREAMS]
    while low < high:
        middle = (low + high) >> 1
        if rank(streams[streams[middle].ordered].number) < rank(stream):
            low = middle + 1
        else:
            high = middle
    if low == at[STREAMS] or streams[streams[low].ordered].number != stream:
        if at[STREAMS] == streams.size:
            return np.int64(-1)
        for i in range(at[STREAMS], low, -1):
            streams[i].ordered = streams[i - 1].ordered
        streams[low].ordered = at[STREAMS]
        streams[at[STREAMS]].number = stream
        streams[at[STREAMS]].spread = stream_hash(stream)
        at[STREAMS] += 1
    at[LAST_STREAM] = stream
    at[LAST_INDEX] = streams[low].ordered
    if 0 <= stream < streams.size:
        streams[stream].known = streams[low].ordered + 1
    return at[LAST_INDEX]


@out_of_line
def record_use(state, handle, stream):
    """Record that stream ``stream`` (a number) uses the block of ``handle``; return NOTHING, or ENLARGE if arrays lack room.

    A use by the block's own stream, a repeated use, and a handle without a block change nothing.
    """
    nodes = state.nodes
    x = np.int64(state.node_of[handle])
    s = stream_of(state, stream)
    if s < 0 or lacks_entries(state):
        return ENLARGE
    if x == 0 or s == nodes[x].queue >> 1:
        return NOTHING
    words = state.uses.size // nodes.size
    i, bit = x * words + (s >> 6), np.int64(1) << (s & 63)
    if state.uses[i] & bit == 0:
        state.uses[i] |= bit
        note_use(state, x, s)
    return NOTHING


def note_use(state, x, s):
    """Append an entry for the stream with index s to the uses of live block x.

    The entries keep the order in which uses were recorded, since the order of the events depends on it.
    """
    nodes, entries = state.nodes, state.entries
    e = new_entry(state)
    entries[e].number = s
    entries[e].next = 0
    if nodes[x].recorded == 0:
        nodes[x].left = e  # a live block is in no treap, so left and right are its first and its last entry
    else:
        entries[nodes[x].right].next = e
    nodes[x].right = e
    nodes[x].recorded = 1


def new_entry(state):
    """Return the index of a spare or never used entry; ``state.entries`` must have room."""
    at, entries = state.at, state.entries
    at[ENTRIES] += 1
    e = at[ENTRY_SPARE]
    if e != 0:
        at[ENTRY_SPARE] = entries[e].next
    else:
        e = at[ENTRY_FRESH]
        at[ENTRY_FRESH] = e + 1
    return e


def drop_entry(state, e):
    """Put entry e on the list of spare entries."""
    state.entries[e].next = state.at[ENTRY_SPARE]
    state.at[ENTRY_SPARE] = e
    state.at[ENTRIES] -= 1


@out_of_line
def wait_for_streams(state, x):
    """Make block x, which was freed while other streams use it, pending: queue an event on each of these streams."""
    nodes, entries = state.nodes, state.entries
    nodes[x].state = PENDING
    e = np.int64(nodes[x].left)
    if entries[e].next == 0:
        push(state, np.int64(entries[e].number), x)
        drop_entry(state, e)
    else:
        push_in_table_order(state, x)
    nodes[x].since = state.at[SEQUENCE]


@out_of_line
def push_in_table_order(state, x):
    """Queue an event for block x on each of the several streams that use it, in the order in which PyTorch visits them.

    This order is that of a hash table of streams (see stream_tables), which is filled for the purpose and then cleared.
    """
    e = np.int64(state.nodes[x].left)
    while e != 0:
        insert_stream(state, USES, np.int64(state.entries[e].number))
        following = np.int64(state.entries[e].next)
        drop_entry(state, e)
        e = following
    for i in range(table_start(state, USES), table_end(state, USES)):
        if state.turns[i] != 0:
            push(state, state.turns[i] - 1, x)
    clear_table(state, USES)


def push(state, s, x):
    """Append an event that block x waits for to the queue of the stream with index s."""
    entries, streams = state.entries, state.streams
    state.at[SEQUENCE] += 1
    state.nodes[x].waits += 1
    number = state.at[SEQUENCE]
    e = new_entry(state)
    entries[e].number = number
    entries[e].node = x
    entries[e].next = 0
    if streams[s].first == 0:
        streams[s].first = e
        insert_stream(state, EVENTS, s)
    else:
        entries[streams[s].last].next = e
    streams[s].last = e
    state.at[QUEUED] += 1


def process_events(state):
    """Complete the free of blocks whose events are done.

    Depending on the option ``events`` and on whether the trace has complete rows, all events count as done, or only those that
    the trace has reported as done.
    """
    told = state.rules.told
    if told == 1 or (told == 0 and state.ledger[HAS_COMPLETIONS] == 0):
        pop_events(state, NEVER_LATER)
    elif state.at[EVENTS_REPORTED] != 0:
        pop_events(state, state.at[DONE])


@out_of_line
def synchronise(state):
    """Take all stream events as done and complete the free of every pending block."""
    state.stats[SYNC_ALL_STREAMS] += 1
    pop_events(state, NEVER_LATER)


@out_of_line
def pop_events(state, until):
    """Take the events that are done off the queue of each stream, up to its first that is not done, and free their blocks.

    Events are done up to number ``until`` on every stream, and up to ``done`` of the stream itself. Streams are visited in the
    order of the table EVENTS.
    """
    turns, streams = state.turns, state.streams
    state.at[EVENTS_REPORTED] = 0
    if state.at[QUEUED] == 0:
        return
    i = np.int64(0)
    while i < table_end(state, EVENTS):
        s = turns[i] - 1
        if s < 0:
            i += 1
            continue
        last = max(until, streams[s].done)
        while streams[s].first != 0 and state.entries[streams[s].first].number <= last:
            pop(state, s)
        if streams[s].first == 0:
            remove_slot(state, i)  # the next stream moves up into slot i
        else:
            i += 1


def pop(state, s):
    """Take the first event off the queue of the stream with index s; a block that waits for no other becomes free."""
    at, entries, nodes = state.at, state.entries, state.nodes
    e = np.int64(state.streams[s].first)
    x = np.int64(entries[e].node)
    state.streams[s].first = entries[e].next
    drop_entry(state, e)
    at[QUEUED] -= 1
    nodes[x].waits -= 1
    if nodes[x].waits == 0:
        end_wait(state, x)


def end_wait(state, x):
    """Make pending block x free: clear the record of its uses and complete its free."""
    nodes = state.nodes
    words = state.uses.size // nodes.size
    for i in range(x * words, (x + 1) * words):
        state.uses[i] = 0
    nodes[x].recorded = 0
    if state.node_of[nodes[x].handle] == x:
        state.node_of[nodes[x].handle] = 0
    complete_free_out_of_line(state, x)


@out_of_line
def events_done(state, handle):
    """Report that the stream work of the freed block of ``handle`` is done, and with it all earlier work on its streams.

    With handle -1 the work of all blocks that were freed so far is done. The blocks become free at the next ``process_events``. A
    handle whose block is not pending changes nothing.
    """
    state.at[EVENTS_REPORTED] = 1
    if handle < 0:
        state.at[DONE] = state.at[SEQUENCE]
        return
    x = np.int64(state.node_of[handle])
    if x == 0 or state.nodes[x].state != PENDING:
        return
    words = state.uses.size // state.nodes.size
    for word in range(words):
        bits = state.uses[x * words + word]
        while bits != 0:
            s = (word << 6) + lowest_set(bits)
            bits &= bits - 1
            state.streams[s].done = max(state.streams[s].done, state.nodes[x].since)
