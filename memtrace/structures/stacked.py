"""The entries of a stack: its blocks from the bottom up, freed ones and gaps among them, and the holes that these make.

    base | A | gap | B | freed | freed | C | tail   top      entries; the two freed ones are a run, and one hole

The ends of a run of free entries know each other, so its neighbours find its other end at once. A state has ``entries``,
``entry_of``, ``shape``, and ``sizes`` for ``census``.
"""

import numpy as np

from memtrace.structures import census
from memtrace.structures.calls import apart
from memtrace.structures.ledger import CENSUS, HOLES, RESERVED, count_hole

LAST = 0  # in shape: the entry on top; 0 if the stack is empty
ONE = np.uint64(1)
TAIL = 1  # in shape: by which number the census has the hole above the top; others go by the block above them
GAPS = 2  # in shape: 1: a block shrank, so there may be a hole for which there is no entry

ENTRY = np.dtype(
    (
        np.record,
        np.dtype(
            [
                ("start", "i8"),
                ("end", "i8"),
                ("run", "u4"),  # of the first and the last of a run of free entries: the other of the two; of a block 0
                ("handle", "u4"),
            ],
            align=True,
        ),
    )
)


def change_tail(state, old, new):
    change_hole(state, state.shape[TAIL], old, new)


def change_hole(state, number, old, new):
    """A hole, or none where a size is 0, changes its size."""
    state.ledger[HOLES] += np.int64(new > 0) - np.int64(old > 0)
    if state.ledger[CENSUS] != 0:
        recount(state, number, old, new)


@apart
def recount(state, number, old, new):
    if old > 0:
        count_hole(state.ledger, old, -1)
    if new > 0:
        count_hole(state.ledger, new, 1)
    census.note(state, number, new)


@apart
def squeeze(state):
    """Put one entry in the place of a run of them."""
    entries, top = state.entries, np.uint64(state.shape[LAST])
    x, kept = ONE, np.uint64(0)
    while x <= top:
        run = np.uint64(entries[x].run)
        kept += ONE
        entries[kept].start = entries[x].start
        if run != 0:
            entries[kept].end = entries[run].end
            entries[kept].run = kept
            x = run
        else:
            entries[kept].end = entries[x].end
            entries[kept].run = 0
            entries[kept].handle = entries[x].handle
            state.entry_of[np.uint64(entries[x].handle)] = kept
        x += ONE
    entries[kept + ONE].run = 0
    state.shape[LAST] = np.int64(kept)


def next_block(entries, x):
    """The live block above entry x, which is not on top."""
    run = np.int64(entries[x + 1].run)
    return x + 1 if run == 0 else run + 1


@apart
def gaps_beside(entries, x, last):
    """How many of the holes beside block x are gaps, for which there is no entry."""
    below, above = entries[x - ONE], entries[x + ONE]
    gaps = np.int64(below.run == 0 and below.end < entries[x].start)
    if np.int64(x) != last:
        gaps += np.int64(above.run == 0 and entries[x].end < above.start)
    return gaps


@apart
def recount_freed(state, x, low, high):
    """Entry x and the holes beside it, of which low and high are the first and the last entry, have become one hole."""
    entries = state.entries
    start = entries[low - ONE].end
    if state.shape[LAST] < np.int64(low):
        upper, number = state.ledger[RESERVED], state.shape[TAIL]
    else:
        upper, number = entries[high + ONE].start, np.int64(entries[high + ONE].handle)
    recount(state, np.int64(entries[x].handle), entries[x].start - start, 0)
    recount(state, number, upper - entries[x].end, upper - start)
