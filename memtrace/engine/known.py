"""What is known of a replay, by word: each measure names the words that it needs, and has no value where one of them is missing.

A policy with a ledger knows all but what its constant NOT_COUNTED names. Of a policy without a ledger the engine knows the
reserved bytes after every event, and the holes as far as ``engine.adapted`` says. Of a real allocator only addresses and the
footprint at some events are known, and of a replay without full detail the peaks alone.
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
    return known_of_policy(placement.policy.module) | ({TIMES} if "time" in placement.trace.columns else set())
