"""The largest hole, followed through the changes that a ledger counts, for policies that have no index to look it up in.

The ledger keeps the sizes of the largest holes and how many holes have each size: of all holes larger than a bound, the floor. A
hole that comes or goes below the floor changes nothing. When all holes above the floor are gone the largest is not known, and the
policy looks for it: it calls ``begin_search``, ``offer`` for each hole that may be the largest, and ``end_search``. Up to KEPT
sizes are kept, so a search is seldom needed: holes of that many sizes have to go before the next.
"""

import numpy as np

KEPT = 16  # sizes above the floor that are kept at most
FLOOR = 24  # in the ledger: bytes above which all sizes are kept; OFF: none is
LARGE = 25  # in the ledger: number of sizes that are kept
LARGE_SIZES = 160  # + i: a size above the floor, ascending
LARGE_COUNTS = LARGE_SIZES + KEPT  # + i: how many holes have it
LARGE_END = LARGE_COUNTS + KEPT
OFF = 1 << 62


def add_large(ledger, size, count):
    """Add ``count`` holes of ``size`` bytes, more than the floor, or take them away if ``count`` is negative."""
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
    """Return the largest size that is kept; 0 if none is."""
    kept = ledger[LARGE]
    return ledger[LARGE_SIZES + kept - 1] if kept > 0 else np.int64(0)


def begin_search(ledger):
    """Forget what is known of the largest holes, before a search."""
    ledger[FLOOR] = 0
    ledger[LARGE] = 0


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
