"""Find the exact percentile of the request sizes.

The kernel's bins give the interval of sizes in which the percentile lies; further passes over the sizes narrow it down.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from memtrace.trace.kernel import ALLOC, EXACT, EXACT_BITS, REALLOC, STEP_BITS
from memtrace.trace.model import BATCH_ROWS, Int64s, Prepared

FINE_BITS = 16  # each refining pass counts in at most 2^FINE_BITS bins


def request_of_rank(prepared: Prepared, size_bins: Int64s, percent: int) -> int:
    """Return the request in bytes of rank ceil(percent/100 * n) among the n requests of more than 0 bytes, or 0 if n is 0.

    `size_bins` are the kernel's counts of all requests by `kernel.size_bin`.
    """
    bins = size_bins.copy()
    bins[0] = 0
    requests = int(bins.sum())
    if not requests:
        return 0
    rank = -(-percent * requests // 100)
    found, rank = _bin_of(bins, rank)
    if found < EXACT:
        return found
    step, low = divmod(found - EXACT, 1 << STEP_BITS)
    start, bits = (low + (1 << STEP_BITS)) << (step + EXACT_BITS - STEP_BITS), step + EXACT_BITS - STEP_BITS
    while bits:
        shift = max(0, bits - FINE_BITS)
        counts = np.zeros(1 << (bits - shift), np.int64)
        for events in prepared.batches(BATCH_ROWS):
            _count(events.op, events.size, start, shift, counts)
        found, rank = _bin_of(counts, rank)
        start, bits = start + (found << shift), shift
    return start


def _bin_of(counts: Int64s, rank: int) -> tuple[int, int]:
    """Return the index of the bin that contains a rank (from 1), and the rank within that bin."""
    upto = np.cumsum(counts)
    found = int(np.searchsorted(upto, rank))
    return found, rank - int(upto[found] - counts[found])


@njit(cache=True, nogil=True, error_model="numpy")
def _count(op, size, start, shift, counts):  # type: ignore[no-untyped-def]
    """Count the requests of at least `start` bytes in bins of 2^shift bytes, in place.

    Requests beyond the last bin are ignored.
    """
    for i in range(op.size):
        if op[i] == ALLOC or op[i] == REALLOC:
            place = (size[i] - start) >> shift
            if place >= 0 and place < counts.size:
                counts[place] += 1
