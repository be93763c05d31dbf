"""What the twin of replays over tiers is made of: tiers, blocks, and the list of all uses."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from oracle import Event

NEVER = 1 << 62


@dataclass
class Level:
    """One tier: what is described, its space, and the blocks that may be evicted, the newest entry last."""

    capacity: int
    bandwidth: float
    latency: int
    ratios: dict[str, int] | None  # thousandths
    pack: float
    unpack: float
    space: Any
    order: list[Block] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    queue: dict[str, int] = field(default_factory=lambda: {"down": 0, "up": 0})


@dataclass(eq=False)
class Block:
    life: int
    requested: int
    tag: str | None
    pinned: bool
    tier: int | None = None  # None: it needs no place
    address: int = -2
    stored: int = 0
    entered: int = 0
    bit: bool = False
    next: int = NEVER
    ready: int = 0
    visited: set[int] = field(default_factory=set)


def list_uses(events: list[Event], at_free: bool) -> list[tuple[int, int, bool]]:
    """(event, the block's life, whether it is its alloc), in order."""
    lives: dict[int | None, int] = {}
    found = []
    for now, event in enumerate(events):
        op = "free" if event.op == "realloc" and not event.size else event.op
        if op == "alloc":
            lives[event.id] = now
            found.append((now, now, True))
        elif op in ("access", "realloc") or (op == "free" and at_free and event.id is not None):
            found.append((now, lives[event.id], False))
        elif op in ("copy", "swap"):
            found += [(now, lives[event.id], False), (now, lives[event.dst], False)]
    return found


def next_use(uses: list[tuple[int, int, bool]], n: int) -> int:
    return next((event for event, life, _ in uses[n + 1 :] if life == uses[n][1]), NEVER)
