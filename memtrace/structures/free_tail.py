"""The free top of a heap, above which nothing is in use."""

import numpy as np


def releasable(state):
    """Its bytes: they could go back to the system as they lie."""
    tail = state.nodes[0].prev
    return np.int64(state.nodes[tail].extent) if state.nodes[tail].free == 1 else np.int64(0)
