"""Find memory for a request in PyTorch's order: a cached block, the device, the device after memory was given back."""

import numpy as np

from memtrace.structures.bits import align_up
from memtrace.structures.caching.blocks import new_node
from memtrace.structures.caching.device import UNIT, device_free, new_segment, take_memory
from memtrace.structures.caching.expandable import extend, least_growable
from memtrace.structures.caching.free_sets import best_fit, class_of, take_out_of
from memtrace.structures.caching.giving_back import collect_garbage, release_cached, release_oversize
from memtrace.structures.caching.history import OOM, SEGMENT_ALLOC, tell
from memtrace.structures.caching.model import HOLE, SEARCHES
from memtrace.structures.caching.sizes import device_size
from memtrace.structures.caching.statistics import (
    ALLOC_RETRIES,
    DEVICE_ALLOC,
    OOM_REJECTIONS,
    OOMS,
    OVERSIZE_SEGMENTS,
    RESERVED_BYTES,
    SEGMENT,
    rise,
    rise_one,
)
from memtrace.structures.calls import apart
from memtrace.structures.ledger import RESERVE_CALLS, RESERVED


def cached_block(state, queue, size):
    """Return the best-fitting free block of ``queue`` for ``size`` bytes, taken out of the free set; 0 if none may serve.

    ``size`` is the rounded request. Only the best fit is considered: if an oversize rule forbids it, no other block is tried. If
    garbage collection is on, a search of the pool is counted.
    """
    nodes, rules = state.nodes, state.rules
    if rules.collect_from >= 0:
        state.at[SEARCHES + (queue & 1)] += 1
    x, c = best_fit(state, queue, size)
    if x == 0:
        return x
    if nodes[nodes[x].next].state == HOLE:
        x = least_growable(nodes, state.segments, state.roots, state.queues, x)
        c = class_of(nodes[x].extent)
    extent = nodes[x].extent
    # An oversize block serves only oversize requests, and of these only those that nearly fill it.
    if size < rules.max_split:
        if extent >= rules.max_split:
            return np.int64(0)
    elif extent >= size + rules.max_rounding:
        return np.int64(0)
    take_out_of(state, x, queue, c)
    return x


@apart
def more_memory(state, queue, size):
    """Return a block of at least ``size`` bytes from the device, in no free set; 0 if memory is exhausted.

    The device is asked up to three times: after a garbage collection (if that is on), after oversize blocks were given back, and
    after the cache was emptied. Updates the statistics, which tell a rejected request from one that ran out of memory.
    """
    rules, stats = state.rules, state.stats
    if rules.collect_from >= 0:
        collect_garbage(state)
    for attempt in range(3):
        if attempt == 1 and not release_oversize(state, queue, size):
            continue
        if attempt == 2:
            release_cached(state)
            stats[ALLOC_RETRIES] += 1
        if beyond(state, size, rules.reject_from) and not beyond(state, size, rules.limit):
            stats[OOM_REJECTIONS] += 1
            return np.int64(0)
        x = device_block(state, queue, size)
        if x != 0:
            return x
    stats[OOMS] += 1
    tell(state, OOM, device_free(state), size, queue >> 1)
    return np.int64(0)


def beyond(state, size, limit):
    """Return whether a device allocation for a block of ``size`` bytes would take reserved bytes above ``limit``."""
    return state.ledger[RESERVED] + device_size(state.rules, size) > limit


@apart
def device_block(state, queue, size):
    """Return a new block of at least ``size`` bytes from the device, in no free set; 0 if there is none.

    The device may have too little memory left, or the process may have reached its limit. Updates ledger, statistics and history.
    """
    rules, stats = state.rules, state.stats
    if beyond(state, size, rules.limit):
        return np.int64(0)
    if rules.expandable:
        return extend(state, queue, size)
    wanted = device_size(rules, size)
    if not take_memory(state, align_up(wanted, UNIT)):
        return np.int64(0)
    s = new_segment(state, queue, wanted)
    x = new_node(state, state.segments[s].start, wanted, queue, s)
    state.nodes[x].prev = 0
    state.nodes[x].next = 0
    tell(state, SEGMENT_ALLOC, state.nodes[x].addr, wanted, queue >> 1)
    state.ledger[RESERVED] += wanted
    state.ledger[RESERVE_CALLS] += 1
    stats[DEVICE_ALLOC] += 1
    rise(stats, SEGMENT, queue & 1, 1)
    rise(stats, RESERVED_BYTES, queue & 1, wanted)
    if wanted >= rules.max_split:
        rise_one(stats, OVERSIZE_SEGMENTS, 1)
    return x
