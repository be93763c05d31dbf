"""The compiled part: a discrete-event simulation of locks, fed with a trace's operations in their order.

An operation arrives at its time, but not before its thread's last operation is done, nor before the block's last one is.
Locks are given in the order of arrival, ties in that of the trace. What has come but cannot arrive yet is kept in nodes.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from memtrace.trace import Op

ALLOC, FREE, REALLOC = int(Op.ALLOC), int(Op.FREE), int(Op.REALLOC)

# of an operation: the event, thread, lock (-1: none), nanoseconds it holds the lock or the thread, earliest arrival, what it
# waits for, the next of its thread and of its block, its slot
EVENT, THREAD, LOCK, HOLD, ARRIVAL, PENDING, NEXT_OF_THREAD, NEXT_OF_BLOCK, SLOT = range(9)
READ, HEAPED, SPARE, IN_USE, OPERATIONS, LOCKED, CONFLICTS, WAITED, LONGEST, FOREIGN, CACHED, CACHE_BYTES, CACHE_PEAK, END = (
    range(14)
)
COUNTS = 14
TAIL, DONE = range(2)  # of a thread and of a slot: its last operation that is not done (-1: none); when its last one was
ARENA, SIZE, OWNER = range(3)  # of a block
DONE_ALL, FULL = 0, 1
CLASSES, CLASS_BYTES = 64, 16  # of thread caches: sizes up to 1024 bytes


@njit(cache=True, nogil=True)
def push(heap: Any, nodes: Any, counts: Any, node: Any) -> None:
    at = counts[HEAPED]
    counts[HEAPED] += 1
    while at > 0 and earlier(nodes, node, heap[(at - 1) // 2]):
        heap[at] = heap[(at - 1) // 2]
        at = (at - 1) // 2
    heap[at] = node


@njit(cache=True, nogil=True)
def pop(heap: Any, nodes: Any, counts: Any) -> Any:
    first = heap[0]
    counts[HEAPED] -= 1
    n, last, at = counts[HEAPED], heap[counts[HEAPED]], np.int64(0)
    while 2 * at + 1 < n:
        child = 2 * at + 1
        if child + 1 < n and earlier(nodes, heap[child + 1], heap[child]):
            child += 1
        if not earlier(nodes, heap[child], last):
            break
        heap[at] = heap[child]
        at = child
    heap[at] = last
    return first


@njit(cache=True, nogil=True)
def earlier(nodes: Any, a: Any, b: Any) -> Any:
    if nodes[a, ARRIVAL] != nodes[b, ARRIVAL]:
        return nodes[a, ARRIVAL] < nodes[b, ARRIVAL]
    return nodes[a, EVENT] < nodes[b, EVENT]


@njit(cache=True, nogil=True)
def settle(until, heap, nodes, counts, threads, slots, locks, lock_counts):  # type: ignore[no-untyped-def]
    """Do every operation that arrives before a time."""
    while counts[HEAPED] > 0 and nodes[heap[0], ARRIVAL] < until:
        node = pop(heap, nodes, counts)
        arrival, lock = nodes[node, ARRIVAL], nodes[node, LOCK]
        start = arrival
        if lock >= 0:
            counts[LOCKED] += 1
            lock_counts[lock, 0] += 1
            start = max(arrival, locks[lock])
            if start > arrival:
                counts[CONFLICTS] += 1
                counts[WAITED] += start - arrival
                counts[LONGEST] = max(counts[LONGEST], start - arrival)
                lock_counts[lock, 1] += 1
                lock_counts[lock, 2] += start - arrival
            locks[lock] = start + nodes[node, HOLD]
        done = start + nodes[node, HOLD]
        counts[END] = max(counts[END], done)
        thread, slot = nodes[node, THREAD], nodes[node, SLOT]
        threads[thread, DONE] = done
        if threads[thread, TAIL] == node:
            threads[thread, TAIL] = -1
        if slots[slot, TAIL] == node:
            slots[slot, TAIL], slots[slot, DONE] = -1, done
        for link in (NEXT_OF_THREAD, NEXT_OF_BLOCK):
            after = nodes[node, link]
            if after >= 0:
                nodes[after, ARRIVAL] = max(nodes[after, ARRIVAL], done)
                nodes[after, PENDING] -= 1
                if nodes[after, PENDING] == 0:
                    push(heap, nodes, counts, after)
        nodes[node, NEXT_OF_THREAD] = counts[SPARE]
        counts[SPARE] = node
        counts[IN_USE] -= 1


@njit(cache=True, nogil=True)
def enter(event, time, thread, slot, lock, hold, new, heap, nodes, counts, threads, slots):  # type: ignore[no-untyped-def]
    """Take an operation in: behind its thread's last one and, unless its block is new, its block's."""
    node = counts[SPARE]
    counts[SPARE] = nodes[node, NEXT_OF_THREAD]
    counts[IN_USE] += 1
    nodes[node, EVENT], nodes[node, THREAD], nodes[node, LOCK], nodes[node, HOLD] = event, thread, lock, hold
    nodes[node, SLOT], nodes[node, NEXT_OF_THREAD], nodes[node, NEXT_OF_BLOCK] = slot, -1, -1
    arrival, pending = max(time, threads[thread, DONE]), 0
    if threads[thread, TAIL] >= 0:
        nodes[threads[thread, TAIL], NEXT_OF_THREAD] = node
        pending += 1
    if not new:
        if slots[slot, TAIL] >= 0:
            nodes[slots[slot, TAIL], NEXT_OF_BLOCK] = node
            pending += 1
        else:
            arrival = max(arrival, slots[slot, DONE])
    threads[thread, TAIL] = slots[slot, TAIL] = node
    nodes[node, ARRIVAL], nodes[node, PENDING] = arrival, pending
    if pending == 0:
        push(heap, nodes, counts, node)


@njit(cache=True, nogil=True)
def run(  # type: ignore[no-untyped-def]
    op,
    block,
    size,
    thread,
    time,
    home,
    hold,
    cached,
    room,
    owners_free,
    heap,
    nodes,
    counts,
    threads,
    slots,
    blocks,
    locks,
    lock_counts,
    filled,
    caches,
    start,
):
    """One batch from an event on; returns how far it came, and FULL where more nodes are needed.

    ``home`` is the arena of each thread.

    ``hold`` is by op; ``room`` blocks of each size class find place in a thread's cache, and take ``cached`` ns and no lock.
    """
    for i in range(start, op.size):
        kind, slot = op[i], np.int64(block[i])
        if kind > REALLOC or slot < 0:
            continue
        if counts[IN_USE] + 1 > nodes.shape[0]:
            settle(time[i], heap, nodes, counts, threads, slots, locks, lock_counts)
            if counts[IN_USE] + 1 > nodes.shape[0]:
                return i, FULL
        settle(time[i], heap, nodes, counts, threads, slots, locks, lock_counts)
        who = np.int64(thread[i])
        if kind == FREE and owners_free:
            who = blocks[slot, OWNER]
        takes = hold[kind]
        if kind == ALLOC:
            blocks[slot, ARENA], blocks[slot, SIZE], blocks[slot, OWNER] = home[who], size[i], who
        lock = blocks[slot, ARENA]
        if kind != ALLOC and home[blocks[slot, OWNER]] != home[who]:
            counts[FOREIGN] += kind == FREE
        of = (max(blocks[slot, SIZE], 1) - 1) // CLASS_BYTES
        if room > 0 and of < CLASSES and kind != REALLOC:
            if kind == ALLOC and filled[who, of] > 0:
                filled[who, of] -= 1
                blocks[slot, ARENA] = caches[who, of, filled[who, of]]
                counts[CACHE_BYTES] -= (of + 1) * CLASS_BYTES
                lock, takes = np.int64(-1), cached
            elif kind == FREE and filled[who, of] < room:
                caches[who, of, filled[who, of]] = lock
                filled[who, of] += 1
                counts[CACHE_BYTES] += (of + 1) * CLASS_BYTES
                counts[CACHE_PEAK] = max(counts[CACHE_PEAK], counts[CACHE_BYTES])
                lock, takes = np.int64(-1), cached
        if kind == REALLOC:
            blocks[slot, SIZE] = size[i]
        counts[CACHED] += lock < 0
        counts[OPERATIONS] += 1
        enter(counts[READ] + i, time[i], who, slot, lock, takes, kind == ALLOC, heap, nodes, counts, threads, slots)
    counts[READ] += op.size
    return op.size, DONE_ALL
