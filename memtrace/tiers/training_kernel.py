"""The rules of `training`, event by event: live blocks in the order of their allocs, and what is known of the current pass."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from memtrace.engine.ops import ALLOC, FREE
from memtrace.structures.calls import apart

WEIGHT, GRADIENT, OPTIMIZER, ACTIVATION, INPUT = range(5)
GROUPS = 3  # whose live blocks are followed
(USES, GRADIENTS, FREED, FIRST, OPEN, EVENT) = range(6)
GROWING = ("gradient_events", "gradient_sizes", "freed_events", "freed_born", "use_events", "use_slots")
TABLE = 4  # entries of the table of sizes for each slot, at most half full


class State(NamedTuple):
    codes: np.ndarray  # codes[WEIGHT..INPUT]: tags of the trace, -2 for none
    group: np.ndarray  # [slot] the tag of a live block, or -3
    bytes: np.ndarray
    born: np.ndarray
    after: np.ndarray  # ring per group in the order of the allocs; the heads are behind the slots
    before: np.ndarray
    same: np.ndarray  # [slot] the weight of the same size before this one, or -1
    sizes: np.ndarray  # [entry] a size, or -1
    newest: np.ndarray  # [entry] the last weight of the size
    next: np.ndarray  # [entry] the one that is matched next, or -1
    gradient_events: np.ndarray
    gradient_sizes: np.ndarray
    freed_events: np.ndarray  # frees of activations of the pass since its first gradient
    freed_born: np.ndarray
    use_events: np.ndarray
    use_slots: np.ndarray
    totals: np.ndarray


def new_state(slots, tags, room):
    known = {tag: code for code, tag in enumerate(tags)}
    codes = [known.get(tag, -2) for tag in ("weight", "gradient", "optimizer", "activation", "input")]
    ring = np.arange(slots + GROUPS)
    entries = 1 << int(TABLE * slots - 1).bit_length()
    return State(
        np.array(codes),
        np.full(slots, -3),
        np.zeros(slots, np.int64),
        np.zeros(slots, np.int64),
        ring,
        ring.copy(),
        np.full(slots, -1),
        np.full(entries, -1),
        np.full(entries, -1),
        np.full(entries, -1),
        *(np.zeros(room, np.int64) for _ in range(6)),
        np.zeros(6, np.int64),
    )


def larger(state):
    """The state with twice the room for what grows."""
    more = 2 * state.use_events.size + state.born.size
    return state._replace(**{name: longer(getattr(state, name), more) for name in GROWING})


def longer(column, size):
    return np.append(column, np.zeros(size - column.size, np.int64))


def group_of(state, tag):
    for group in range(GROUPS):
        if tag == state.codes[group]:
            return group
    return -1


def enter(state, slot, group):
    head = state.born.size + group
    last = state.before[head]
    state.after[last], state.before[slot] = slot, last
    state.after[slot], state.before[head] = head, slot


def leave(state, slot):
    after, before = state.after[slot], state.before[slot]
    state.after[before], state.before[after] = after, before


def entry_of(state, size):
    """Where a size is in the table, or where it would be."""
    sizes = state.sizes
    i = (((size ^ (size >> 28)) & 0xFFFFFFF) * 2654435761 >> 12) & (sizes.size - 1)
    while sizes[i] != -1 and sizes[i] != size:
        i = (i + 1) & (sizes.size - 1)
    return i


def put(state, event, slot):
    n = state.totals[USES]
    state.use_events[n], state.use_slots[n] = event, slot
    state.totals[USES] = n + 1


@apart
def close(state, end):
    """A pass is over: its uses. 0 if there is no room for them, and nothing is done."""
    totals, born = state.totals, state.born
    gradients, freed = totals[GRADIENTS], totals[FREED]
    if totals[OPEN] == 0 or gradients == 0:
        return 1
    if totals[USES] + 2 * gradients + born.size > state.use_events.size:
        return 0
    match_sizes(state)
    after = np.int64(0)
    for i in range(gradients):
        event, entry = state.gradient_events[i], entry_of(state, state.gradient_sizes[i])
        if state.sizes[entry] == -1:
            continue
        slot = state.next[entry] if state.next[entry] != -1 else state.newest[entry]
        state.next[entry] = state.same[slot]
        while after < freed and state.freed_events[after] < event:
            after += 1
        put(state, state.freed_born[after] + 1 if after < freed else totals[FIRST], slot)
        put(state, event, slot)
    first = state.gradient_events[gradients - 1] + 1
    for group in range(GROUPS):
        spread(state, born.size + group, first, end)
    return 1


def match_sizes(state):
    """The live weights by size, the last alloc of a size first."""
    for i in range(state.sizes.size):
        state.sizes[i] = -1
    head = state.born.size + WEIGHT
    slot = state.after[head]
    while slot != head:
        entry = entry_of(state, state.bytes[slot])
        state.same[slot] = state.newest[entry] if state.sizes[entry] != -1 else -1
        state.sizes[entry] = state.bytes[slot]
        state.newest[entry] = slot
        state.next[entry] = slot
        slot = state.after[slot]


def spread(state, head, first, end):
    """The optimizer's step: every live block of a group, evenly over the events."""
    count, number = np.int64(0), np.int64(0)
    slot = state.after[head]
    while slot != head:
        count += 1
        slot = state.after[slot]
    slot = state.after[head]
    while slot != head:
        event = first + number * (end - first) // count
        if state.born[slot] < event:
            put(state, event, slot)
        number += 1
        slot = state.after[slot]


def freed_of_pass(state, slot):
    """Whether an activation that the backward part frees was written by the forward part."""
    totals, born = state.totals, state.born[slot]
    kept = state.group[slot] == state.codes[ACTIVATION] and totals[OPEN] != 0 and totals[GRADIENTS] > 0
    return kept and totals[FIRST] <= born and born < state.gradient_events[0]


def specialise(module):
    def step(op, block, size, tag, start, ends, state):
        """Events of a batch from ``start`` on; returns how far it came: less than all if an array is full."""
        totals, room = state.totals, state.gradient_events.size
        if ends:
            return close(state, totals[EVENT])
        for i in range(start, op.size):
            event, slot = totals[EVENT], np.int64(block[i])
            if op[i] == ALLOC:
                code = np.int64(tag[i if tag.size > 1 else 0])
                if code == state.codes[INPUT] and (totals[OPEN] == 0 or totals[GRADIENTS] > 0):
                    if close(state, event) == 0:
                        return i
                    totals[OPEN], totals[FIRST], totals[GRADIENTS], totals[FREED] = 1, event, 0, 0
                if totals[GRADIENTS] == room:
                    return i
                state.group[slot], state.bytes[slot], state.born[slot] = code, size[i], event
                group = group_of(state, code)
                if group >= 0:
                    enter(state, slot, group)
                if group == GRADIENT and totals[OPEN] != 0:
                    n = totals[GRADIENTS]
                    state.gradient_events[n], state.gradient_sizes[n] = event, size[i]
                    totals[GRADIENTS] = n + 1
            elif op[i] == FREE and slot >= 0:
                if freed_of_pass(state, slot):
                    n = totals[FREED]
                    if n == room:
                        return i
                    state.freed_events[n], state.freed_born[n] = event, state.born[slot]
                    totals[FREED] = n + 1
                if group_of(state, state.group[slot]) >= 0:
                    leave(state, slot)
                state.group[slot] = -3
            totals[EVENT] = event + 1
        return op.size

    return step
