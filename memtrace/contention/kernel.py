"""Compiled kernel of the contention model: a discrete-event simulation of locks, fed with operations in the trace's order.

An operation arrives at its time, but not before its thread's last operation is done, nor before the block's last one is.
Locks are given in the order of arrival, ties in that of the trace. An operation whose predecessors are not done is kept as
a node until they are.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from memtrace.trace import Op

ALLOC, FREE, REALLOC = int(Op.ALLOC), int(Op.FREE), int(Op.REALLOC)

# columns of nodes, one row per operation: event, thread, lock (-1: none), nanoseconds it holds the lock or the thread, earliest
# arrival, number of predecessors not done yet, next node of its thread and of its block (-1: none), slot
EVENT, THREAD, LOCK, HOLD, ARRIVAL, PENDING, NEXT_OF_THREAD, NEXT_OF_BLOCK, SLOT = range(9)
# places in counts: events of the batches before; nodes in the heap; first of the list of unused nodes; nodes in use; operations;
# of them with a lock; conflicts; nanoseconds waited in all and at most; frees from another arena; operations served by caches;
# bytes in caches now and at their peak; when the last operation is done
READ, HEAPED, SPARE, IN_USE, OPERATIONS, LOCKED, CONFLICTS, WAITED, LONGEST, FOREIGN, CACHED, CACHE_BYTES, CACHE_PEAK, END = (
    range(14)
)
COUNTS = 14
TAIL, DONE = range(2)  # of a thread and of a slot: node of its last operation, if not done (-1: none); when its last one was done
ARENA, SIZE, OWNER = range(3)  # of a slot: the block's arena, its bytes, the thread that allocated it
DONE_ALL, FULL = 0, 1  # why the kernel returned
CLASSES, CLASS_BYTES = 64, 16  # of thread caches: 64 size classes of 16 bytes each, up to 1024 bytes


@njit(cache=True, nogil=True)
def push(heap: Any, nodes: Any, counts: Any, node: Any) -> None:
    """Insert a node into the binary heap of operations that can arrive, ordered by ``earlier``; ``counts[HEAPED]`` goes up."""
    at = counts[HEAPED]
    counts[HEAPED] += 1
    while at > 0 and earlier(nodes, node, heap[(at - 1) // 2]):
        heap[at] = heap[(at - 1) // 2]
        at = (at - 1) // 2
    heap[at] = node


@njit(cache=True, nogil=True)
def pop(heap: Any, nodes: Any, counts: Any) -> Any:
    """Remove the operation that arrives first from the binary heap, and return its node; ``counts[HEAPED]`` goes down."""
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
    """Return whether the operation of node a arrives before that of node b; at the same time the earlier event is first."""
    if nodes[a, ARRIVAL] != nodes[b, ARRIVAL]:
        return nodes[a, ARRIVAL] < nodes[b, ARRIVAL]
    return nodes[a, EVENT] < nodes[b, EVENT]


@njit(cache=True, nogil=True)
def settle(until, heap, nodes, counts, threads, slots, locks, lock_counts):  # type: ignore[no-untyped-def]
    """Carry out every operation that arrives before time ``until``, in order of arrival, and count its wait for the lock.

    A done operation's node is unused again. An operation whose last predecessor it was enters the heap, and arrives no
    earlier than that operation was done.
    """
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
    """Add an operation behind the last one of its thread and, unless its block is ``new``, the last one of the block.

    It gets an unused node, and enters the heap if nothing precedes it. ``lock`` -1: it takes no lock; ``hold`` is in
    nanoseconds.
    """
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
    """Simulate one batch from event ``start`` on; return how far it came, and FULL if there are too few nodes, else DONE_ALL.

    ``home`` is the arena of each thread, ``hold`` nanoseconds by op. A thread's cache holds ``room`` blocks of each size
    class; an operation that it serves takes ``cached`` nanoseconds and no lock. ``owners_free``: a block is freed by the
    thread that allocated it. ``filled`` is [thread, class], the blocks in a cache; ``caches`` is [thread, class, i], their
    arenas; ``locks`` is [arena], when the lock is free again; ``lock_counts`` is [arena, (operations, conflicts,
    nanoseconds waited)]. All are updated in place.
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
