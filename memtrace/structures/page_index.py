"""The heap's holes by size, and how many they are: what a heap needs some of whose holes are cells, not ranges of pages.

An index as ``heap`` wants one: ``size_bins``, with a count kept in ``state.runs.counts``.
"""

from memtrace.structures import size_bins

PAGE_HOLES = 0  # in counts


def insert(state, x):
    state.runs.counts[PAGE_HOLES] += 1
    size_bins.insert(state, x)


def remove(state, x):
    state.runs.counts[PAGE_HOLES] -= 1
    size_bins.remove(state, x)


def move(state, x, address, size):
    size_bins.move(state, x, address, size)
