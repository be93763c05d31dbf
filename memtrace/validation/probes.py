"""The traces that a policy is tried on: random ones, and one for each thing that policies get wrong.

Rows are those of `memtrace.trace.from_events`: (op, id, size, time, align, stream, dst, tag). All traces end with frees of all
their blocks, so that what a policy loses is seen.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from typing import Any

from memtrace.trace import Trace, from_events

Row = tuple[Any, ...]

ROUNDS = 6  # times that a round of events is repeated
HUGE = 3 << 28  # bytes of the smallest block beyond 2^31


def random_trace(seed: int, events: int) -> Trace:
    """Return a valid random trace of so many events; the same for the same seed."""
    return from_events(random_rows(seed, events), name=f"random trace {seed}")


def random_rows(seed: int, events: int) -> list[Row]:
    """Return rows (op, id, size, time, align) of a valid trace that grows, churns and shrinks by turns."""
    chance = random.Random(seed)
    rows: list[Row] = []
    live: list[int] = []
    most = chance.choice((4, 30, 120))
    for event in range(events):
        grow = 0.75 if (event // 40) % 2 == 0 else 0.35
        if not live or (len(live) < most and chance.random() < grow):
            live.append(event)
            align = chance.choice((None, None, None, 16, 256))
            rows.append(("alloc", event, _size(chance), None, align))
        elif chance.random() < 0.12:
            rows.append(("realloc", chance.choice(live), _size(chance) + 1))
        else:
            rows.append(("free", live.pop(chance.randrange(len(live)))))
    return rows


def freed(rows: Iterable[Row]) -> list[Row]:
    """Return the rows, and frees of all blocks that they leave, every other one first so that holes lie apart."""
    rows = list(rows)
    live: dict[int, None] = {}
    for op, block, *_ in rows:
        if op == "alloc":
            live[block] = None
        elif op == "free":
            live.pop(block, None)
    left = list(live)
    return [*rows, *(("free", block) for block in [*left[::2], *left[1::2]])]


def mixed(seed: int, events: int) -> Trace:
    """Return a random trace of all that the simplest traces have, in which all is freed at the end."""
    return from_events(freed(random_rows(seed, events)), name=f"random requests {seed}")


def aligned(seed: int, events: int) -> Trace:
    """Return a trace whose requests ask for alignments from 1 to 8192 bytes."""
    return _churn("alignments", seed, events, lambda c: (_size(c), None, 1 << c.randrange(14)))


def small(seed: int, events: int) -> Trace:
    """Return a trace of requests of 0 to 3 bytes, and some others."""
    return _churn("sizes of 0 to 3 bytes", seed, events, lambda c: (c.choice((0, 0, 1, 2, 3, 40)),))


def resizing(seed: int, events: int) -> Trace:
    """Return a trace of reallocs above all: up and down, beside free and live neighbours, to the same size, to alignments."""
    chance = random.Random(seed)
    rows: list[Row] = []
    live: dict[int, int] = {}
    for event in range(events):
        draw = chance.random()
        if len(live) < 3 or (draw < 0.2 and len(live) < 12):
            live[event] = _size(chance)
            rows.append(("alloc", event, live[event]))
        elif draw < 0.8:
            block = chance.choice(list(live))
            live[block] = max(1, chance.choice((live[block], live[block] + 16, live[block] - 17, 2 * live[block], _size(chance))))
            live[block] = min(live[block], 4000)
            rows.append(("realloc", block, live[block], None, chance.choice((None, None, 64, 1024))))
        else:
            block = chance.choice(list(live))
            del live[block]
            rows.append(("free", block))
    return from_events(freed(rows), name="reallocs")


def streams(seed: int, events: int) -> Trace:
    """Return a trace with streams and tags, copies, swaps, accesses and trims."""
    chance = random.Random(seed)
    rows: list[Row] = []
    live: list[int] = []
    for event in range(events):
        draw, stream = chance.random(), chance.randrange(4)
        if len(live) < 2 or draw < 0.4:
            live.append(event)
            tag = chance.choice(("weight", "grad", "activation", None))
            rows.append(("alloc", event, _size(chance), None, None, stream, None, tag))
        elif draw < 0.75:
            rows.append(("free", live.pop(chance.randrange(len(live))), None, None, None, stream))
        elif draw < 0.9:
            one, other = chance.sample(live, 2)
            rows.append((chance.choice(("copy", "swap")), one, None, None, None, stream, other))
        elif draw < 0.97:
            rows.append(("access", chance.choice(live), None, None, None, stream))
        else:
            rows.append(("trim", None))
    return from_events(freed(rows), name="streams, tags and other events")


def recorded(seed: int, events: int) -> Trace:
    """Return a trace in which streams use each other's blocks, with events that say when that work is done."""
    chance = random.Random(seed)
    rows: list[Row] = []
    live: list[int] = []
    for event in range(events):
        draw, stream = chance.random(), chance.randrange(3)
        if len(live) < 2 or draw < 0.4:
            live.append(event)
            rows.append(("alloc", event, _size(chance), None, None, stream))
        elif draw < 0.65:
            rows.append(("record", chance.choice(live), None, None, None, stream))
        elif draw < 0.95:
            rows.append(("free", live.pop(chance.randrange(len(live))), None, None, None, stream))
        else:
            rows.append(("complete", None))
    return from_events(freed(rows), name="recorded uses by streams")


def repeated(seed: int, events: int) -> Trace:
    """Return a trace of ROUNDS equal rounds, at the end of each of which all is freed."""
    rows = freed(random_rows(seed, events // ROUNDS))
    every: list[Row] = []
    for turn in range(ROUNDS):
        every += [(op, block + turn * events, *rest) for op, block, *rest in rows]
    return from_events(every, name="equal rounds")


def huge(seed: int, events: int) -> Trace:
    """Return a short trace of blocks of some hundred MiB, whose addresses pass 2^31 and 2^32."""
    chance = random.Random(seed)
    rows: list[Row] = [("alloc", block, HUGE + 16 * chance.randrange(1 << 20)) for block in range(8)]
    rows += [("free", block) for block in (1, 4, 6)] + [("alloc", 10, 1000), ("alloc", 11, HUGE), ("realloc", 7, HUGE + 4096)]
    rows += [("free", 11), ("alloc", 12, HUGE - 4096), ("alloc", 13, 64), ("free", 10), ("alloc", 14, HUGE // 2)]
    return from_events(freed(rows), name="addresses beyond 2^31")


def pairs(size: int, count: int) -> Trace:
    """Return a trace of ``count`` blocks of ``size`` bytes, of which each is freed as soon as the next is placed."""
    rows: list[Row] = [("alloc", 0, size)]
    for block in range(1, count):
        rows += [("alloc", block, size), ("free", block - 1)]
    return from_events(freed(rows), name=f"two blocks of {size} bytes at a time")


def edges(capacity: int) -> Trace:
    """Return a trace of requests a few bytes below, at and above a capacity, alone and above a small block."""
    rows: list[Row] = []
    for step in range(-40, 4, 3):
        rows += [("alloc", 2 * step + 100, capacity + step), ("free", 2 * step + 100)]
    rows += [("alloc", 1, 16)]
    for step in range(-60, 5, 4):
        rows += [("alloc", 2 * step + 201, capacity - 16 + step), ("free", 2 * step + 201)]
        block = 2 * step + 501
        rows += [("trim", None), ("alloc", block, 16), ("realloc", block, capacity - 16 + step), ("free", block)]
    return from_events(freed(rows), name="requests of about the capacity")


def many(seed: int, blocks: int) -> Trace:
    """Return a trace in which as many blocks as are ever live are live at once, with a hole behind each, then freed."""
    chance = random.Random(seed)
    rows: list[Row] = [("alloc", block, 16 + 16 * chance.randrange(5)) for block in range(blocks)]
    rows += [("free", block) for block in range(0, blocks, 2)]
    rows += [("alloc", blocks + block, 200) for block in range(blocks // 2)]
    return from_events(freed(rows), name="as many blocks as there may be")


def _churn(name: str, seed: int, events: int, draw: Callable[[random.Random], tuple[Any, ...]]) -> Trace:
    """Return a trace of allocs, whose sizes and further columns are drawn, and of frees; all is freed at the end."""
    chance = random.Random(seed)
    rows: list[Row] = []
    live: list[int] = []
    for event in range(events):
        if not live or (len(live) < 24 and chance.random() < 0.6):
            live.append(event)
            rows.append(("alloc", event, *draw(chance)))
        else:
            rows.append(("free", live.pop(chance.randrange(len(live)))))
    return from_events(freed(rows), name=name)


def _size(chance: random.Random) -> int:
    """Return a random size in bytes: small, medium or a power of two from 16."""
    return chance.choice((chance.randrange(0, 64), chance.randrange(1, 2000), 16 << chance.randrange(6)))
