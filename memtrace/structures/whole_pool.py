"""A pool that a heap takes whole: how large it is, and the blocks and holes that it begins with.

The heaps of embedded systems are given a range of memory once. They put their control structures into it, and serve requests from
the rest. Addresses are offsets from the pool's start. All functions work on the nodes of ``structures.heap``.

    0            first                                  end    pool
     | control  |.......................................| fence |      `...` is the hole at the start
"""

from memtrace.contract.calls import out_of_line
from memtrace.contract.ledger import RESERVED, SPLITS
from memtrace.structures.heap import append, link, new_node, release
from memtrace.structures.rules import UNBOUNDED


class PoolTooSmall(ValueError):
    """A pool that is too small for the heap's own structures and one block."""


def pool_bytes(capacity, pool, least=0):
    """Return the bytes of the pool: the option `pool`, or the capacity where it is 0; raise ValueError if there is neither.

    ``least`` is what the heap's control structures and one smallest block take; raise PoolTooSmall for a smaller pool.
    """
    if pool < 0 or pool > capacity:
        raise ValueError(f"pool={pool} is not from 0 to the capacity of {capacity} bytes")
    size = pool or capacity
    if size >= UNBOUNDED:
        raise ValueError(
            "the heap takes a pool whole, and its size is not known\ntry: --capacity 64KiB, or the option pool=64KiB"
        )
    if size < least:
        raise PoolTooSmall(f"a pool of {size} bytes is too small: the heap's own structures and one block take {least}")
    return size


def open_pool(state, size, ranges, index):
    """Make the holes (start, end) that a pool of ``size`` bytes begins with; what lies between two of them is in use for good."""
    state.ledger[RESERVED] = size
    above = None
    for start, end in ranges:
        if above is not None:
            fence = new_node(state, above, start - above)
            link(state.nodes, fence, state.nodes[0].prev, 0)
        if end > start:
            append(state, start, end - start, index)
        above = end
    return state


def hole_sizes(state):
    """Return the sizes of all holes, for ``first_holes``."""
    sizes, x = [], int(state.nodes[0].next)
    while x != 0:
        if state.nodes[x].free == 1:
            sizes.append(int(state.nodes[x].extent))
        x = int(state.nodes[x].next)
    return sizes


@out_of_line
def cut_block(state, x, size, index):
    """Cut block x to ``size`` bytes; the rest becomes a hole, and coalesces with the one behind it."""
    nodes = state.nodes
    rest = nodes[x].extent - size
    nodes[x].extent = size
    tail = new_node(state, nodes[x].addr + size, rest)
    link(nodes, tail, x, nodes[x].next)
    state.ledger[SPLITS] += 1
    release(state, tail, index)
