"""What is free beside a block, in its segment: memory that the block keeps from being one range, and from going back."""

import numpy as np

from memtrace.structures.caching.model import FREE


def neighbours(state, handles):
    """Free bytes right before and right behind the block of each handle, and what rounding added to it: int64."""
    nodes = np.asarray(state.nodes)
    block = nodes[state.node_of[handles]]
    sides = [nodes[block[side]] for side in ("prev", "next")]
    free = [np.where((side["state"] == FREE) & (side["segment"] == block["segment"]), side["extent"], 0) for side in sides]
    return free[0] + free[1] + block["extent"] - block["requested"]
