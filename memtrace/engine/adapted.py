"""Give a policy without a ledger one: after every call, what its ``reserved`` and ``survey`` return is written to a ledger.

The simplest form a policy can have, five functions over a state of its own, is enough for most measures. The holes of such a
policy are counted by the engine (``engine.gaps``) from the addresses of its blocks and its reserved bytes:

- without ``survey`` all that concerns holes comes from there, and a block has the bytes that were requested;
- with ``survey`` the allocated and free bytes, the number of holes and the largest hole are the policy's own, and a block has the
  bytes by which the allocated bytes grew; the sizes of all holes come from the engine's account.

What the engine cannot know of such a policy is null (``engine.known``). Of the contract's functions only those are called for it
that the contract declares without ``ledger``.
"""

from types import ModuleType
from typing import Any, NamedTuple

import numpy as np

from memtrace.contract.ledger import (
    ALLOCATED,
    BELOW_MEDIAN,
    BELOW_P99,
    CLASS_HOLES,
    COUNT_SIZES,
    FREE,
    HOLES,
    LARGEST,
    RELEASE_CALLS,
    RESERVE_CALLS,
    RESERVED,
    SQUARES,
    SQUARES_HIGH,
    new_ledger,
)
from memtrace.contract.policy import constants_of, functions_of
from memtrace.engine.gaps import enter_block, extent_of, leave_block, new_gaps, reserve_up_to
from memtrace.structures import address_tree

SIZES = (SQUARES, SQUARES_HIGH, BELOW_MEDIAN, BELOW_P99)  # entries of the ledger that are sums over the sizes of holes


class State(NamedTuple):
    inner: Any  # the policy's own state
    ledger: np.ndarray
    gaps: Any  # the engine's account of the holes; its ledger is a ledger too
    overlaps: np.ndarray  # overlaps[0]: 1 once a block overlapped another, or bytes above a block were given back


def made_enlarge(own, read_policy):
    """Return ``enlarge`` made around the policy's own."""

    def enlarge(state):
        """Return the state with the policy's own state in larger arrays."""
        return state._replace(inner=own(state.inner))

    return enlarge


def made_freed_by(own, read_policy):
    """Return ``freed_by`` made around the policy's own."""

    def freed_by(state, request, stream):
        """Tell the policy which stream is about to free a block."""
        own(state.inner, request, stream)

    return freed_by


def made_record(own, read_policy):
    """Return ``record`` made around the policy's own."""

    def record(state, request, stream, address):
        """Tell the policy that a stream uses a block, and update the ledger."""
        answer = np.int64(own(state.inner, request, stream, address))
        read_policy(state, 0)
        return answer

    return record


def made_complete(own, read_policy):
    """Return ``complete`` made around the policy's own."""

    def complete(state, request, stream, address):
        """Tell the policy that the work of streams on freed blocks is done, and update the ledger."""
        own(state.inner, request, stream, address)
        read_policy(state, 0)

    return complete


def made_access(own, read_policy):
    """Return ``access`` made around the policy's own."""

    def access(state, request, address):
        """Tell the policy that a block is used, and update the ledger."""
        own(state.inner, request, address)
        read_policy(state, 0)

    return access


def made_releasable(own, read_policy):
    """Return ``releasable`` made around the policy's own."""

    def releasable(state):
        """Return the free bytes that could go back to the system, as the policy says."""
        return np.int64(own(state.inner))

    return releasable


def made_write_counters(own, read_policy):
    """Return ``write_counters`` made around the policy's own."""

    def write_counters(state, row):
        """Have the policy write its own counters."""
        own(state.inner, row)

    return write_counters


OTHERS = {  # function of the contract -> what makes it of a policy's own function and ``read_policy``
    "enlarge": made_enlarge,
    "freed_by": made_freed_by,
    "record": made_record,
    "complete": made_complete,
    "access": made_access,
    "releasable": made_releasable,
    "write_counters": made_write_counters,
}


def with_ledger(module: ModuleType) -> dict[str, Any]:
    """Return the functions that the replay loop calls, by name, made around the policy functions of ``module``."""
    own = functions_of(module)
    surveys, survey = "survey" in own, own.get("survey")
    reserved, policy_alloc, policy_free = own["reserved"], own["alloc"], own["free"]
    counted = not constants_of(module).VIRTUAL

    def init(capacity, max_live, **options):
        """Return the state of the policy with a new ledger beside it."""
        inner = own["init"](capacity, max_live, **options)
        gaps = new_gaps(max_live if counted else 1)
        ledger = new_ledger(0) if surveys or not counted else gaps.ledger
        state = State(inner, ledger, gaps, np.zeros(1, np.int64))
        read_policy(state, 0)
        ledger[RESERVE_CALLS] = 0
        return state

    def read_policy(state, size):
        """Write the policy's figures into the ledger; ``size`` bytes were allocated (negative: freed) since the last call."""
        ledger = state.ledger
        top, before = np.int64(reserved(state.inner)), ledger[RESERVED]
        ledger[RESERVE_CALLS] += top > before
        ledger[RELEASE_CALLS] += top < before
        if counted and ledger[COUNT_SIZES] != 0 and not reserve_up_to(state.gaps, top):
            state.overlaps[0] = 1
        ledger[RESERVED] = top
        if surveys:
            ledger[ALLOCATED], ledger[FREE], ledger[HOLES], ledger[LARGEST] = survey(state.inner)
        elif not counted:
            ledger[ALLOCATED] += size
            ledger[FREE] = top - ledger[ALLOCATED]

    def place_block(state, handle, address, wanted, extent):
        """Count a new block of ``extent`` bytes, of which ``wanted`` were requested, out of the holes."""
        if counted and state.ledger[COUNT_SIZES] != 0 and not enter_block(state.gaps, handle, address, wanted, extent):
            state.overlaps[0] = 1

    def alloc(state, request):
        """Serve a request by the policy's own ``alloc``, and update the ledger."""
        address = np.int64(policy_alloc(state.inner, request))
        allocated = state.ledger[ALLOCATED]
        read_policy(state, request.size if address >= 0 else 0)
        if address >= 0:
            extent = state.ledger[ALLOCATED] - allocated if surveys else request.size
            place_block(state, request.block, address, request.size, max(extent, request.size))
        return address

    def free(state, request, address):
        """Free a block by the policy's own ``free``, and update the ledger."""
        policy_free(state.inner, request, address)
        if counted:
            leave_block(state.gaps, request.block)
        read_policy(state, -request.size)

    def largest_hole(state):
        """Return the bytes of the largest hole, and bring what the ledger has of the sizes of holes up to date."""
        if counted and not surveys:
            return address_tree.largest_hole(state.gaps)
        if counted:
            for entry in SIZES:
                state.ledger[entry] = state.gaps.ledger[entry]
            for entry in range(CLASS_HOLES, state.ledger.size):
                state.ledger[entry] = state.gaps.ledger[entry]
        return state.ledger[LARGEST]

    functions = {
        "init": init,
        "alloc": alloc,
        "free": free,
        "largest_hole": largest_hole,
        "read_policy": read_policy,
        "place_block": place_block,
    }
    if "start" in own:
        policy_start = own["start"]

        def start(state, facts):
            """Return the state with what the policy keeps of the facts of the trace."""
            return state._replace(inner=policy_start(state.inner, facts))

        functions["start"] = start
    if "next_event" in own:
        policy_next_event = own["next_event"]

        def next_event(state, number):
            """Tell the policy the number of the event that comes."""
            policy_next_event(state.inner, number)

        functions["next_event"] = next_event
    if "resize" in own:
        policy_resize = own["resize"]

        def resize(state, request, address, old_size):
            """Resize a block by the policy's own ``resize``, and update the ledger."""
            new_address = np.int64(policy_resize(state.inner, request, address, old_size))
            allocated = state.ledger[ALLOCATED]
            if counted and new_address >= 0:
                extent = extent_of(state.gaps, request.block)
                leave_block(state.gaps, request.block)
            read_policy(state, request.size - old_size if new_address >= 0 else 0)
            if counted and new_address >= 0:
                extent = extent + state.ledger[ALLOCATED] - allocated if surveys else request.size
                place_block(state, request.block, new_address, request.size, max(extent, request.size))
            return new_address

        functions["resize"] = resize
    functions |= {name: make(own[name], read_policy) for name, make in OTHERS.items() if name in own}
    if "trim" in own:
        policy_trim = own["trim"]

        def trim(state):
            """Give memory back by the policy's own ``trim``, and update the ledger."""
            policy_trim(state.inner)
            read_policy(state, 0)

        functions["trim"] = trim
    return functions
