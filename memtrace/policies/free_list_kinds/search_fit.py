"""First fit by address that joins free blocks only while it searches: `coalesce=search`.

A freed block stays as it is. A search goes through the free blocks by address. One that is large enough is taken as it is; one
that is not is joined with a free block behind it, one at a time, and looked at again. If nothing is found, the heap grows. A
hole is a run of adjacent free blocks, joined or not, since a request can get all of it.

A realloc moves. The alignment that an event asks for is not served.

Cost: O(log n) in the number of holes, and as much for each block that is joined. The search is not counted.
"""

from memtrace.contract.ledger import HOLE_TAKEN
from memtrace.contract.request import ENLARGE, NOTHING, NOWHERE
from memtrace.structures.free_runs import RuledState as State
from memtrace.structures.free_runs import (
    grow,
    largest_hole,
    leave,
    lowest_run,
    merge_below,
    new_ruled_state,
    nodes_run_short,
    take_front,
)
from memtrace.structures.free_runs import with_more_nodes as enlarge
from memtrace.structures.heap import request_block_size
from memtrace.structures.rules import heap_rules

GROUPS = ("classic", "default")
COALESCES = True
DEFERRED = True
MAX_ALIGN = 1
NOT_COUNTED = ("searches",)


def init(capacity, max_live, place="front", coalesce="search", order="address", **options):
    rules = heap_rules(capacity, **options)
    if place != "front" or order != "address":
        raise ValueError("coalesce=search is of a list in the order of addresses, with blocks in front of their holes")
    if rules.trim or options.get("base", 0):
        raise ValueError("coalesce=search has neither trim nor base")
    for name in ("min_block", "initial", "chunk"):
        value = options.get(name, 0)
        if value > 1 and value % rules.align:
            raise ValueError(f"with coalesce=search {name}={value} has to be a multiple of align={rules.align}")
    return new_ruled_state(max_live, rules, options.get("initial", 0))


def alloc(state, request):
    """Place a block at the front of the lowest run of free blocks that it fits, or at the end of the heap; return its address.

    Return NOTHING if a request of 0 bytes gets no block (`zero=null`), NOWHERE if the heap cannot grow within the capacity,
    ENLARGE if the arrays have no room for another block.
    """
    if nodes_run_short(state):
        return ENLARGE
    size = request_block_size(state, request)
    if size == NOTHING:
        return NOTHING
    x = lowest_run(state, size)
    merge_below(state, state.nodes[x].addr if x != 0 else 1 << 62)
    if x != 0:
        state.ledger[HOLE_TAKEN] = state.nodes[x].extent
    else:
        x = grow(state, size)
        if x == 0:
            return NOWHERE
    return take_front(state, x, size, request.block)


def free(state, request, address):
    """Mark the block with the handle ``request.block`` as free, unjoined; ``address`` is not used."""
    leave(state, state.node_of[request.block])
