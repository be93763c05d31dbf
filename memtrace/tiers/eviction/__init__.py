"""Which block leaves a full tier: each module here is one rule.

`init(tiers, slots)` makes the rule's arrays; `enter`, `touch` and `leave` are told of every block that comes into a tier, is
used in it, or goes; `victim(order, blocks, tier, one, other, event)` names the block to evict, never one of the two that the
event is about, or -1. Pinned blocks are not told of at all. `FORESEES` says that the rule reads a block's next use.
"""

from __future__ import annotations

from importlib import import_module
from types import ModuleType

from memtrace.names import unknown

RULES = ("lru", "fifo", "clock", "largest", "cost", "belady")


def rule(name: str) -> ModuleType:
    """The module of an eviction rule; UsageError names the nearest for an unknown one."""
    if name not in RULES:
        raise unknown("eviction rule", name, RULES)
    return import_module(f"{__name__}.{name}")
