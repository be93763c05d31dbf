"""The free tail of a heap: the hole that ends at the heap's reserved end."""

import numpy as np


def releasable(state):
    """Return the bytes of the heap's free tail, which could go back to the system without moving a block; 0 if there is none."""
    tail = state.nodes[0].prev
    return np.int64(state.nodes[tail].extent) if state.nodes[tail].free == 1 else np.int64(0)
