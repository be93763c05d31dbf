"""Pages inside a heap: a range that is freed stays unused in its page until the page goes back to the heap as a whole.

    |AAAA|..|BBBBBB|............|        a page: A and B are blocks, `..` and the free end are waiting ranges

To the heap a page is a block. Its own blocks and waiting ranges are nodes of the heap's list, and its last node, which is never
dropped, identifies the page. A new block is placed in the page's free end. A freed block becomes a waiting range, and coalesces
with the waiting ranges beside it in its page; in the ledger a waiting range is a hole. The pages of a tag form a region (see the
policy ``region``). The state has the fields ``places`` and ``totals`` besides those of a heap.
"""

import numpy as np

from memtrace.contract.calls import out_of_line
from memtrace.contract.largest import follow
from memtrace.contract.ledger import ALLOCATED, MERGES, SPLITS, close_hole, open_hole, resize_hole
from memtrace.structures.heap import drop_node, link, new_node, unlink

PAGE_BYTES, REGIONS, WAITING_HOLES = 0, 1, 2  # in totals: bytes of all pages; regions with live blocks; waiting ranges

PLACE = np.dtype(
    (
        np.record,
        np.dtype(
            [
                ("page", "u4"),  # the page that the node is in, identified by the page's last node
                ("waits", "u4"),  # 1: the node is a waiting range
                ("older", "u4"),  # of a page's last node: the next page in the region's list; 0 for the last page
            ]
        ),
    )
)


def end_of(nodes, x):
    """Return the address behind the last byte of node x."""
    return nodes[x].addr + nodes[x].extent


def place_in_page(state, page, address, size, handle):
    """Place the block ``handle`` of ``size`` bytes at ``address`` in the free end of ``page``; return the address behind it.

    A gap in front of the block becomes a waiting range. A rest behind it below ``rules.split`` becomes part of the
    block, whose node is then the page's last.
    """
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
    if rest >= state.rules.split:
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
    """Make node x a waiting range, and count it as a hole."""
    state.places[x].waits = 1
    state.totals[WAITING_HOLES] += 1
    open_hole(state.ledger, state.nodes[x].extent)
    follow(state.ledger, state.nodes[x].extent, 1)


def drop_waiting(state, x):
    """Make node x no waiting range any more, and stop counting it as a hole."""
    state.places[x].waits = 0
    state.totals[WAITING_HOLES] -= 1
    close_hole(state.ledger, state.nodes[x].extent)
    follow(state.ledger, state.nodes[x].extent, -1)


def change_waiting(state, x, address, size):
    """Change the waiting range x to ``address`` and ``size`` bytes, in its node and the ledger."""
    resize_hole(state.ledger, state.nodes[x].extent, size)
    follow(state.ledger, state.nodes[x].extent, -1)
    follow(state.ledger, size, 1)
    state.nodes[x].addr = address
    state.nodes[x].extent = size


@out_of_line
def free_within_page(state, x):
    """Make the freed block x a waiting range, and coalesce it with the waiting ranges beside it in its page.

    Of two nodes that are joined the upper one stays, so a page keeps its last node. The caller has subtracted the block from
    ALLOCATED.
    """
    nodes, places = state.nodes, state.places
    page, after = places[x].page, nodes[x].next
    if places[after].waits == 1 and places[after].page == page:
        extend_down(state, after, x)
        x = after
    else:
        add_waiting(state, x)
    before = nodes[x].prev
    if places[before].waits == 1 and places[before].page == page:
        drop_waiting(state, before)
        extend_down(state, x, before)


def extend_down(state, x, before):
    """Extend the waiting range x downward over the node ``before``, directly below it, and drop that node."""
    nodes = state.nodes
    change_waiting(state, x, nodes[before].addr, nodes[x].extent + nodes[before].extent)
    unlink(nodes, before)
    drop_node(state, before)
    state.ledger[MERGES] += 1


def shrink(state, x, size, handle):
    """Cut block x to ``size`` bytes; the rest becomes a waiting range.

    Nothing changes if the rest is below ``rules.split``. The block gets a new node, and the rest keeps node x, which may be
    the last of the page.
    """
    nodes, ledger = state.nodes, state.ledger
    rest = nodes[x].extent - size
    if rest < state.rules.split:
        return
    block = new_node(state, nodes[x].addr, size)
    link(nodes, block, nodes[x].prev, x)
    state.places[block].page = state.places[x].page
    state.node_of[handle] = block
    nodes[x].addr += size
    nodes[x].extent = rest
    ledger[ALLOCATED] -= rest
    ledger[SPLITS] += 1
    free_within_page(state, x)


def grow(state, x, page, size, handle):
    """Grow block x to ``size`` bytes into the free end of ``page``, directly behind it; return the address behind the block.

    A rest below ``rules.split`` becomes part of the block, whose node is then the page's last.
    """
    nodes, ledger = state.nodes, state.ledger
    missing = size - nodes[x].extent
    rest = nodes[page].extent - missing
    if rest >= state.rules.split:
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
