"""Streams in the order of their first use: an index for each number of a stream that a trace names.

``number_of[i]`` is the number of the stream with index i, and ``seen`` has how many there are and which was looked up last. A
free may name a stream for the first time, and cannot ask for larger arrays; there are as many frees between two requests as there
are live blocks at most. So there is room for so many more before each request: ``lacks_streams``.
"""

import numpy as np

from memtrace.contract.calls import out_of_line
from memtrace.structures.free_lists import largest_in

STREAMS, LAST = 0, 1  # in State.seen: number of streams; index of the one that was looked up last


def new_streams(max_live):
    """Return (number_of, seen) without any stream, for ``max_live`` blocks live at once."""
    return np.zeros(max_live + 64, np.int64), np.zeros(2, np.int64)


def lacks_streams(state):
    """Return whether the streams of the next request, and of all frees up to the one after it, may be too many."""
    return state.seen[STREAMS] + state.node_of.size + 2 > state.number_of.size


def stream_index(state, stream):
    """Return the index of the stream with this number; a new one gets the next index."""
    number_of, seen = state.number_of, state.seen
    if number_of[seen[LAST]] == stream and seen[STREAMS] > 0:
        return seen[LAST]
    i = np.int64(0)
    while i < seen[STREAMS] and number_of[i] != stream:
        i += 1
    if i == seen[STREAMS]:
        number_of[i] = stream
        seen[STREAMS] += 1
    seen[LAST] = i
    return i


@out_of_line
def largest_hole(state):
    """Return the bytes of the largest free block of all streams; 0 if there is none."""
    most = np.int64(0)
    for k in range(state.seen[STREAMS]):
        most = max(most, largest_in(state, k))
    return most
