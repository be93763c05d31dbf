"""Streams, and blocks that other streams still use after they were freed: they wait for events, in order on each stream."""

import numpy as np

from memtrace.engine.request import ENLARGE, NOTHING
from memtrace.structures.bits import lowest_set
from memtrace.structures.caching.blocks import complete_free_apart
from memtrace.structures.caching.model import (
    DONE,
    ENTRIES,
    ENTRY_FRESH,
    ENTRY_SPARE,
    LAST_INDEX,
    LAST_STREAM,
    NEWS,
    PENDING,
    QUEUED,
    SEQUENCE,
    STREAMS,
    lacks_entries,
)
from memtrace.structures.caching.statistics import SYNC_ALL_STREAMS
from memtrace.structures.caching.turns import EVENTS, USES, dissolve, enter, leave, spread, start, stop
from memtrace.structures.calls import apart
from memtrace.structures.ledger import TOLD

NEVER_LATER = 1 << 62


def stream_of(state, stream):
    """The index of a stream; -1 if there is no room for another."""
    at, streams = state.at, state.streams
    if stream == at[LAST_STREAM]:
        return at[LAST_INDEX]
    if 0 <= stream < streams.size and streams[stream].known != 0:
        return np.int64(streams[stream].known) - 1
    return look_stream_up(state, stream)


def rank(stream):
    """Streams are ordered as unsigned numbers."""
    return stream if stream >= 0 else stream + (1 << 33)


@apart
def look_stream_up(state, stream):
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
        streams[at[STREAMS]].spread = spread(stream)
        at[STREAMS] += 1
    at[LAST_STREAM] = stream
    at[LAST_INDEX] = streams[low].ordered
    if 0 <= stream < streams.size:
        streams[stream].known = streams[low].ordered + 1
    return at[LAST_INDEX]


@apart
def record_use(state, handle, stream):
    """A stream uses a block: NOTHING, or ENLARGE."""
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
    """Keep the streams of a block in the order in which they were recorded: an entry each, for the event that will be."""
    nodes, entries = state.nodes, state.entries
    e = new_entry(state)
    entries[e].number = s
    entries[e].next = 0
    if nodes[x].recorded == 0:
        nodes[x].left = e  # a block in use is in no treap: these are the first and the last of its entries
    else:
        entries[nodes[x].right].next = e
    nodes[x].right = e
    nodes[x].recorded = 1


def new_entry(state):
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
    state.entries[e].next = state.at[ENTRY_SPARE]
    state.at[ENTRY_SPARE] = e
    state.at[ENTRIES] -= 1


@apart
def wait_for_streams(state, x):
    """Block x was freed while other streams use it: an event on each of them is waited for."""
    nodes, entries = state.nodes, state.entries
    nodes[x].state = PENDING
    e = np.int64(nodes[x].left)
    if entries[e].next == 0:
        push(state, np.int64(entries[e].number), x)
        drop_entry(state, e)
    else:
        push_by_turns(state, x)
    nodes[x].since = state.at[SEQUENCE]


@apart
def push_by_turns(state, x):
    """Several streams use block x: their events are in the order of the library's table of them."""
    e = np.int64(state.nodes[x].left)
    while e != 0:
        enter(state, USES, np.int64(state.entries[e].number))
        following = np.int64(state.entries[e].next)
        drop_entry(state, e)
        e = following
    for i in range(start(state, USES), stop(state, USES)):
        if state.turns[i] != 0:
            push(state, state.turns[i] - 1, x)
    dissolve(state, USES)


def push(state, s, x):
    """Block x has an event on a stream."""
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
        enter(state, EVENTS, s)
    else:
        entries[streams[s].last].next = e
    streams[s].last = e
    state.at[QUEUED] += 1


def process_events(state):
    """Free the blocks whose events are done; nothing is done that was not told to be."""
    told = state.rules.told
    if told == 1 or (told == 0 and state.ledger[TOLD] == 0):
        pop_events(state, NEVER_LATER)
    elif state.at[NEWS] != 0:
        pop_events(state, state.at[DONE])


@apart
def synchronise(state):
    """Wait for all events, and free their blocks."""
    state.stats[SYNC_ALL_STREAMS] += 1
    pop_events(state, NEVER_LATER)


@apart
def pop_events(state, until):
    """Take the events that are done off each stream, up to its first that is not."""
    turns, streams = state.turns, state.streams
    state.at[NEWS] = 0
    if state.at[QUEUED] == 0:
        return
    i = np.int64(0)
    while i < stop(state, EVENTS):
        s = turns[i] - 1
        if s < 0:
            i += 1
            continue
        last = max(until, streams[s].done)
        while streams[s].first != 0 and state.entries[streams[s].first].number <= last:
            pop(state, s)
        if streams[s].first == 0:
            leave(state, i)  # the next one moves up into its slot
        else:
            i += 1


def pop(state, s):
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
    nodes = state.nodes
    words = state.uses.size // nodes.size
    for i in range(x * words, (x + 1) * words):
        state.uses[i] = 0
    nodes[x].recorded = 0
    if state.node_of[nodes[x].handle] == x:
        state.node_of[nodes[x].handle] = 0
    complete_free_apart(state, x)


@apart
def events_done(state, handle):
    """The stream work of a freed block is done, and what was on its streams before; of all blocks without one (-1)."""
    state.at[NEWS] = 1
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
