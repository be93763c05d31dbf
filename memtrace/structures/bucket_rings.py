"""Index of a heap's holes by powers of two: a ring for each, which holes enter at the end, and a bitmap of the rings in use.

The head of a ring is where the next search begins. A hole that goes hands the head on to the one behind it, and a search may move
the head: then the ring's end moves with it. Sizes are counted in units; a hole of less than ``least`` units is in no ring.
"""

from typing import NamedTuple

import numpy as np

from memtrace.contract.bits import highest_set, lowest_set
from memtrace.contract.largest import follow, follow_largest
from memtrace.contract.ledger import INSPECTED, new_ledger
from memtrace.structures.heap import FRESH
from memtrace.structures.hole_list import largest_hole as largest_hole  # all holes are looked at if it is not known
from memtrace.structures.rules import Rules, heap_rules

UNIT = 8  # bytes

NODE = np.dtype(
    (
        np.record,
        np.dtype(
            [
                ("addr", "i8"),  # address of the block or hole
                ("extent", "i8"),  # its bytes
                ("prev", "u4"),  # neighbours in the heap's list by address
                ("next", "u4"),
                ("free", "u4"),  # 1: a hole; 0: a block
                ("ahead", "u4"),  # next hole of the ring
                ("behind", "u4"),  # previous hole of the ring
            ],
            align=True,
        ),
    )
)


class State(NamedTuple):
    """State of a heap whose holes are in rings by powers of two."""

    nodes: np.ndarray  # nodes[node]: a NODE record of a block or hole; node 0 closes the heap's list by address
    node_of: np.ndarray  # node_of[handle]: the block's node
    pool: np.ndarray  # first fresh node and first spare node: see heap.FRESH and heap.SPARE
    heads: np.ndarray  # heads[bucket]: the hole at which a search begins; 0 if the ring is empty
    words: np.ndarray  # one word: the buckets whose rings are not empty
    ledger: np.ndarray  # see ledger
    rules: Rules
    least: int  # units of the smallest hole in a ring
    tries: int  # holes of the request's own bucket that a search looks at


def new_state(capacity, max_live, least, tries, **options):
    """Return the state of a heap without blocks and holes; ``options`` are those of ``heap_rules``."""
    pool = np.zeros(2, np.int64)
    pool[FRESH] = 1
    state = State(
        np.zeros(2 * max_live + 8, NODE).view(np.recarray),
        np.zeros(max_live + 1, np.uint32),
        pool,
        np.zeros(64, np.uint32),
        np.zeros(1, np.int64),
        new_ledger(0),
        heap_rules(capacity, **options),
        least,
        tries,
    )
    follow_largest(state.ledger)
    return state


def bucket_of(state, size):
    """Return the bucket of a hole of ``size`` bytes, which has at least ``least`` units."""
    return highest_set(size // UNIT - state.least + 1)


def insert(state, x):
    """Insert node x, a new hole, at the end of the ring of its bucket."""
    nodes, heads, size = state.nodes, state.heads, state.nodes[x].extent
    follow(state.ledger, size, 1)
    if size // UNIT < state.least:
        return
    bucket = bucket_of(state, size)
    head = heads[bucket]
    if head == 0:
        heads[bucket] = x
        state.words[0] |= np.int64(1) << bucket
        nodes[x].ahead = x
        nodes[x].behind = x
        return
    last = nodes[head].behind
    nodes[x].behind = last
    nodes[x].ahead = head
    nodes[last].ahead = x
    nodes[head].behind = x


def remove(state, x):
    """Remove hole x from its ring, whose head becomes the hole behind x, whichever hole it was."""
    nodes, size = state.nodes, state.nodes[x].extent
    follow(state.ledger, size, -1)
    if size // UNIT < state.least:
        return
    bucket = bucket_of(state, size)
    ahead, behind = nodes[x].ahead, nodes[x].behind
    if ahead == x:
        state.heads[bucket] = 0
        state.words[0] &= ~(np.int64(1) << bucket)
        return
    state.heads[bucket] = ahead
    nodes[behind].ahead = ahead
    nodes[ahead].behind = behind


def move(state, x, address, size):
    """Change hole x to ``address`` and ``size`` bytes; it goes to the end of the ring of its bucket, even if that is the same."""
    remove(state, x)
    state.nodes[x].addr = address
    state.nodes[x].extent = size
    insert(state, x)


def find(state, size):
    """Return a hole for ``size`` bytes, as a node; 0 if none is found, though there may be one. Count the holes looked at.

    Up to ``tries`` holes of the bucket of the size are looked at, and each that is too small moves the head on for good. Then
    the head of the first larger bucket serves the request.
    """
    nodes, ledger, bucket = state.nodes, state.ledger, bucket_of(state, size)
    first, left = state.heads[bucket], state.tries
    while first != 0 and left > 0:
        x = state.heads[bucket]
        ledger[INSPECTED] += 1
        if nodes[x].extent >= size:
            return np.int64(x)
        state.heads[bucket] = nodes[x].ahead
        left -= 1
        if nodes[x].ahead == first:
            break
    larger = state.words[0] & (np.int64(-2) << bucket)
    if larger == 0:
        return np.int64(0)
    ledger[INSPECTED] += 1
    return np.int64(state.heads[lowest_set(larger)])
