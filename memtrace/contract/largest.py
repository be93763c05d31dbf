"""The largest hole, followed as holes come and go, for policies that have no index to look it up in.

The ledger keeps the sizes of the largest holes and how many holes have each size: of all holes larger than a bound, the floor. A
hole that comes or goes below the floor changes nothing. One above it is just noted, and what is noted is worked off when the
largest hole is asked for. When all holes above the floor are gone, or too many were noted, the largest is not known, and the
policy looks for it: it calls ``begin_search``, ``offer`` for each hole that may be the largest, and ``end_search``. Up to KEPT
sizes are kept, so a search is seldom needed: holes of that many sizes have to go before the next.
"""

import numpy as np

from memtrace.contract.calls import out_of_line

KEPT = 16  # sizes above the floor that are kept at most
FLOOR = 24  # in the ledger: bytes above which all sizes are kept; OFF: none is
LARGE = 25  # in the ledger: number of sizes that are kept
LARGE_SIZES = 160  # + i: a size above the floor, ascending
LARGE_COUNTS = LARGE_SIZES + KEPT  # + i: how many holes have it
NOTES = 26  # in the ledger: number of notes; ROOM: there may have been more
NOTED = LARGE_COUNTS + KEPT  # + i, i from 1 on: the size of a hole that came, or minus that of one that went; entry 0 is 0
ROOM = 1024  # notes
LARGE_END = NOTED + ROOM + 1
OFF = 1 << 62


def follow_largest(ledger):
    """Have the largest holes followed from now on; there must be no hole yet."""
    ledger[FLOOR] = 0


def follow(ledger, size, count):
    """Follow the largest holes as a hole of ``size`` bytes comes (``count`` 1) or goes (-1)."""
    if size > ledger[FLOOR]:
        notes, change = ledger[NOTES], count * size
        if ledger[np.uint64(NOTED + notes)] == -change and notes < ROOM:
            ledger[NOTES] = notes - 1  # the same hole, as it seems: it came, and goes again
        else:
            notes = min(notes + 1, ROOM)
            ledger[np.uint64(NOTED + notes)] = change
            ledger[NOTES] = notes


@out_of_line
def work_off(ledger):
    """Work off what is noted; if there is too much of it, forget what is known."""
    notes = ledger[NOTES]
    ledger[NOTES] = 0
    if notes == ROOM:
        ledger[LARGE] = 0
        return
    for i in range(1, notes + 1):
        change = ledger[NOTED + i]
        if abs(change) > ledger[FLOOR]:
            add_large(ledger, abs(change), 1 if change > 0 else -1)


def add_large(ledger, size, count):
    """Add a hole of ``size`` bytes, more than the floor (``count`` 1), or take it away (-1)."""
    kept = ledger[LARGE]
    i = kept
    while i > 0 and ledger[LARGE_SIZES + i - 1] >= size:
        i -= 1
    if i < kept and ledger[LARGE_SIZES + i] == size:
        ledger[LARGE_COUNTS + i] += count
        if ledger[LARGE_COUNTS + i] == 0:
            drop(ledger, i)
    elif kept < KEPT:
        put(ledger, i, size, count)
    elif i == 0:
        ledger[FLOOR] = size
    else:
        ledger[FLOOR] = ledger[LARGE_SIZES]
        drop(ledger, 0)
        put(ledger, i - 1, size, count)


def drop(ledger, i):
    """Remove the i-th size."""
    ledger[LARGE] -= 1
    for j in range(i, ledger[LARGE]):
        ledger[LARGE_SIZES + j] = ledger[LARGE_SIZES + j + 1]
        ledger[LARGE_COUNTS + j] = ledger[LARGE_COUNTS + j + 1]


def put(ledger, i, size, count):
    """Insert a size as the i-th."""
    for j in range(ledger[LARGE], i, -1):
        ledger[LARGE_SIZES + j] = ledger[LARGE_SIZES + j - 1]
        ledger[LARGE_COUNTS + j] = ledger[LARGE_COUNTS + j - 1]
    ledger[LARGE_SIZES + i] = size
    ledger[LARGE_COUNTS + i] = count
    ledger[LARGE] += 1


def largest_kept(ledger):
    """Return the bytes of the largest hole if that is known, else 0."""
    if ledger[NOTES] != 0:
        work_off(ledger)
    kept = ledger[LARGE]
    return ledger[LARGE_SIZES + kept - 1] if kept > 0 else np.int64(0)


def begin_search(ledger):
    """Forget what is known of the largest holes, before a search."""
    ledger[FLOOR] = 0
    ledger[LARGE] = 0
    ledger[NOTES] = 0


def offer(ledger, size):
    """Tell of a hole of ``size`` bytes that a search found."""
    if size > ledger[FLOOR]:
        add_large(ledger, size, 1)


def end_search(ledger, least):
    """End a search that offered all holes of ``least`` bytes and more; return the bytes of the largest, or 0."""
    ledger[FLOOR] = max(ledger[FLOOR], least - 1)
    while ledger[LARGE] > 0 and ledger[LARGE_SIZES] <= ledger[FLOOR]:
        drop(ledger, 0)
    return largest_kept(ledger)
