"""List every use of a trace in order, with the next use of the same block: for eviction rules that know the future, and prefetch.

Two compiled passes: forwards over the events, then backwards over the uses. The list takes 21 bytes per use.
"""

import sys
from functools import cache
from typing import NamedTuple

import numpy as np

from memtrace.contract.ops import ACCESS, ALLOC, COPY, FREE, REALLOC, RECORD, SWAP
from memtrace.tiers.eviction.cost import NEVER
from memtrace.tiers.records import Future

COUNT, EVENT, EXTRA = range(3)  # of totals: uses found, events passed, extra uses passed


class UseList(NamedTuple):
    """The list of uses as the first pass fills it."""

    slots: np.ndarray  # [use] as in Future
    events: np.ndarray  # [use]
    born: np.ndarray  # [use]
    tag_of: np.ndarray  # [slot] tag of the last block
    last_uses: np.ndarray  # [tag] 1: the free of a block is a use
    extra_events: np.ndarray  # [extra use] the event before which it comes; ends with NEVER
    extra_slots: np.ndarray  # [extra use]
    totals: np.ndarray  # COUNT, EVENT, EXTRA


def put(uses, slot, born):
    """Append a use of the block in ``slot`` at the current event; ``born`` is 1 if it is an alloc, else 0."""
    n = uses.totals[COUNT]
    uses.slots[n] = slot
    uses.events[n] = uses.totals[EVENT]
    uses.born[n] = born
    uses.totals[COUNT] = n + 1


def specialise_list(module):
    """Return the first pass, a new function each time, as compiling gives it a name; ``module`` is not used."""

    def collect(op, block, dst, tag, uses):
        """Append to ``uses`` the uses of one batch, in the order in which the replay loop serves them.

        The columns are those of `trace.Events`; ``dst`` and ``tag`` have one element if they are the same for all rows.
        """
        totals = uses.totals
        for i in range(op.size):
            kind, slot = op[i], block[i]
            while uses.extra_events[totals[EXTRA]] <= totals[EVENT]:
                put(uses, uses.extra_slots[totals[EXTRA]], 0)
                totals[EXTRA] += 1
            if kind == ALLOC:
                uses.tag_of[slot] = tag[i if tag.size > 1 else 0]
                put(uses, slot, 1)
            elif slot >= 0 and (kind == ACCESS or kind == RECORD or kind == REALLOC):
                put(uses, slot, 0)
            elif kind == COPY or kind == SWAP:
                put(uses, slot, 0)
                put(uses, dst[i if dst.size > 1 else 0], 0)
            elif kind == FREE and slot >= 0 and uses.last_uses[uses.tag_of[slot]] != 0:
                put(uses, slot, 0)
            totals[EVENT] += 1

    return collect


def specialise_next(module):
    """Return the second pass, a new function each time, as compiling gives it a name; ``module`` is not used."""

    def link(slots, events, born, next, seen):
        """Write to ``next`` the event of the same block's next use, NEVER if there is none; the arrays are those of Future.

        ``seen``: scratch `[slot]`, all NEVER. An alloc separates the uses of a slot's blocks.
        """
        for n in range(slots.size - 1, -1, -1):
            slot = slots[n]
            next[n] = seen[slot]
            seen[slot] = NEVER if born[n] != 0 else events[n]

    return link


def future_of(trace, last_uses, extra):
    """Return every use of ``trace`` in order, and a sentinel.

    ``last_uses`` says by tag whether a free is a use; ``extra`` is (events, slots) of the uses for which the trace has no event.
    """
    facts = trace.facts
    most = facts.events + facts.copies + facts.swaps + extra[0].size + 1
    extra_events = np.append(extra[0], NEVER)
    extra_slots = np.append(extra[1], 0).astype(np.int32)
    totals = np.zeros(3, np.int64)
    tag_of = np.full(facts.max_live + 1, -1, np.int32)
    kinds = (np.int32, np.int64, np.uint8)
    uses = UseList(*(np.empty(most, kind) for kind in kinds), tag_of, last_uses, extra_events, extra_slots, totals)
    collect, link = compiled()
    for events in trace.batches():
        collect(events.op, events.block, events.dst, events.tag, uses)
    count = int(totals[COUNT])
    slots, events, born = (column[:count].copy() for column in (uses.slots, uses.events, uses.born))
    following = np.full(count, NEVER)
    link(slots, events, born, following, np.full(facts.max_live + 1, NEVER))
    # A sentinel, since the replay loop looks at the use after the last.
    return Future(
        np.append(slots, np.int32(0)), np.append(events, NEVER), np.append(following, NEVER), np.append(born, np.uint8(0))
    )


@cache
def compiled():
    """Return the loops of `specialise_list` and `specialise_next`, for numba to compile at their first call; made once."""
    from memtrace.engine.compile import closed

    here = sys.modules[__name__]
    sources = [here]
    return closed(specialise_list(here), "collect", sources, []), closed(specialise_next(here), "link", sources, [])
