"""Apply the rules of `training` event by event, as a function that is compiled.

Its state has the live blocks in the order of their allocs, and what is known of the current pass.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from memtrace.contract.calls import out_of_line
from memtrace.contract.ops import ALLOC, FREE

WEIGHT, GRADIENT, OPTIMIZER, ACTIVATION, INPUT = range(5)
GROUPS = 3  # the first three, whose live blocks are followed in a list each
# Of totals: uses so far; gradients of the current pass, and frees of what it kept; its first event; 1 if a pass has begun; the
# number of the current event.
(USES, GRADIENTS, FREED, FIRST, OPEN, EVENT) = range(6)
GROWING = ("gradient_events", "gradient_sizes", "freed_events", "freed_born", "use_events", "use_slots")
TABLE = 4  # entries of the hash table of sizes for each slot, so it is at most a quarter full


class State(NamedTuple):
    """What the rules know after an event; arrays by slot, but where their comment says otherwise."""

    codes: np.ndarray  # [WEIGHT..INPUT] tag codes of the trace, -2 for a tag that it lacks
    group: np.ndarray  # tag code of the live block, -3 for none
    bytes: np.ndarray
    born: np.ndarray  # event of the alloc
    after: np.ndarray  # links of a circular list per group, in the order of the allocs; the heads are behind the slots
    before: np.ndarray
    same: np.ndarray  # slot of the last weight of the same size that was allocated before this one, or -1
    sizes: np.ndarray  # [entry of the hash table] a size in bytes, or -1
    newest: np.ndarray  # [entry] slot of the last weight of the size
    next: np.ndarray  # [entry] slot of the weight that is matched next, -1: start again from the newest
    gradient_events: np.ndarray  # [gradient of the pass]
    gradient_sizes: np.ndarray  # [gradient of the pass]
    freed_events: np.ndarray  # [i] frees of activations of the pass since its first gradient
    freed_born: np.ndarray  # [i] events of their allocs
    use_events: np.ndarray  # [use] the event before which it comes
    use_slots: np.ndarray  # [use]
    totals: np.ndarray  # USES, GRADIENTS, FREED, FIRST, OPEN, EVENT


def new_state(slots, tags, room):
    """Return the state before the first event, for ``slots`` slots and the trace's ``tags``.

    ``room`` is how many gradients and frees of a pass, and how many uses, the arrays take at first.
    """
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
    """Return ``state`` with more than twice the room in its arrays GROWING."""
    more = 2 * state.use_events.size + state.born.size
    return state._replace(**{name: longer(getattr(state, name), more) for name in GROWING})


def longer(column, size):
    """Return ``column`` with zeros appended up to ``size`` elements."""
    return np.append(column, np.zeros(size - column.size, np.int64))


def group_of(state, tag):
    """Return the group (WEIGHT, GRADIENT or OPTIMIZER) that tag code ``tag`` belongs to; -1 if none."""
    for group in range(GROUPS):
        if tag == state.codes[group]:
            return group
    return -1


def enter(state, slot, group):
    """Append ``slot`` at the end of the list of live blocks of ``group``."""
    head = state.born.size + group
    last = state.before[head]
    state.after[last], state.before[slot] = slot, last
    state.after[slot], state.before[head] = head, slot


def leave(state, slot):
    """Remove ``slot`` from the list of live blocks that it is in."""
    after, before = state.after[slot], state.before[slot]
    state.after[before], state.before[after] = after, before


def entry_of(state, size):
    """Return the entry of ``size`` in the hash table, or the unused entry where it would go."""
    sizes = state.sizes
    i = (((size ^ (size >> 28)) & 0xFFFFFFF) * 2654435761 >> 12) & (sizes.size - 1)
    while sizes[i] != -1 and sizes[i] != size:
        i = (i + 1) & (sizes.size - 1)
    return i


def put(state, event, slot):
    """Append a use of the block in ``slot`` before ``event``; there must be room."""
    n = state.totals[USES]
    state.use_events[n], state.use_slots[n] = event, slot
    state.totals[USES] = n + 1


@out_of_line
def end_pass(state, end):
    """End the current pass at event ``end`` and append its uses; return 1, or 0 if there is no room and nothing was done.

    A pass without gradients has none.
    """
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
        append_optimizer_uses(state, born.size + group, first, end)
    return 1


def match_sizes(state):
    """Fill the hash table anew with the live weights by size: a chain for each size, the last alloc first."""
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


def append_optimizer_uses(state, head, first, end):
    """Append one use for each live block of a list, in the order of their allocs, evenly over the events [``first``, ``end``).

    ``head`` is the head of the list. A block gets no use that would come before its alloc.
    """
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


def is_kept_activation(state, slot):
    """Return whether the block in ``slot``, freed now, is an activation that the current pass kept for its backward part.

    That is: the forward part of the pass allocated it, and the backward part has begun.
    """
    totals, born = state.totals, state.born[slot]
    kept = state.group[slot] == state.codes[ACTIVATION] and totals[OPEN] != 0 and totals[GRADIENTS] > 0
    return kept and totals[FIRST] <= born and born < state.gradient_events[0]


def specialise(module):
    """Return a new function ``step``, which applies the rules of a training step to a batch of events.

    Each call makes a new function, because compiling gives the function a name. ``module`` is not used.
    """

    def step(op, block, size, tag, start, ends, state):
        """Apply the rules to a batch from row ``start`` on; return the row to go on from.

        The columns are those of `trace.Events`; ``tag`` has one element if it is the same for all rows. The row is
        below ``op.size`` if an array of ``state`` is full: call again with `larger`. ``ends``: the trace is over, no row is read,
        and the last pass ends; then the answer is that of `end_pass`.
        """
        totals, room = state.totals, state.gradient_events.size
        if ends:
            return end_pass(state, totals[EVENT])
        for i in range(start, op.size):
            event, slot = totals[EVENT], np.int64(block[i])
            if op[i] == ALLOC:
                code = np.int64(tag[i if tag.size > 1 else 0])
                if code == state.codes[INPUT] and (totals[OPEN] == 0 or totals[GRADIENTS] > 0):
                    if end_pass(state, event) == 0:
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
                if is_kept_activation(state, slot):
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
