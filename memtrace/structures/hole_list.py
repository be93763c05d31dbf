"""A heap whose holes are in no index, since no request searches them: only the largest is followed."""

import sys
from typing import NamedTuple

import numpy as np

from memtrace.contract.calls import out_of_line
from memtrace.contract.largest import begin_search, end_search, follow, follow_largest, largest_kept, offer
from memtrace.contract.ledger import HOLES, new_ledger
from memtrace.structures.heap import FRESH, add_initial_hole
from memtrace.structures.rules import Rules, heap_rules

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
            ],
            align=True,
        ),
    )
)


class State(NamedTuple):
    """State of a heap without an index of its holes; the state of bump."""

    nodes: np.ndarray  # nodes[node]: a NODE record of a block or hole; node 0 closes the heap's list
    node_of: np.ndarray  # node_of[handle]: the block's node
    pool: np.ndarray  # first fresh node and first spare node: see heap.FRESH and heap.SPARE
    rover: np.ndarray  # an address that bump keeps from request to request
    ledger: np.ndarray  # see ledger
    rules: Rules


def init(capacity, max_live, **options):
    """Return the state of a heap that is empty but for its initial hole.

    ``capacity`` is in bytes, ``max_live`` is the largest number of blocks alive at once, and ``options`` are those of
    ``heap_rules``. Raises ValueError if an option is invalid.
    """
    rules = heap_rules(capacity, **options)
    pool = np.zeros(2, np.int64)
    pool[FRESH] = 1
    state = State(
        np.zeros(2 * max_live + 8, NODE).view(np.recarray),
        np.zeros(max_live + 1, np.uint32),
        pool,
        np.full(1, options.get("base", 0), np.int64),
        new_ledger(rules.floor),
        rules,
    )
    follow_largest(state.ledger)
    add_initial_hole(state, options.get("initial", 0), sys.modules[__name__])
    return state


def insert(state, x):
    """Follow the largest hole as node x becomes a hole."""
    follow(state.ledger, state.nodes[x].extent, 1)


def remove(state, x):
    """Follow the largest hole as hole x goes."""
    follow(state.ledger, state.nodes[x].extent, -1)


def move(state, x, address, size):
    """Change hole x to ``address`` and ``size`` bytes, and follow the largest hole."""
    remove(state, x)
    state.nodes[x].addr = address
    state.nodes[x].extent = size
    insert(state, x)


@out_of_line
def largest_hole(state):
    """Return the bytes of the largest hole; 0 if there is none. If it is not known, all nodes are looked at."""
    nodes, ledger = state.nodes, state.ledger
    most = largest_kept(ledger)
    if most > 0 or ledger[HOLES] == 0:
        return most
    begin_search(ledger)
    x = np.int64(nodes[0].next)
    while x != 0:
        if nodes[x].free == 1:
            offer(ledger, nodes[x].extent)
        x = np.int64(nodes[x].next)
    return end_search(ledger, 1)
