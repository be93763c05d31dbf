"""Eviction rules, which choose the block that leaves a full tier: each module here is one rule.

`init(tiers, slots)` makes the rule's arrays, its ``Order``. `enter`, `touch` and `leave` are called for every block that comes
into a tier, is used in it, or leaves it; pinned blocks are left out. `victim(order, blocks, tier, one, other, event)` returns
the slot of the block to evict, or -1; it is never ``one`` or ``other``, the slots that the current event is about.
`FORESEES` says that the rule reads the event of a block's next use.
"""

from __future__ import annotations

from importlib import import_module
from types import ModuleType

from memtrace.names import unknown

# Names of the modules.
RULES = ("lru", "fifo", "clock", "largest", "cost", "belady")


def rule(name: str) -> ModuleType:
    """Return the module of an eviction rule. For an unknown name it raises UsageError, whose text suggests the nearest name."""
    if name not in RULES:
        raise unknown("eviction rule", name, RULES)
    return import_module(f"{__name__}.{name}")
