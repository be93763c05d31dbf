"""The allocator's own event stream, as PyTorch's memory history has it; kept only where it was asked for."""

import numpy as np

from memtrace.structures.caching.model import HISTORY
from memtrace.structures.calls import apart

ACTIONS = (
    "alloc",
    "free_requested",
    "free_completed",
    "segment_alloc",
    "segment_free",
    "segment_map",
    "segment_unmap",
    "oom",
)
ALLOC, FREE_REQUESTED, FREE_COMPLETED, SEGMENT_ALLOC, SEGMENT_FREE, SEGMENT_MAP, SEGMENT_UNMAP, OOM = range(8)


def tell(state, action, address, size, stream_index):
    if state.history.size > 1:
        write_down(state, action, address, size, stream_index)


@apart
def write_down(state, action, address, size, stream_index):
    i = state.at[HISTORY]
    entry = state.history[i]
    entry.action = action
    entry.addr = address
    entry.extent = size
    entry.stream = state.streams[stream_index].number
    state.at[HISTORY] = i + 1


def events(state):
    """(action, address, size, stream) of everything so far; sizes as PyTorch has them: what was requested, an oom's rounded."""
    return [
        (ACTIONS[int(entry["action"])], int(entry["addr"]), int(entry["extent"]), int(entry["stream"]))
        for entry in np.asarray(state.history)[: int(state.at[HISTORY])]
    ]
