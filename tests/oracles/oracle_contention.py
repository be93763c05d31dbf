"""Locks and threads with plain lists: the operation that arrives first is looked for among all that are left."""

from __future__ import annotations

from typing import Any

Operation = tuple[str, int, int, int, int]  # op, id, size, time, thread


def contend(operations: list[Operation], arenas: int, hold: dict[str, int], cached: int, room: int) -> dict[str, Any]:
    arena_of: dict[int, int] = {}
    size_of: dict[int, int] = {}
    caches: dict[tuple[int, int], list[int]] = {}
    last_of_block: dict[int, int] = {}
    last_of_thread: dict[int, int] = {}
    todo: list[dict[str, Any]] = []
    held = most = 0
    for number, (op, id, size, time, thread) in enumerate(operations):
        before = [last_of_thread[thread]] if thread in last_of_thread else []
        if op == "alloc":
            arena_of[id], size_of[id] = thread % arenas, size
        else:
            before.append(last_of_block[id])
        last_of_thread[thread] = last_of_block[id] = number
        lock: int | None = arena_of[id]
        kept = caches.setdefault((thread, -(-max(size_of[id], 1) // 16)), [])
        small = max(size_of[id], 1) <= 1024
        takes = hold[op]
        if room and small and op == "alloc" and kept:
            arena_of[id] = kept.pop()
            lock, takes = None, cached
            held -= -(-max(size, 1) // 16) * 16
        elif room and small and op == "free" and len(kept) < room:
            kept.append(arena_of[id])
            lock, takes = None, cached
            held += -(-max(size_of[id], 1) // 16) * 16
            most = max(most, held)
        if op == "realloc":
            size_of[id] = size
        todo.append({"number": number, "lock": lock, "takes": takes, "time": time, "before": before})
    done: dict[int, int] = {}
    until: dict[int, int] = {}
    waits = []
    while todo:
        ready = [o for o in todo if all(b in done for b in o["before"])]
        arrival, _, first = min((max([o["time"], *(done[b] for b in o["before"])]), o["number"], i) for i, o in enumerate(ready))
        o = ready[first]
        todo.remove(o)
        start = arrival
        if o["lock"] is not None:
            start = max(arrival, until.get(o["lock"], 0))
            until[o["lock"]] = start + o["takes"]
            waits.append(start - arrival)
        done[o["number"]] = start + o["takes"]
    return {
        "lock_operations": len(waits),
        "conflicts": sum(wait > 0 for wait in waits),
        "waited_ns": sum(waits),
        "longest_wait_ns": max(waits, default=0),
        "cached_bytes_peak": most,
        "end_ns": max(done.values(), default=0),
    }
