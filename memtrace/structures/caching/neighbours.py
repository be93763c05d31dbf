"""Measure the free memory beside a block in its segment.

The block keeps this memory from being part of one larger free range, and from going back to the device.
"""

import numpy as np

from memtrace.structures.caching.model import FREE


def neighbours(state, handles):
    """Return for each handle the free bytes directly before and behind its block, plus what rounding added to the block (int64).

    ``handles`` is an array of handles of live blocks. Only free blocks of the same segment count.
    """
    nodes = np.asarray(state.nodes)
    block = nodes[state.node_of[handles]]
    sides = [nodes[block[side]] for side in ("prev", "next")]
    free = [np.where((side["state"] == FREE) & (side["segment"] == block["segment"]), side["extent"], 0) for side in sides]
    return free[0] + free[1] + block["extent"] - block["requested"]
