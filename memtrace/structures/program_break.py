"""A heap that grows by moving the program's break, as `sbrk` does: reserved is what lies below the break."""

from memtrace.contract.calls import out_of_line
from memtrace.contract.ledger import ALLOCATED, HOLE_TAKEN, RESERVE_CALLS, RESERVED, SPLITS, close_hole
from memtrace.contract.request import NOWHERE
from memtrace.structures.heap import change_hole, link, new_node


def break_limit(capacity, pool):
    """Return the address above which the break cannot go: the option `pool`, or the capacity where it is 0.

    Raises ValueError for a pool above the capacity.
    """
    if pool < 0 or pool > capacity:
        raise ValueError(f"pool={pool} is not from 0 to the capacity of {capacity} bytes")
    return pool or capacity


@out_of_line
def move_break(state, start, size, handle):
    """Move the break to the end of a block of ``size`` bytes at ``start``, and place the block there; return its start.

    Return NOWHERE if the break cannot go there. A hole below the break is not used.
    """
    ledger = state.ledger
    if start + size > state.rules.limit[0]:
        return NOWHERE
    ledger[RESERVED] = start + size
    ledger[RESERVE_CALLS] += 1
    x = new_node(state, start, size)
    link(state.nodes, x, state.nodes[0].prev, 0)
    state.node_of[handle] = x
    ledger[ALLOCATED] += size
    return start


def place_behind(state, x, size, handle, index):
    """Place the block ``handle`` of ``size`` bytes at the end of hole x; return the block's start.

    What is in front of it stays a hole if it has ``rules.split`` bytes; else the block takes the whole hole.
    """
    nodes, ledger = state.nodes, state.ledger
    start, extent = nodes[x].addr, nodes[x].extent
    ledger[HOLE_TAKEN] = extent
    rest = extent - size
    if rest >= state.rules.split:
        change_hole(state, x, start, rest, index)
        start += rest
        y = new_node(state, start, size)
        link(nodes, y, x, nodes[x].next)
        ledger[SPLITS] += 1
    else:
        y, size = x, extent
        close_hole(ledger, size)
        index.remove(state, x)
        nodes[x].free = 0
    state.node_of[handle] = y
    ledger[ALLOCATED] += size
    return start
