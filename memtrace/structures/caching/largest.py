"""Find the largest free block of a caching allocator."""

import numpy as np

from memtrace.structures.caching.free_sets import class_until
from memtrace.structures.caching.model import CLASSES, ROOTS, STREAMS
from memtrace.structures.calls import apart


@apart
def largest_hole(state):
    """Return the bytes of the largest free block of all queues; 0 if there is none."""
    nodes = state.nodes
    most = np.int64(0)
    for queue in range(2 * state.at[STREAMS]):
        c = class_until(state.queues, queue, np.int64(CLASSES - 1))
        if c >= 0:
            x = np.int64(state.roots[queue * ROOTS + c])
            while nodes[x].right != 0:
                x = np.int64(nodes[x].right)
            most = max(most, nodes[x].extent)
    return most
