"""Find memory for a request in PyTorch's order: a cached block, the device, the device after memory was given back.

Memory is given back by garbage collection, by releasing oversize blocks for a larger one, and by emptying the cache.
"""

import numpy as np

from memtrace.contract.bits import align_up
from memtrace.contract.calls import out_of_line
from memtrace.contract.ledger import RELEASE_CALLS, RESERVE_CALLS, RESERVED
from memtrace.structures.caching.blocks import OOM, SEGMENT_ALLOC, SEGMENT_FREE, drop_node, is_split, new_node, record_event
from memtrace.structures.caching.device import UNIT, device_free, drop_segment, new_segment, take_memory
from memtrace.structures.caching.expandable import extend, least_growable, page_of, unmap, whole_pages
from memtrace.structures.caching.free_sets import (
    BY_SIZE,
    Key,
    best_fit,
    class_of,
    first_of_size,
    following,
    key_of,
    last_below,
    remove_free_from_class,
    remove_free_out_of_line,
)
from memtrace.structures.caching.state import DEVICE_USED, PRIVATE, SEARCHES, SMALLEST, STREAMS, UNMAPPED, device_size
from memtrace.structures.caching.statistics import (
    ALLOC_RETRIES,
    DEVICE_ALLOC,
    DEVICE_FREE,
    OOM_REJECTIONS,
    OOMS,
    OVERSIZE_SEGMENTS,
    RESERVED_BYTES,
    SEGMENT,
    fall,
    rise,
    rise_one,
)
from memtrace.structures.caching.streams import synchronise


@out_of_line
def release_block(state, x):
    """Give the segment of free block x back to the device; x has to be the segment's only block.

    Drops the node and the segment. Updates ledger, statistics and history.
    """
    nodes, stats = state.nodes, state.stats
    queue, size = np.int64(nodes[x].queue), nodes[x].extent
    remove_free_out_of_line(state, x)
    record_event(state, SEGMENT_FREE, nodes[x].addr, size, queue >> 1)
    state.at[DEVICE_USED] -= align_up(size, UNIT)
    state.ledger[RESERVED] -= size
    state.ledger[RELEASE_CALLS] += 1
    stats[DEVICE_FREE] += 1
    fall(stats, SEGMENT, queue & 1, 1)
    fall(stats, RESERVED_BYTES, queue & 1, size)
    if size >= state.rules.max_split:
        stats[OVERSIZE_SEGMENTS] -= 1
    drop_segment(state, np.int64(nodes[x].segment))
    drop_node(state, x)


@out_of_line
def release_cached(state):
    """Empty the cache: wait for all stream events, then give back all segments that are free as a whole.

    Of expandable segments, all whole pages within free blocks are given back.
    """
    synchronise(state)
    release_pool(state, 1)
    release_pool(state, 0)


@out_of_line
def release_pool(state, pool):
    """Give back the free memory of a pool (0 small, 1 large), except that of private pools.

    Free blocks are visited by stream, size and address. Unsplit blocks go back with their segments; of expandable segments, whole
    pages are unmapped. What unmapping leaves of a block is smaller than the block, so the walk does not meet it again.
    """
    nodes, segments = state.nodes, state.segments
    least = page_of(state.rules, pool) if state.rules.expandable else state.at[SMALLEST + pool]
    for i in range(state.at[STREAMS]):
        if state.streams[state.streams[i].ordered].private & PRIVATE:
            continue
        queue = 2 * np.int64(state.streams[i].ordered) + pool
        x = first_of_size(state, queue, least)
        while x != 0:
            key = key_of(nodes, x, BY_SIZE)
            if state.rules.expandable:
                first, last = whole_pages(nodes, segments, x, least)
                if first < last:
                    unmap(state, x, first, last)
            elif not is_split(nodes, x):
                release_block(state, x)
            x = following(state, queue, key)


@out_of_line
def collect_garbage(state):
    """Give back large segments that were unused for at least the average age, until reserved bytes reach the threshold.

    The age of a free block is the number of searches of the large pool since it became free. Only unsplit blocks count, and
    private pools are left out. The average is computed anew for each pass over the blocks, and no pass is cut short; the passes
    also end when one gives nothing back. Does nothing with expandable segments.
    """
    nodes = state.nodes
    wanted = state.ledger[RESERVED] - state.rules.collect_from
    if wanted <= 0 or state.rules.expandable:
        return
    least = state.at[SMALLEST + 1]
    clock = state.at[SEARCHES + 1]
    total_age, count = np.int64(0), np.int64(0)
    for i in range(state.at[STREAMS]):
        if state.streams[state.streams[i].ordered].private & PRIVATE:
            continue
        queue = 2 * np.int64(state.streams[i].ordered) + 1
        x = first_of_size(state, queue, least)
        while x != 0:
            if not is_split(nodes, x):
                total_age += clock - nodes[x].since
                count += 1
            x = following(state, queue, key_of(nodes, x, BY_SIZE))
    reclaimed, freed = np.int64(0), True
    while reclaimed < wanted and freed and count > 0:
        freed = False
        threshold = total_age / count
        for i in range(state.at[STREAMS]):
            if state.streams[state.streams[i].ordered].private & PRIVATE:
                continue
            queue = 2 * np.int64(state.streams[i].ordered) + 1
            x = first_of_size(state, queue, least)
            while x != 0:
                key = key_of(nodes, x, BY_SIZE)
                age = clock - nodes[x].since
                if not is_split(nodes, x) and age >= threshold:
                    release_block(state, x)
                    reclaimed += key.size
                    total_age -= age
                    count -= 1
                    freed = True
                x = following(state, queue, key)


@out_of_line
def release_oversize(state, queue, size):
    """Give back oversize free blocks of ``queue`` that make room for ``size`` bytes; return whether they were enough.

    That is the smallest one that is large enough, or else several, the largest first, until their sum is. "Enough" is ``size`` or
    ``max_split`` bytes, whichever is more. Does nothing without a max_split_size, and with expandable segments. Blocks that were
    given back stay given back if the sum is not enough.
    """
    nodes, rules = state.nodes, state.rules
    if rules.max_split >= 1 << 62 or rules.expandable:
        return False
    wanted = max(size, rules.max_split)
    x, _ = best_fit(state, queue, wanted)
    if x != 0:
        release_block(state, x)
        return True
    released = np.int64(0)
    x = last_below(state, queue, Key(wanted, np.int64(0), np.int64(0)))
    while x != 0 and nodes[x].extent >= rules.max_split and released < wanted:
        key = key_of(nodes, x, BY_SIZE)
        release_block(state, x)
        released += key.size
        x = last_below(state, queue, key)
    return released >= wanted


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
    if nodes[nodes[x].next].state == UNMAPPED:
        x = least_growable(nodes, state.roots, state.queues, x)
        c = class_of(nodes[x].extent)
    extent = nodes[x].extent
    # An oversize block serves only oversize requests, and of these only those that nearly fill it.
    if size < rules.max_split:
        if extent >= rules.max_split:
            return np.int64(0)
    elif extent >= size + rules.max_rounding:
        return np.int64(0)
    remove_free_from_class(state, x, queue, c)
    return x


@out_of_line
def block_after_release(state, queue, size):
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
        if exceeds(state, size, rules.reject_from) and not exceeds(state, size, rules.limit):
            stats[OOM_REJECTIONS] += 1
            return np.int64(0)
        x = device_block(state, queue, size)
        if x != 0:
            return x
    stats[OOMS] += 1
    record_event(state, OOM, device_free(state), size, queue >> 1)
    return np.int64(0)


def exceeds(state, size, limit):
    """Return whether a device allocation for a block of ``size`` bytes would take reserved bytes above ``limit``."""
    return state.ledger[RESERVED] + device_size(state.rules, size) > limit


@out_of_line
def device_block(state, queue, size):
    """Return a new block of at least ``size`` bytes from the device, in no free set; 0 if there is none.

    The device may have too little memory left, or the process may have reached its limit. Updates ledger, statistics and history.
    """
    rules, stats = state.rules, state.stats
    if exceeds(state, size, rules.limit):
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
    record_event(state, SEGMENT_ALLOC, state.nodes[x].addr, wanted, queue >> 1)
    state.ledger[RESERVED] += wanted
    state.ledger[RESERVE_CALLS] += 1
    stats[DEVICE_ALLOC] += 1
    rise(stats, SEGMENT, queue & 1, 1)
    rise(stats, RESERVED_BYTES, queue & 1, wanted)
    if wanted >= rules.max_split:
        rise_one(stats, OVERSIZE_SEGMENTS, 1)
    return x
