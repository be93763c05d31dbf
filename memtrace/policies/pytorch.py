"""PyTorch's CUDA caching allocator: best fit among cached blocks of a stream; the device is asked when none fits.

Requests are rounded to 512 bytes. Up to 1 MiB they come from segments of 2 MiB, below 10 MiB from segments of 20 MiB,
above from segments made to measure. A freed block joins its free neighbours and is cached for its own stream; a block
that another stream uses waits for that stream's events. When the device has no more, cached segments are given back.
With expandable_segments, blocks lie in reserved address space into which memory is mapped page by page.

The options are those of PYTORCH_CUDA_ALLOC_CONF, in its own grammar or with `=`:
`pytorch:max_split_size_mb:128,garbage_collection_threshold:0.8`. Four are ours: version, va, events, history. Addresses are
virtual, offsets from the first that the device gave. For an alignment above 512 a larger block is requested, as a program
would do it. Not modelled: graph capture, private pools (but for recordings, see `memtrace whatif`), cudaMallocAsync.

Cost: treaps of free blocks in size classes under a bitmap, a few loads each; what the device is asked is rare.
Source: behaviour of PyTorch 2.1 to 2.15, to the bit: addresses, statistics and events, compared with the library itself.
"""

from typing import Literal

import numpy as np

from memtrace.contract.ledger import BLOCK_SIZE, HOLE_TAKEN, INSPECTED
from memtrace.contract.request import ENLARGE, NOTHING, NOWHERE
from memtrace.structures.caching.blocks import complete_free, hand_out, request_free
from memtrace.structures.caching.blocks import events as history_events
from memtrace.structures.caching.conf import rules_of
from memtrace.structures.caching.free_sets import largest_hole
from memtrace.structures.caching.reserving import block_after_release, cached_block, release_cached
from memtrace.structures.caching.state import (
    COUNT,
    DIVISIONS_AT,
    MIN_BLOCK,
    QUEUED,
    ROW,
    SMALL_SIZE,
    State,
    doubling_of,
    enlarge,
    lacks_room,
    neighbours,
    new_state,
    rounded,
)
from memtrace.structures.caching.statistics import ACTIVE_BYTES, COUNTERS, INACTIVE_SPLIT_BYTES, RESERVED_BYTES, write_statistics
from memtrace.structures.caching.streams import (
    events_done,
    process_events,
    record_use,
    stream_of,
    wait_for_streams,
)

ORDER = 40
GROUPS = ("gpu",)
ALSO_WITH = ("expandable_segments=True",)
VIRTUAL = True
EXABYTE = 1 << 60  # bytes: a request from this size on fails


def init(
    capacity,
    max_live,
    max_split_size_mb="unlimited",
    max_non_split_rounding_mb="",
    roundup_power2_divisions="off",
    garbage_collection_threshold="off",
    expandable_segments=False,
    large_segment_size_mb="20",
    per_process_memory_fraction="1",
    throw_on_cudamalloc_oom=False,
    backend="native",
    release_lock_on_cudamalloc=False,
    release_lock_on_hipmalloc=False,
    graph_capture_record_stream_reuse=False,
    pinned_use_cuda_host_register=False,
    pinned_use_hip_host_register=False,
    pinned_num_register_threads="1",
    pinned_use_background_threads=False,
    pinned_reserve_segment_size_mb="",
    pinned_max_cached_size_mb="",
    pinned_max_round_threshold_mb="",
    pinned_free_catch_all=False,
    va: Literal["bump", "firstfit"] = "bump",
    version="2.15",
    events: Literal["told", "auto", "manual"] = "told",
    history=False,
):
    rules, divisions = rules_of(capacity, locals())
    return new_state(rules, max_live, divisions, history)


def alloc(state, request):
    """Serve a request from the cached blocks of its stream, or from the device; return the block's address.

    Return NOTHING for a request of 0 bytes, ENLARGE if an array is too small, NOWHERE if the device has no memory left,
    even after cached segments were given back.
    """
    state.node_of[request.block] = 0
    if request.size == 0:
        return NOTHING
    if lacks_room(state):
        return ENLARGE
    stream = stream_of(state, request.stream)
    if stream < 0:
        return ENLARGE
    wanted = request.size + max(request.align - MIN_BLOCK, 0)
    if wanted >= EXABYTE:
        return NOWHERE
    if state.at[QUEUED] > 0:
        process_events(state)
    size = rounded(wanted, state.at[DIVISIONS_AT + doubling_of(wanted)])
    queue = 2 * stream + (1 if size > SMALL_SIZE else 0)
    state.ledger[BLOCK_SIZE] = size
    state.ledger[INSPECTED] = state.queues[queue * ROW + COUNT]
    x = cached_block(state, queue, size)
    if x != 0:
        state.ledger[HOLE_TAKEN] = state.nodes[x].extent
    else:
        x = block_after_release(state, queue, size)
        if x == 0:
            return NOWHERE
    address = hand_out(state, x, size, wanted, request.block)
    if request.align > MIN_BLOCK:
        address = (address + request.align - 1) & -request.align
    return address


def free(state, request, address):
    """Free the block with the handle ``request.block``, unless other streams still use it: then it waits for their events.

    A freed block joins its free neighbours and is cached for its own stream. ``address`` is not used.
    """
    x = np.int64(state.node_of[request.block])
    request_free(state, x)
    if state.nodes[x].recorded == 1:
        wait_for_streams(state, x)
    else:
        state.node_of[request.block] = 0
        complete_free(state, x)


def record(state, request, stream, address):
    """Note that ``stream`` uses the block with the handle ``request.block``.

    Return NOTHING, or ENLARGE if an array is too small.
    """
    return record_use(state, request.block, stream)


def complete(state, request, stream, address):
    """Note that the stream work of a freed block is done, or of all freed blocks if ``request.block`` is -1."""
    events_done(state, request.block)


def releasable(state):
    """Return the bytes of segments that are free as a whole, which `empty_cache` would give back."""
    stats = state.stats
    held = stats[RESERVED_BYTES + 4] + stats[RESERVED_BYTES + 8]
    active = stats[ACTIVE_BYTES + 4] + stats[ACTIVE_BYTES + 8]
    return held - active - stats[INACTIVE_SPLIT_BYTES + 4] - stats[INACTIVE_SPLIT_BYTES + 8]


def trim(state):
    """Give cached segments back to the device, as PyTorch's `empty_cache` does."""
    release_cached(state)


def write_counters(state, row):
    """Write PyTorch's statistics into ``row``, in the order of COUNTERS."""
    write_statistics(state.stats, row)
