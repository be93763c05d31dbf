"""Pages inside a heap whose blocks and free ranges are kept to themselves, until the page is given back as a whole.

    |AAAA|..|BBBBBB|............|        a page: `..` and the rest wait; the last node is never dropped

A page is a block to the heap around it, and is called by its last node. Its blocks are placed in its free end; a freed
block waits, one with the waiting ranges beside it. What waits is a hole in the ledger. The state has ``places`` and ``totals``,
and ``sizes`` for ``census``, beside what a heap needs.
"""

import numpy as np

from memtrace.structures import census
from memtrace.structures.calls import apart
from memtrace.structures.heap import drop_node, link, new_node, unlink
from memtrace.structures.ledger import ALLOCATED, MERGES, SPLITS, close_hole, open_hole, resize_hole

HELD, REGIONS, WAITING_HOLES = 0, 1, 2  # in totals: bytes of all pages, regions with blocks, waiting ranges

PLACE = np.dtype(
    (
        np.record,
        np.dtype(
            [
                ("page", "u4"),  # the last node of the page that the node is in: a page is called by it, for it stays
                ("waits", "u4"),  # 1: free within its region
                ("older", "u4"),  # of a page: the region's next one
            ]
        ),
    )
)


def end_of(nodes, x):
    return nodes[x].addr + nodes[x].extent


def put(state, page, address, size, handle):
    """Place a block in the free end of a page; where it ends is returned."""
    nodes, ledger, places = state.nodes, state.ledger, state.places
    x = page
    if address > nodes[x].addr:
        start = nodes[x].addr
        rest = end_of(nodes, x) - address
        change_waiting(state, x, address, rest)
        before = new_node(state, start, address - start)
        link(nodes, before, nodes[x].prev, x)
        places[before].page = page
        add_waiting(state, before)
        ledger[SPLITS] += 1
    rest = nodes[x].extent - size
    if rest >= state.rules.min_block:
        change_waiting(state, x, address + size, rest)
        block = new_node(state, address, size)
        link(nodes, block, nodes[x].prev, x)
        places[block].page = page
        ledger[SPLITS] += 1
    else:
        block, size = x, nodes[x].extent
        drop_waiting(state, x)
    state.node_of[handle] = block
    ledger[ALLOCATED] += size
    return address + size


def add_waiting(state, x):
    state.places[x].waits = 1
    state.totals[WAITING_HOLES] += 1
    open_hole(state.ledger, state.nodes[x].extent)
    census.insert(state, x)


def drop_waiting(state, x):
    state.places[x].waits = 0
    state.totals[WAITING_HOLES] -= 1
    close_hole(state.ledger, state.nodes[x].extent)
    census.remove(state, x)


def change_waiting(state, x, address, size):
    resize_hole(state.ledger, state.nodes[x].extent, size)
    census.move(state, x, address, size)


@apart
def wait(state, x):
    """Node x is free within its region: one with the free ranges beside it in its page. The upper of two nodes stays."""
    nodes, places = state.nodes, state.places
    page, after = places[x].page, nodes[x].next
    if places[after].waits == 1 and places[after].page == page:
        swallow(state, after, x)
        x = after
    else:
        add_waiting(state, x)
    before = nodes[x].prev
    if places[before].waits == 1 and places[before].page == page:
        drop_waiting(state, before)
        swallow(state, x, before)


def swallow(state, x, before):
    """The waiting range x takes in the node below it."""
    nodes = state.nodes
    change_waiting(state, x, nodes[before].addr, nodes[x].extent + nodes[before].extent)
    unlink(nodes, before)
    drop_node(state, before)
    state.ledger[MERGES] += 1


def shrink(state, x, size, handle):
    """Cut the tail off, which waits. The node of the block stays with the tail: it may be the page's last."""
    nodes, ledger = state.nodes, state.ledger
    rest = nodes[x].extent - size
    if rest < state.rules.min_block:
        return
    block = new_node(state, nodes[x].addr, size)
    link(nodes, block, nodes[x].prev, x)
    state.places[block].page = state.places[x].page
    state.node_of[handle] = block
    nodes[x].addr += size
    nodes[x].extent = rest
    ledger[ALLOCATED] -= rest
    ledger[SPLITS] += 1
    wait(state, x)


def grow(state, x, page, size, handle):
    """Block x takes what it lacks from the free end of its page, which follows it; where it ends is returned."""
    nodes, ledger = state.nodes, state.ledger
    missing = size - nodes[x].extent
    rest = nodes[page].extent - missing
    if rest >= state.rules.min_block:
        change_waiting(state, page, nodes[page].addr + missing, rest)
        nodes[x].extent = size
        ledger[SPLITS] += 1
    else:
        missing += rest
        drop_waiting(state, page)
        nodes[page].addr = nodes[x].addr
        nodes[page].extent += nodes[x].extent
        unlink(nodes, x)
        drop_node(state, x)
        state.node_of[handle] = page
        x = page
    ledger[ALLOCATED] += missing
    return end_of(nodes, x)
