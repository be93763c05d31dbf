"""Every use of a trace in order, and when each block is used next: what rules that know the future read, and prefetch.

Two passes of compiled text: forwards over the events, backwards over the uses. 21 bytes per use.
"""

import sys
from functools import cache
from typing import NamedTuple

import numpy as np

from memtrace.engine.ops import ACCESS, ALLOC, COPY, FREE, REALLOC, RECORD, SWAP
from memtrace.tiers.books import Future
from memtrace.tiers.eviction.cost import NEVER

COUNT, EVENT, EXTRA = range(3)


class Uses(NamedTuple):
    slots: np.ndarray
    events: np.ndarray
    born: np.ndarray
    tag_of: np.ndarray
    last_uses: np.ndarray
    extra_events: np.ndarray
    extra_slots: np.ndarray
    totals: np.ndarray


def put(uses, slot, born):
    n = uses.totals[COUNT]
    uses.slots[n] = slot
    uses.events[n] = uses.totals[EVENT]
    uses.born[n] = born
    uses.totals[COUNT] = n + 1


def specialise_list(module):
    def collect(op, block, dst, tag, uses):
        """One batch: in the order in which the loop uses blocks."""
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
    def link(slots, events, born, next, seen):
        """Backwards: the next use of each; none beyond the alloc of another block in the slot."""
        for n in range(slots.size - 1, -1, -1):
            slot = slots[n]
            next[n] = seen[slot]
            seen[slot] = NEVER if born[n] != 0 else events[n]

    return link


def future_of(trace, last_uses, extra):
    """All uses of a trace; ``extra``: events and slots of those that are no events of the trace."""
    facts = trace.facts
    most = facts.events + facts.copies + facts.swaps + extra[0].size + 1
    extra_events = np.append(extra[0], NEVER)
    extra_slots = np.append(extra[1], 0).astype(np.int32)
    totals = np.zeros(3, np.int64)
    tag_of = np.full(facts.max_live + 1, -1, np.int32)
    kinds = (np.int32, np.int64, np.uint8)
    uses = Uses(*(np.empty(most, kind) for kind in kinds), tag_of, last_uses, extra_events, extra_slots, totals)
    collect, link = compiled()
    for events in trace.batches():
        collect(events.op, events.block, events.dst, events.tag, uses)
    count = int(totals[COUNT])
    slots, events, born = (column[:count].copy() for column in (uses.slots, uses.events, uses.born))
    following = np.full(count, NEVER)
    link(slots, events, born, following, np.full(facts.max_live + 1, NEVER))
    # One more, so that the loop may look at the use after the last.
    return Future(
        np.append(slots, np.int32(0)), np.append(events, NEVER), np.append(following, NEVER), np.append(born, np.uint8(0))
    )


@cache
def compiled():
    """Both passes."""
    from memtrace.engine.compile import closed
    from memtrace.engine.sources import reachable_modules

    here = sys.modules[__name__]
    sources = reachable_modules(here)
    return closed(specialise_list(here), "collect", sources, []), closed(specialise_next(here), "link", sources, [])
