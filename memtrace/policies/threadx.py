"""ThreadX's byte pool: first fit by address that merges free blocks only while it searches.

A block is the request, rounded up to a word, and a header of two words. A search goes through all blocks in the order of
their addresses. A free block that is large enough is taken as it is, though the next may be free too; one that is not is
merged with a free block behind it, one at a time, and looked at again. The block is split, the request in front, if 20 bytes
are left. A freed block is only marked. A request is refused before any search, so that nothing is merged, if it is not less
than the free bytes and a header for each block but two. The search pointer is never above a free block, so it changes no
placement.

The pool is the capacity, or `pool`; its last 8 bytes (16 with `bits=64`) are a block in use. A request of 0 bytes gets no
block. There is no realloc: it is an alloc, a copy and a free. Other threads that interrupt a search, and requests that wait
for memory, are not modelled: what is refused is refused at once (TX_NO_WAIT).

A hole is a run of adjacent free blocks, merged or not, since a request can get all of it.

Cost: O(log n) in the number of holes, and as much for each block that is merged. The search is not counted: the real one
walks all blocks, used ones too.
Source: ThreadX 6.4.2 and 6 commits (7ad78c4), common/src/tx_byte_pool_search.c, tx_byte_allocate.c and tx_byte_release.c.
"""

from typing import Literal

from memtrace.contract.bits import align_up
from memtrace.contract.ledger import BLOCK_SIZE, HOLE_TAKEN
from memtrace.contract.request import ENLARGE, NOTHING, NOWHERE
from memtrace.structures.free_runs import (
    AVAILABLE,
    BLOCKS,
    State,
    has_room,
    largest_hole,
    leave,
    lowest_run,
    merge_below,
    new_state,
    open_range,
    take_front,
)
from memtrace.structures.free_runs import with_more_nodes as enlarge
from memtrace.structures.whole_pool import pool_bytes

ORDER = 92
GROUPS = ("embedded",)
KNOWN_AS = {"azure-rtos": "", "tx_byte_pool": "", "byte-pool": ""}
UNUSABLE = True
TAKES_POOL = True
DEFERRED = True
MAX_ALIGN = 4
NOT_COUNTED = ("searches",)
CONTROL = "8 bytes at the end of the pool (16 with bits=64)"
VERSION = "ThreadX 6.4.2 and 6 commits (7ad78c4)"

LEAST = 20  # TX_BYTE_BLOCK_MIN


def init(capacity, max_live, bits: Literal["32", "64"] = "32", pool=0):
    word = int(bits) // 8
    size = pool_bytes(capacity, pool, least=6 * word)
    state = new_state(max_live, size, 2 * word, LEAST)
    return open_range(state, (size & -word) - 2 * word)


def alloc(state, request):
    """Place a block at the front of the lowest run of free blocks that it fits; return the address behind its header.

    Return NOTHING for a request of 0 bytes, NOWHERE if there is no such run, ENLARGE if the arrays have no room for another
    block.
    """
    if not has_room(state):
        return ENLARGE
    if request.size == 0:
        return NOTHING
    data = align_up(request.size, state.header // 2)
    state.ledger[BLOCK_SIZE] = data + state.header
    if data >= state.tree[AVAILABLE] + (state.tree[BLOCKS] - 2) * state.header:
        return NOWHERE
    x = lowest_run(state, data + state.header)
    merge_below(state, state.nodes[x].addr if x != 0 else 1 << 62)
    if x == 0:
        return NOWHERE
    state.ledger[HOLE_TAKEN] = state.nodes[x].extent
    return take_front(state, x, data + state.header, request.block) + state.header


def free(state, request, address):
    """Mark the block with the handle ``request.block`` as free, unmerged; ``address`` is not used."""
    leave(state, state.node_of[request.block])
