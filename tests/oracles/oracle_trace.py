"""A slow and obvious second opinion on preparing a trace: dictionaries, one event at a time."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

OPS = ("alloc", "free", "realloc", "copy", "swap", "access", "trim", "record", "complete")
Row = tuple[str, int, int, int, int]  # op, block, size, align, dst as prepared


@dataclass
class Prepared:
    """The prepared rows, and what is counted over them."""

    rows: list[Row] = field(default_factory=list)
    times: list[int] = field(default_factory=list)
    requests: list[int] = field(default_factory=list)
    lives: list[tuple[int, int]] = field(default_factory=list)  # bytes at the free, events lived
    live: dict[int, tuple[int, int, int]] = field(default_factory=dict)  # id -> slot, bytes, born
    recorded: set[int] = field(default_factory=set)  # ids of live blocks that another stream uses
    waiting: dict[int, int] = field(default_factory=dict)  # id -> slot of freed ones, the last one freed last
    spare: list[int] = field(default_factory=list)
    slots: int = 0
    invalid: int = 0
    null_frees: int = 0
    peak: int = 0
    peak_event: int = 0


def prepare(events: Iterable[Sequence[Any]]) -> Prepared:
    """Rows of (op, id, size, time, align, dst), None for what is missing; invalid ones are left out."""
    done = Prepared()
    for op, id, size, time, align, dst in events:
        row = _row(done, op, id, size, time, align, dst)
        if row is None:
            done.invalid += 1
            continue
        done.rows.append(row)
        done.times.append(time if time is not None else (done.times[-1] if done.times else 0))
        total = sum(bytes for _, bytes, _ in done.live.values())
        if total > done.peak:
            done.peak, done.peak_event = total, len(done.rows) - 1
    return done


def _row(done: Prepared, op: Any, id: Any, size: Any, time: Any, align: Any, dst: Any) -> Row | None:
    live = done.live
    if op not in OPS or (time is not None and done.times and time < done.times[-1]):
        return None
    if op == "trim":
        return op, -1, 0, 0, -1
    if op == "complete":
        return op, live[id][0] if id in live else _complete(done, id), 0, 0, -1
    if op == "free" and id is None:
        done.null_frees += 1
        return op, -1, 0, 0, -1
    if id is None or (id in live) == (op == "alloc"):
        return None
    if op in ("alloc", "realloc"):
        good = size is not None and 0 <= size <= 2**60 and (align is None or (align > 0 and align.bit_count() == 1))
        return _request(done, op, id, size, align or 0) if good else None
    if op in ("copy", "swap"):
        if dst not in live or (size is not None and not 0 <= size <= 2**60):
            return None
        return op, live[id][0], -1 if size is None else size, 0, live[dst][0]
    if op == "free":
        return _free(done, id)
    if op == "record":
        done.recorded.add(id)
    return op, live[id][0], 0, 0, -1


def _request(done: Prepared, op: str, id: int, size: int, align: int) -> Row:
    if op == "realloc":
        if size == 0:
            return _free(done, id)
        slot, _, born = done.live[id]
    else:
        born = len(done.rows)
        slot = done.waiting.pop(id, -1)
        if slot < 0:
            slot = done.spare.pop() if done.spare else done.slots
        done.slots = max(done.slots, slot + 1)
    done.live[id] = slot, size, born
    done.requests.append(size)
    return op, slot, size, align, -1


def _free(done: Prepared, id: int) -> Row:
    slot, bytes, born = done.live.pop(id)
    if id in done.recorded:
        done.recorded.remove(id)
        done.waiting[id] = slot
    else:
        done.spare.append(slot)
    done.lives.append((bytes, len(done.rows) - born))
    return "free", slot, 0, 0, -1


def _complete(done: Prepared, id: int | None) -> int:
    """A waiting block's slot can be used again; without such a block, those of all, the last one freed first."""
    if id in done.waiting:
        done.spare.append(done.waiting.pop(id))
        return done.spare[-1]
    done.spare += reversed(done.waiting.values())
    done.waiting.clear()
    return -1
