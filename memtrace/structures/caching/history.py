"""The event history of the allocator itself, as PyTorch's memory history has it; it is kept only if the option asks for it."""

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
    """Append an event to the history, if one is kept.

    ``action`` is a code (ALLOC ... OOM), ``address`` the start of the block or range (of an OOM the free bytes of the device),
    ``size`` in bytes.
    """
    if state.history.size > 1:
        write_down(state, action, address, size, stream_index)


@apart
def write_down(state, action, address, size, stream_index):
    """Append an event to the history, which has room, with the stream's number in place of its index.

    The arguments are those of ``tell``.
    """
    i = state.at[HISTORY]
    entry = state.history[i]
    entry.action = action
    entry.addr = address
    entry.extent = size
    entry.stream = state.streams[stream_index].number
    state.at[HISTORY] = i + 1


def events(state):
    """Return the history so far as a list of (action name, address, size, stream number).

    Sizes are in bytes as PyTorch records them: of a block what was requested, of an ``oom`` the rounded request.
    """
    return [
        (ACTIONS[int(entry["action"])], int(entry["addr"]), int(entry["extent"]), int(entry["stream"]))
        for entry in np.asarray(state.history)[: int(state.at[HISTORY])]
    ]
