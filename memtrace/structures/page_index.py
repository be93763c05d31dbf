"""Index of a heap's holes by size that also counts them; for heaps in which some holes are cells and not ranges of pages.

It is ``size_bins`` with a count of the indexed holes in ``state.runs.counts``. The ledger's number of holes includes free cells.
"""

from memtrace.structures import size_bins

PAGE_HOLES = 0  # in counts: number of holes that are ranges of free pages


def insert(state, x):
    """Insert node x, a new hole of free pages, into the index."""
    state.runs.counts[PAGE_HOLES] += 1
    size_bins.insert(state, x)


def remove(state, x):
    """Remove hole x from the index."""
    state.runs.counts[PAGE_HOLES] -= 1
    size_bins.remove(state, x)


def move(state, x, address, size):
    """Change hole x to ``address`` and ``size`` bytes, in its node and in the index."""
    size_bins.move(state, x, address, size)
