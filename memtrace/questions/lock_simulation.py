"""Compiled kernel of the contention model: a discrete-event simulation of locks, fed with operations in the trace's order.

An operation arrives at its time, but not before its thread's last operation is done, nor before the block's last one is.
Locks are given in the order of arrival, ties in that of the trace. An operation whose predecessors are not done is kept as
a node until they are. No compiled function allocates.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from memtrace.kernels import fast_options, jit
from memtrace.trace import Op

Ints = NDArray[np.int64]

ALLOC, FREE, REALLOC = int(Op.ALLOC), int(Op.FREE), int(Op.REALLOC)
# columns of Queue.nodes: event, thread, lock (-1: none), nanoseconds it holds the lock or the thread, earliest arrival, number
# of predecessors not done yet, next node of its thread and of its block (-1: none), slot
EVENT, THREAD, LOCK, HOLD, ARRIVAL, PENDING, NEXT_OF_THREAD, NEXT_OF_BLOCK, SLOT = range(9)
# entries of Queue.counts: events of the batches before; nodes in the heap; first of the list of unused nodes; nodes in use;
# operations; of them with a lock; conflicts; nanoseconds waited in all and at most; frees from another arena; operations served
# by caches; bytes in caches now and at their peak; when the last operation is done
READ, HEAPED, SPARE, IN_USE, OPERATIONS, LOCKED, CONFLICTS, WAITED, LONGEST, FOREIGN, CACHED, CACHE_BYTES, CACHE_PEAK, END = (
    range(14)
)
COUNTS = 14
TAIL, DONE = range(2)  # of a thread and of a slot: node of its last operation, if not done (-1: none); when its last one was done
ARENA, SIZE, OWNER = range(3)  # columns of Caches.blocks: the block's arena, its bytes, the thread that allocated it
DONE_ALL, FULL = 0, 1  # why the kernel returned
CLASSES, CLASS_BYTES = 64, 16  # of thread caches: 64 size classes of 16 bytes each, up to 1024 bytes
FIRST_NODES = 1024  # operations in progress for which there is room at first

compiled = jit(**fast_options())


class Batch(NamedTuple):
    """The columns of a batch of events that the kernel reads, one entry for each event."""

    op: NDArray[np.uint8]  # codes of Op
    block: NDArray[np.int32]  # slot of the block, -1 where there is none
    size: Ints  # bytes
    thread: Ints  # index of the thread
    time: Ints  # nanoseconds


class Costs(NamedTuple):
    """What the kernel does not change: the arenas of the threads, and how long operations take."""

    home: Ints  # [thread] its arena
    hold: Ints  # [op] nanoseconds that an alloc, free or realloc holds the lock
    cached: int  # nanoseconds of an operation that a thread's cache serves
    room: int  # blocks of each size class that a thread's cache holds; 0: there are no caches
    owners_free: bool  # a block is freed by the thread that allocated it


class Queue(NamedTuple):
    """The operations in progress, the locks that they wait for, and the counts; updated in place."""

    heap: Ints  # binary heap of the nodes that can arrive, ordered by `earlier`; counts[HEAPED] of them
    nodes: Ints  # [node, (EVENT, THREAD, LOCK, HOLD, ARRIVAL, PENDING, NEXT_OF_THREAD, NEXT_OF_BLOCK, SLOT)]
    counts: Ints  # [COUNTS] see READ to END
    threads: Ints  # [thread, (TAIL, DONE)]
    slots: Ints  # [slot, (TAIL, DONE)]
    locks: Ints  # [arena] nanoseconds: when the lock is free again
    lock_counts: Ints  # [arena, (operations, conflicts, nanoseconds waited)]


class Caches(NamedTuple):
    """The live blocks, and the free blocks in the threads' caches; updated in place."""

    blocks: Ints  # [slot, (ARENA, SIZE, OWNER)]
    filled: Ints  # [thread, size class] blocks in the cache
    arenas: Ints  # [thread, size class, i] the arenas of these blocks


class Operation(NamedTuple):
    """An operation that joins the queue."""

    event: np.int64  # its number
    time: np.int64  # nanoseconds
    thread: np.int64
    slot: np.int64
    lock: np.int64  # the arena whose lock it takes, -1 for none
    hold: np.int64  # nanoseconds that it holds the lock or the thread


def new_queue(threads: int, slots: int, arenas: int) -> Queue:
    """Return a queue without operations for so many threads, slots of blocks and arenas; all times are 0."""
    return Queue(
        heap=np.zeros(FIRST_NODES, np.int64),
        nodes=new_nodes(FIRST_NODES),
        counts=np.zeros(COUNTS, np.int64),
        threads=np.tile(np.array([-1, 0], np.int64), (threads, 1)),
        slots=np.tile(np.array([-1, 0], np.int64), (slots, 1)),
        locks=np.zeros(arenas, np.int64),
        lock_counts=np.zeros((arenas, 3), np.int64),
    )


def new_caches(threads: int, slots: int, room: int) -> Caches:
    """Return empty caches of ``room`` blocks of each size class for so many threads, and no live blocks."""
    return Caches(
        blocks=np.zeros((slots, 3), np.int64),
        filled=np.zeros((threads, CLASSES), np.int64),
        arenas=np.zeros((threads, CLASSES, max(room, 1)), np.int64),
    )


def new_nodes(count: int) -> Ints:
    """Return ``count`` unused nodes of operations, each linked to the next."""
    nodes = np.zeros((count, 9), np.int64)
    nodes[:, NEXT_OF_THREAD] = np.arange(1, count + 1)
    return nodes


def with_more_nodes(queue: Queue) -> Queue:
    """Return the queue with twice as many nodes, none of which was unused; the new ones are the list of unused nodes."""
    count = queue.nodes.shape[0]
    more = new_nodes(count)
    more[:, NEXT_OF_THREAD] += count
    queue.counts[SPARE] = count
    heap = np.concatenate((queue.heap, np.zeros_like(queue.heap)))
    return queue._replace(heap=heap, nodes=np.concatenate((queue.nodes, more)))


@compiled
def run(batch, costs, queue, caches, start):  # type: ignore[no-untyped-def]
    """Simulate one batch from event ``start`` on; return how far it came, and FULL if there are too few nodes, else DONE_ALL."""
    counts, blocks, filled = queue.counts, caches.blocks, caches.filled
    for i in range(start, batch.op.size):
        kind, slot = batch.op[i], np.int64(batch.block[i])
        if kind > REALLOC or slot < 0:
            continue
        time = batch.time[i]
        run_until(time, queue)
        if counts[IN_USE] + 1 > queue.nodes.shape[0]:
            return i, FULL
        who = np.int64(batch.thread[i])
        if kind == FREE and costs.owners_free:
            who = blocks[slot, OWNER]
        takes = costs.hold[kind]
        if kind == ALLOC:
            blocks[slot, ARENA], blocks[slot, SIZE], blocks[slot, OWNER] = costs.home[who], batch.size[i], who
        lock = blocks[slot, ARENA]
        if kind != ALLOC and costs.home[blocks[slot, OWNER]] != costs.home[who]:
            counts[FOREIGN] += kind == FREE
        of = (max(blocks[slot, SIZE], 1) - 1) // CLASS_BYTES
        if costs.room > 0 and of < CLASSES and kind != REALLOC:
            if kind == ALLOC and filled[who, of] > 0:
                filled[who, of] -= 1
                blocks[slot, ARENA] = caches.arenas[who, of, filled[who, of]]
                counts[CACHE_BYTES] -= (of + 1) * CLASS_BYTES
                lock, takes = np.int64(-1), np.int64(costs.cached)
            elif kind == FREE and filled[who, of] < costs.room:
                caches.arenas[who, of, filled[who, of]] = lock
                filled[who, of] += 1
                counts[CACHE_BYTES] += (of + 1) * CLASS_BYTES
                counts[CACHE_PEAK] = max(counts[CACHE_PEAK], counts[CACHE_BYTES])
                lock, takes = np.int64(-1), np.int64(costs.cached)
        if kind == REALLOC:
            blocks[slot, SIZE] = batch.size[i]
        counts[CACHED] += lock < 0
        counts[OPERATIONS] += 1
        operation = Operation(event=counts[READ] + i, time=time, thread=who, slot=slot, lock=lock, hold=takes)
        enqueue(operation, kind == ALLOC, queue)
    counts[READ] += batch.op.size
    return batch.op.size, DONE_ALL


@compiled
def run_until(until: Any, queue: Any) -> None:
    """Carry out every operation that arrives before time ``until``, in order of arrival, and count its wait for the lock.

    A done operation's node is unused again. An operation whose last predecessor it was enters the heap, and arrives no
    earlier than that operation was done.
    """
    heap, nodes, counts, lock_counts = queue.heap, queue.nodes, queue.counts, queue.lock_counts
    while counts[HEAPED] > 0 and nodes[heap[0], ARRIVAL] < until:
        node = pop(heap, nodes, counts)
        arrival, lock = nodes[node, ARRIVAL], nodes[node, LOCK]
        start = arrival
        if lock >= 0:
            counts[LOCKED] += 1
            lock_counts[lock, 0] += 1
            start = max(arrival, queue.locks[lock])
            if start > arrival:
                counts[CONFLICTS] += 1
                counts[WAITED] += start - arrival
                counts[LONGEST] = max(counts[LONGEST], start - arrival)
                lock_counts[lock, 1] += 1
                lock_counts[lock, 2] += start - arrival
            queue.locks[lock] = start + nodes[node, HOLD]
        done = start + nodes[node, HOLD]
        counts[END] = max(counts[END], done)
        thread, slot = nodes[node, THREAD], nodes[node, SLOT]
        queue.threads[thread, DONE] = done
        if queue.threads[thread, TAIL] == node:
            queue.threads[thread, TAIL] = -1
        if queue.slots[slot, TAIL] == node:
            queue.slots[slot, TAIL], queue.slots[slot, DONE] = -1, done
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


@compiled
def enqueue(operation: Any, new: Any, queue: Any) -> None:
    """Add an operation behind the last one of its thread and, unless its block is ``new``, the last one of the block.

    It gets an unused node, and enters the heap if nothing precedes it.
    """
    nodes, counts, threads, slots = queue.nodes, queue.counts, queue.threads, queue.slots
    thread, slot = operation.thread, operation.slot
    node = counts[SPARE]
    counts[SPARE] = nodes[node, NEXT_OF_THREAD]
    counts[IN_USE] += 1
    nodes[node, EVENT], nodes[node, THREAD], nodes[node, SLOT] = operation.event, thread, slot
    nodes[node, LOCK], nodes[node, HOLD] = operation.lock, operation.hold
    nodes[node, NEXT_OF_THREAD], nodes[node, NEXT_OF_BLOCK] = -1, -1
    arrival, pending = max(operation.time, threads[thread, DONE]), 0
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
        push(queue.heap, nodes, counts, node)


@compiled
def push(heap: Any, nodes: Any, counts: Any, node: Any) -> None:
    """Insert a node into the binary heap of operations that can arrive, ordered by ``earlier``; ``counts[HEAPED]`` goes up."""
    at = counts[HEAPED]
    counts[HEAPED] += 1
    while at > 0 and earlier(nodes, node, heap[(at - 1) // 2]):
        heap[at] = heap[(at - 1) // 2]
        at = (at - 1) // 2
    heap[at] = node


@compiled
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


@compiled
def earlier(nodes: Any, a: Any, b: Any) -> Any:
    """Return whether the operation of node a arrives before that of node b; at the same time the earlier event is first."""
    if nodes[a, ARRIVAL] != nodes[b, ARRIVAL]:
        return nodes[a, ARRIVAL] < nodes[b, ARRIVAL]
    return nodes[a, EVENT] < nodes[b, EVENT]
