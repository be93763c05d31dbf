"""What is known of a replay, by word: each measure names the words that it needs, and has no value where one of them is missing.

A policy with a ledger knows all but what its constant NOT_COUNTED names. Of a policy without a ledger the engine knows the
reserved bytes after every event, and the holes as far as ``engine.adapted`` says. Of a real allocator only addresses and the
footprint at some events are known, at all if all are sampled; and of a replay without full detail the peaks alone.
"""

from types import ModuleType
from typing import TYPE_CHECKING

from memtrace.contract.constants import COUNTED
from memtrace.contract.policy import constants_of, function_of, has_ledger

if TYPE_CHECKING:
    from memtrace.engine.replay import Placement

STATES = "states"  # sums over events, samples and the states at the peaks were written down
EVENTS = "events"  # the reserved bytes after every event
ENDS = "ends"  # addresses are counted from 0 in the one range of reserved bytes, and a block is one part of it
ALLOCATED, HOLES, SIZES = "allocated", "holes", "sizes"
TIMES = "times"  # of the events, by the clock of the trace
SEARCHES, FITS, SPLITS, MERGES, CALLS = "searches", "fits", "splits", "merges", "calls"

# Word -> where it is known, in the order of the documentation. The states are known of every replay of full detail.
KNOWN_OF = {
    EVENTS: "all policies; real allocators (`native`) if every event is sampled (`--samples all`), as the footprint is read then",
    ENDS: "policies with addresses from 0 in the one range that is reserved; not with `VIRTUAL` or pieces, nor `native`",
    TIMES: "traces with times",
    ALLOCATED: "policies with a ledger or with `survey`; real allocators",
    HOLES: "policies with a ledger or with `survey`; of others the engine counts what lies between the requested bytes of blocks",
    SIZES: "policies with a ledger; of others the engine counts them from the addresses and the bytes of blocks",
    CALLS: "policies with a ledger; of others the engine counts calls after which more or fewer bytes are reserved",
    **dict.fromkeys((SEARCHES, FITS, SPLITS, MERGES), "policies with a ledger"),
}


def known_of_policy(module: ModuleType) -> frozenset[str]:
    """Return what is known of a policy's replay of full detail, as words of this module."""
    constants = constants_of(module)
    if constants.FOOTPRINT_ONLY:
        return frozenset({STATES, ALLOCATED})
    pieces = has_ledger(module) and function_of(module, "first_piece") is not None
    ends = set() if constants.VIRTUAL or pieces else {ENDS}
    if has_ledger(module):
        return frozenset({STATES, EVENTS, *ends, *COUNTED}) - set(constants.NOT_COUNTED)
    surveyed = {ALLOCATED, HOLES} if function_of(module, "survey") is not None else set()
    counted = set() if constants.VIRTUAL else {HOLES, SIZES}
    return frozenset({STATES, EVENTS, CALLS, *ends, *surveyed, *counted})


def known_of(placement: "Placement") -> frozenset[str]:
    """Return what is known of a placement: nothing, if its replay had less than full detail."""
    if not placement.recorder.measured:
        return frozenset()
    found = known_of_policy(placement.policy.module) | ({TIMES} if "time" in placement.trace.columns else set())
    sampled = placement.recorder.sample_events.size - 1  # where the footprint of a real allocator is read
    return found | ({EVENTS} if STATES in found and sampled >= placement.trace.facts.events else set())
