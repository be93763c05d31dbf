"""What a caching allocator keeps: blocks, segments, free blocks by stream and pool, pending events, statistics.

A segment's blocks are linked by address. Nodes are numbered; node 0 is no node. A stream has an index by its first use,
and two queues of free blocks: 2 * index for small ones, 2 * index + 1 for large ones.
"""

from typing import Any, NamedTuple

import numpy as np

from memtrace.structures.caching.sizes import DIVISIONS, MIN_LARGE_ALLOC, SMALL_BUFFER
from memtrace.structures.caching.statistics import LENGTH, MAX_SPLIT_SIZE
from memtrace.structures.ledger import new_ledger

LIVE, PENDING, FREE, HOLE, SPARE_NODE, NO_NODE = range(6)  # states of a node; a hole is address space without memory

# places in State.at
FRESH, SPARE, NODES = 0, 1, 2  # first node never used, first spare one, nodes in use
SEGMENT_FRESH, SEGMENT_SPARE, SEGMENTS = 3, 4, 5
FIRST_SEGMENT, LAST_SEGMENT = 6, 7  # by address
STREAMS, LAST_STREAM, LAST_INDEX = 8, 9, 10
SEQUENCE, DONE, QUEUED = 11, 12, 13  # stream events so far, those of them that are done, those that wait
ENTRY_FRESH, ENTRY_SPARE, ENTRIES = 14, 15, 16  # entries in use
DEVICE_USED, NEXT_ADDRESS = 17, 18
SEARCHES = 19  # of small blocks, of large ones: the clock of the ages
HISTORY = 21
MADE = 22  # segments so far
TURN_BITS, TURNS = 23, 25  # of both tables of turns: log2 of the slots, and streams in it
GIVEN = 27  # starts of segments used up of those that were given
NEWS = 28  # 1: stream events were told to be done since the queues were looked at
SMALLEST = 29  # segment of a small pool, of a large one, that there was or may be; bytes
DIVISIONS_AT = 31
AT = DIVISIONS_AT + DIVISIONS

CLASSES = 832  # of sizes, see free_sets
WORDS = CLASSES // 64
ROOTS = CLASSES + 1
FILLED, COUNT = WORDS, WORDS + 1  # places in a row of State.queues
ROW = WORDS + 2
FIRST_STREAMS = 4
FEWEST_BITS = 2  # log2 of the slots of a table of turns
FIRST_SPREAD = 0x15000000  # of stream 0
FIRST_SEGMENTS = 64

NODE = np.dtype(
    (
        np.record,
        np.dtype(
            [
                ("addr", "i8"),
                ("extent", "i8"),
                ("requested", "i8"),
                ("since", "i8"),  # free: searches of its pool when it became so; pending: its last stream event
                ("prev", "u4"),
                ("next", "u4"),
                ("left", "u4"),
                ("right", "u4"),
                ("queue", "u4"),
                ("handle", "u4"),
                ("segment", "u4"),
                ("waits", "u2"),  # stream events that are not done
                ("state", "u1"),
                ("recorded", "u1"),  # 1: other streams use it
            ],
            align=True,
        ),
    )
)
SEGMENT = np.dtype(
    (
        np.record,
        np.dtype(
            [("start", "i8"), ("extent", "i8"), ("number", "i8"), ("queue", "u4"), ("prev", "u4"), ("next", "u4")], align=True
        ),
    )
)
STREAM = np.dtype(
    (
        np.record,
        np.dtype(
            [
                ("number", "i8"),
                ("spread", "i8"),  # where it is in the tables of turns
                ("done", "i8"),  # its last event that is done
                ("known", "u4"),  # of number i: its index + 1; 0: not seen, or none so small
                ("private", "u4"),  # 1: of a private pool, which is not emptied with the others
                ("ordered", "u4"),  # of place i: the index of the stream that is i-th by number
                ("first", "u4"),  # its events
                ("last", "u4"),
            ],
            align=True,
        ),
    )
)
ENTRY = np.dtype((np.record, np.dtype([("number", "i8"), ("node", "u4"), ("next", "u4")], align=True)))
EVENT = np.dtype((np.record, np.dtype([("addr", "i8"), ("extent", "i8"), ("stream", "i8"), ("action", "i8")], align=True)))


class Rules(NamedTuple):
    """The settings, as numbers; sizes in bytes, 1 << 62 for no limit."""

    capacity: int
    device: int  # total memory, by which address space is reserved
    limit: int  # of this process
    collect_from: int  # reserved bytes above which unused segments are collected; -1: never
    max_split: int
    max_rounding: int  # how much larger a block may be that serves an oversize request
    large_buffer: int
    expandable: bool
    reject_from: int  # a request that would reserve more fails without a try to free memory
    first_fit: bool  # the device gives the lowest addresses that are free, else ever higher ones
    by_age: bool  # of equal blocks, the one in the older segment; else the one at the lower address
    told: int  # which stream events are done: 0 what the trace tells, if it does; 1 all at once; 2 what it tells


class State(NamedTuple):
    """Few arrays: a call that is not compiled in passes all of them."""

    nodes: Any
    node_of: Any  # node_of[handle]: the block's node; 0: freed, or never there
    segments: Any
    at: Any  # single numbers, then the divisions by which requests are rounded
    roots: Any  # [queue * ROOTS + class]: treap of free blocks; last in a row: of holes
    queues: Any  # [queue * ROW + word]: which classes have any; then which words have any, and how many blocks
    streams: Any
    turns: Any  # slots of the tables of streams, see turns
    entries: Any
    uses: Any  # bits of the streams that use a block, one or more words a node
    stats: Any
    history: Any
    given: Any  # [2 * i]: start and bytes of the segments to come, as recorded (0 bytes: any); the device gives those first
    ledger: Any
    rules: Rules


def records(count, kind):
    return np.zeros(count, kind).view(np.recarray)


def new_state(rules, max_live, divisions, history):
    at = np.zeros(AT, np.int64)
    at[DIVISIONS_AT:] = divisions
    at[FRESH] = at[SEGMENT_FRESH] = at[ENTRY_FRESH] = 1
    at[STREAMS] = 1  # stream 0 has index 0
    at[TURN_BITS] = at[TURN_BITS + 1] = FEWEST_BITS
    at[SMALLEST], at[SMALLEST + 1] = SMALL_BUFFER, min(MIN_LARGE_ALLOC, rules.large_buffer)
    nodes = records((3 if rules.expandable else 2) * max_live + 64, NODE)
    nodes[0].state = NO_NODE
    streams = records(FIRST_STREAMS, STREAM)
    streams[0].spread = FIRST_SPREAD
    streams[0].known = 1
    stats = np.zeros(LENGTH, np.int64)
    stats[MAX_SPLIT_SIZE] = -1 if rules.max_split >= 1 << 62 else rules.max_split
    return State(
        nodes=nodes,
        node_of=np.zeros(max_live + 1, np.uint32),
        segments=records(FIRST_SEGMENTS, SEGMENT),
        at=at,
        roots=np.zeros(2 * FIRST_STREAMS * ROOTS, np.uint32),
        queues=np.zeros(2 * FIRST_STREAMS * ROW, np.int64),
        streams=streams,
        turns=np.zeros(turn_slots(FIRST_STREAMS), np.int64),
        entries=records(64, ENTRY),
        uses=np.zeros(nodes.size, np.int64),
        stats=stats,
        history=records(1 << 12 if history else 1, EVENT),
        given=np.zeros(0, np.int64),
        ledger=new_ledger(0),
        rules=rules,
    )


def lacks_nodes(state):
    """An empty_cache may cut every free block of an expandable segment in three, and cannot ask for room."""
    return state.at[NODES] * (3 if state.rules.expandable else 1) + 16 > state.nodes.size


def lacks_segments(state):
    return state.at[SEGMENTS] + 4 > state.segments.size


def lacks_history(state):
    """Until the next request every block may be freed and every segment given back."""
    return state.history.size > 1 and state.at[HISTORY] + 4 * state.at[NODES] + 64 > state.history.size


def lacks_room(state):
    return lacks_nodes(state) or lacks_segments(state) or lacks_history(state)


def lacks_entries(state):
    """While a block is freed, it may have an entry for each use and another for each event."""
    return 2 * state.at[ENTRIES] + 8 > state.entries.size


def enlarge(state):
    """Twice of what there is too little of."""
    if lacks_nodes(state):
        words = state.uses.size // state.nodes.size
        nodes = longer(state.nodes, 2 * state.nodes.size)
        state = state._replace(nodes=nodes, uses=longer(state.uses, nodes.size * words))
    if lacks_segments(state):
        state = state._replace(segments=longer(state.segments, 2 * state.segments.size))
    while lacks_history(state):
        state = state._replace(history=longer(state.history, 2 * state.history.size))
    if lacks_entries(state):
        state = state._replace(entries=longer(state.entries, 2 * state.entries.size))
    if state.at[STREAMS] == state.streams.size:
        state = more_streams(state, 2 * state.streams.size)
    return state


def more_streams(state, streams):
    words = -(-streams // 64)
    uses = np.zeros((state.nodes.size, words), np.int64)
    before = state.uses.size // state.nodes.size
    uses[:, :before] = state.uses.reshape(-1, before)
    return state._replace(
        roots=longer(state.roots, 2 * streams * ROOTS),
        queues=longer(state.queues, 2 * streams * ROW),
        streams=longer(state.streams, streams),
        turns=longer(state.turns, turn_slots(streams)),
        uses=uses.ravel(),
    )


def turn_slots(streams):
    return 48 * streams + 192


def longer(array, length):
    """The same with zeros behind."""
    more = np.zeros(length, array.dtype)
    more[: array.size] = array
    return more.view(np.recarray) if isinstance(array, np.recarray) else more
