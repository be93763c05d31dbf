"""The entries of a stack: blocks, freed blocks and gaps, from the bottom up, and the holes that they make.

    base | A | gap | B | freed | freed | C | tail   top      entries; the two freed ones are a run, and one hole

A gap is the free bytes that an alignment leaves below a block. A run is a sequence of adjacent free entries (freed blocks,
gaps); it is one hole. Its first and last entry store each other's index, so a neighbour finds the other end at once. The tail
is the hole between the top entry and the reserved end. Bytes that a block lost when it shrank are a hole without an entry.
A state has ``entries``, ``entry_of`` (indexed by handle) and ``shape``. The size of the tail is in the ledger.
"""

import numpy as np

from memtrace.contract.calls import out_of_line
from memtrace.contract.largest import begin_search, end_search, follow, largest_kept, offer
from memtrace.contract.ledger import COUNT_SIZES, HOLES, RESERVED, TAIL, count_hole

LAST = 0  # in shape: index of the top entry; 0 if the stack is empty
ONE = np.uint64(1)  # keeps the arithmetic of indices unsigned
GAPS = 1  # in shape: 1: a block shrank, so there may be a hole without an entry

ENTRY = np.dtype(
    (
        np.record,
        np.dtype(
            [
                ("start", "i8"),  # address of the first byte
                ("end", "i8"),  # address behind the last byte
                ("run", "u4"),  # in the first and last entry of a run: index of the other of the two; in a block: 0
                ("handle", "u4"),  # handle of the block
            ],
            align=True,
        ),
    )
)


def change_tail(state, old, new):
    """Change the size of the tail from ``old`` to ``new`` bytes; 0 stands for no hole."""
    state.ledger[HOLES] += np.int64(new > 0) - np.int64(old > 0)
    state.ledger[TAIL] = new


def change_hole(state, old, new):
    """Change the size of a hole below the top from ``old`` to ``new`` bytes; 0 stands for no hole."""
    ledger = state.ledger
    ledger[HOLES] += np.int64(new > 0) - np.int64(old > 0)
    if ledger[COUNT_SIZES] != 0:
        count_if(ledger, old, -1)
        count_if(ledger, new, 1)


def count_if(ledger, size, sign):
    """Count a hole of ``size`` bytes in the counts of sizes (``sign`` 1) or not any more (-1); 0 stands for no hole."""
    if size != 0:
        count_hole(ledger, size, sign)
        follow(ledger, size, sign)


@out_of_line
def squeeze(state):
    """Replace each run by a single entry, which moves the entries above it down; ``entry_of`` and the top entry follow."""
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
    """Return the entry of the nearest block above entry x; x must not be the top entry."""
    run = np.int64(entries[x + 1].run)
    return x + 1 if run == 0 else run + 1


@out_of_line
def gaps_beside(entries, x, last):
    """Return how many of the holes directly below and above block x have no entry (0 to 2).

    ``last`` is the top entry; the tail above it is not counted.
    """
    below, above = entries[x - ONE], entries[x + ONE]
    gaps = np.int64(below.run == 0 and below.end < entries[x].start)
    if np.int64(x) != last:
        gaps += np.int64(above.run == 0 and entries[x].end < above.start)
    return gaps


def recount_freed(state, x, low, high):
    """Count the freed entry x and the holes beside it as one hole, of which ``low`` and ``high`` are the first and last entry.

    HOLES stays as it is.
    """
    entries, ledger = state.entries, state.ledger
    start = entries[low - ONE].end
    if state.shape[LAST] < np.int64(low):
        ledger[TAIL] = ledger[RESERVED] - start
        if ledger[COUNT_SIZES] != 0:
            count_if(ledger, entries[x].start - start, -1)
    elif ledger[COUNT_SIZES] != 0:
        upper = entries[high + ONE].start
        count_if(ledger, entries[x].start - start, -1)
        count_if(ledger, upper - entries[x].end, -1)
        count_if(ledger, upper - start, 1)


@out_of_line
def largest_hole(state):
    """Return the bytes of the largest hole; 0 if there is none. If that below the top is not known, all entries are looked at."""
    ledger = state.ledger
    most = largest_kept(ledger)
    if most > 0 or ledger[HOLES] == np.int64(ledger[TAIL] > 0):
        return max(most, ledger[TAIL])
    entries, top = state.entries, np.uint64(state.shape[LAST])
    begin_search(ledger)
    x, below = ONE, entries[0].end
    while x <= top:
        if entries[x].run != 0:
            x = np.uint64(entries[x].run)
        else:
            offer(ledger, entries[x].start - below)
            below = entries[x].end
        x += ONE
    return max(end_search(ledger, 1), ledger[TAIL])
