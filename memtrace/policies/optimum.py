"""Optimum: each block where the best offline packing puts it, which knows every lifetime. The bound of all policies.

Peak live is the bound from below; this is one from above, as packing is NP-hard (Garey and Johnson, SR2). The lowest of
greedy packing by size, lifetime and area, annealing from the best of those, and the placements of first and best fit is
followed; where too many blocks live at once for packing (40 million pairs), only the last two. A realloc is a new block,
and during its event both blocks are live, unless it can stay in place. `effort` scales the steps of annealing.
`planner=lowest`; `executorch-greedy` and `tflite-greedy` follow what the planner of that inference runtime does, higher or not,
with its alignment of 16 or 64 bytes where `align` is below it; with `align=1` the blocks have the bytes of their requests.
Cost: O(log n) an event, to keep count of the holes; before it, the packing: time and memory for every pair of blocks that
live at once.
Source: Pisarchyk and Lee 2020, "Efficient memory management for deep neural net inference"; Moffitt 2023, "MiniMalloc".
"""

from typing import Literal, NamedTuple

import numpy as np

from memtrace.contract.ledger import HOLE_TAKEN
from memtrace.contract.request import NOTHING, NOWHERE
from memtrace.structures import address_tree, heap
from memtrace.structures.address_tree import State as Tree
from memtrace.structures.address_tree import hole_at
from memtrace.structures.address_tree import init as new_tree
from memtrace.structures.heap import request_block_size, tail_address

ORDER = 95
SWAPS = ("inplace",)  # a plan has no scratch blocks

NEXT = 0  # place in State.at: the index of the next request of the plan
FIRST, LATER, VOID = 0, 1, 2  # kinds of requests: for a new block; a realloc; for a block that has failed


class State(NamedTuple):
    """The heap, and the plan that it follows: what each request gets, in the order of the trace."""

    tree: Tree  # the heap, with its holes by address
    addresses: np.ndarray  # addresses[request]: where the plan puts it, in bytes
    follows: np.ndarray  # follows[request]: the next request of the same block; -1 if there is none
    kinds: np.ndarray  # kinds[request]: FIRST, LATER or VOID
    at: np.ndarray  # one entry, NEXT
    ledger: np.ndarray  # the tree's


def init(capacity, max_live, align=16, effort=1, planner: Literal["lowest", "executorch-greedy", "tflite-greedy"] = "lowest"):
    if effort < 0:
        raise ValueError(f"effort={effort} is below 0")
    tree = new_tree(capacity, max_live, align=align, min_block=align)
    empty = np.zeros(0, np.int64)
    return State(tree, empty, empty, empty, np.zeros(1, np.int64), tree.ledger)


def plan(trace, request):
    """Return where every request goes: by the planner that is named, or the lowest of the offline packings and of the placements
    of first and best fit.
    """
    from memtrace.contract.ops import ALLOC, REALLOC
    from memtrace.packing import planners
    from memtrace.packing.packing import plan as plan_of

    align, effort, planner = int(request.options["align"]), int(request.options["effort"]), str(request.options["planner"])
    if planner != "lowest":
        return planners.plan_of(trace, planner, align)
    requests = np.concatenate([(events.op == ALLOC) | (events.op == REALLOC) for events in trace.batches()])
    texts = (f"{name}:align={align},min_block={align}" for name in ("first-fit", "best-fit"))
    return plan_of(trace, align, effort, [request.place(text)[requests] for text in texts])


def follow(state, plan):
    """Return the state with a plan to follow: `memtrace.packing.packing.Plan`, an address for each request of the trace."""
    kinds = np.zeros(plan.addresses.size, np.int64)
    kinds[plan.follows[plan.follows >= 0]] = LATER
    return state._replace(addresses=plan.addresses, follows=plan.follows, kinds=kinds)


def request_due(state):
    """Return the index of the next request of the plan, after moving past the requests of blocks that have failed."""
    while state.kinds[state.at[NEXT]] == VOID:
        state.at[NEXT] += 1
    return state.at[NEXT]


def alloc(state, request):
    """Place a block at its planned address; return the address.

    Return NOWHERE if the range is not free or the capacity does not allow it. If a new block fails, the later requests of
    that block are taken out of the plan.
    """
    tree, k = state.tree, request_due(state)
    size = request_block_size(tree, request)
    if size == NOTHING:
        return NOTHING
    address = place_at(tree, state.addresses[k], size, request.block)
    state.at[NEXT] += 1
    if address == NOWHERE and state.kinds[k] == FIRST:
        k = state.follows[k]
        while k >= 0:
            state.kinds[k] = VOID
            k = state.follows[k]
    return address


def place_at(tree, address, size, handle):
    """Place a block of ``size`` bytes at ``address``, in the hole that contains the range or in the tail, which may grow.

    Return the address; NOWHERE if the range is not free or the capacity does not allow it.
    """
    if address >= tail_address(tree, 1) and address + size > tree.ledger[heap.RESERVED]:
        return heap.grow(tree, address, size, handle, address_tree)
    hole = hole_at(tree, address)
    if hole == 0 or tree.nodes[hole].addr + tree.nodes[hole].extent < address + size:
        return NOWHERE
    tree.ledger[HOLE_TAKEN] = tree.nodes[hole].extent
    return heap.place(tree, hole, address, size, handle, address_tree)


def free(state, request, address):
    """Free the block with the handle ``request.block``; its range coalesces with the holes beside it."""
    heap.free_block(state.tree, request.block, address_tree)


def resize(state, request, address, old_size):
    """Resize a block in place if the plan gives the next request the address that the block has.

    Return ``address``, or NOWHERE if the block has to move. ``old_size`` is not used.
    """
    if state.addresses[request_due(state)] != address:
        return NOWHERE
    address = heap.resize_block(state.tree, request, address, address_tree)
    if address >= 0:
        state.at[NEXT] += 1
    return address


def largest_hole(state):
    """Return the size of the largest hole, in bytes."""
    return address_tree.largest_hole(state.tree)


def expect(state, handle):
    """Prefetch the node of a block that will be freed some events from now."""
    heap.expect(state.tree, handle)


def expect_soon(state, handle):
    """Prefetch the neighbours of a block that will be freed after the next few events."""
    address_tree.expect_soon(state.tree, handle)
