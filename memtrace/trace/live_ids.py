"""Define the hash table of the live ids of a trace, from id to slot: open addressing, linear probing, at most half full.

The table is an int64 array of (id, slot) pairs; slot -1 marks an empty place. A removal shifts the pairs behind it back, so
there are no tombstones.
"""

from __future__ import annotations

import numpy as np

from memtrace.contract.bits import highest_set
from memtrace.kernels import kernel

PREFETCH_ROWS = 32  # rows prefetched together
PREFETCH_MIN_PLACES = 1 << 16  # number of places from which prefetching pays: such a table exceeds the nearer caches


def log2_class(number):  # type: ignore[no-untyped-def]
    """Return floor(log2(number)), and 0 for 0."""
    return highest_set(number | 1)


def home_place(id, mask):  # type: ignore[no-untyped-def]
    """Return the place at which the search for an id starts; `mask` is the number of places (a power of two) minus 1.

    Fibonacci hashing: the top bits of the id's product with 2^64 / golden ratio (Knuth 3, 6.4).
    """
    mixed = np.uint64(id) * np.uint64(0x9E3779B97F4A7C15)
    return np.int64(mixed >> np.uint64(63 - log2_class(mask)))


def find(pairs, mask, id):  # type: ignore[no-untyped-def]
    """Return the place of an id in the table, or the empty place where it would be inserted."""
    place = home_place(id, mask)
    while pairs[2 * place + 1] >= 0 and pairs[2 * place] != id:
        place = (place + 1) & mask
    return place


def remove(pairs, mask, place):  # type: ignore[no-untyped-def]
    """Remove the pair at a place, in place, and move pairs behind it back where the gap would hide them from `find`."""
    hole = place
    following = (hole + 1) & mask
    while pairs[2 * following + 1] >= 0:
        wanted = home_place(pairs[2 * following], mask)
        # The pair may move if its home does not lie in the cyclic interval (hole, following].
        if ((following - wanted) & mask) >= ((following - hole) & mask):
            pairs[2 * hole], pairs[2 * hole + 1] = pairs[2 * following], pairs[2 * following + 1]
            hole = following
        following = (following + 1) & mask
    pairs[2 * hole + 1] = -1


@kernel(error_model="numpy")
def rehash(pairs, larger):  # type: ignore[no-untyped-def]
    """Insert all pairs of a table into `larger`, an empty table of more places."""
    mask = larger.size // 2 - 1
    for place in range(pairs.size // 2):
        if pairs[2 * place + 1] >= 0:
            at = find(larger, mask, pairs[2 * place])
            larger[2 * at], larger[2 * at + 1] = pairs[2 * place], pairs[2 * place + 1]


def prefetch(pairs, slots, mask, ids, start):  # type: ignore[no-untyped-def]
    """Load the table and slot entries of the FETCHED rows from `start` on, so that their cache misses overlap.

    Returns the sum of the loaded values, which the caller must store, or the compiler would drop the loads.
    """
    loaded = np.int64(0)
    for i in range(start, min(start + PREFETCH_ROWS, ids.size)):
        # No branch on a loaded value: a mispredicted branch would wait for the load.
        loaded += slots[2 * max(pairs[2 * home_place(ids[i], mask) + 1], 0)]
    return loaded
