"""A policy module -> the module of functions the loop calls, with stand-ins for those that the policy leaves out.

It is a module because compiled code can be handed one, and looks its functions up at compile time. Its name carries
the digest of all sources behind it, under which numba's cache finds it again in another process.
"""

import sys
from functools import cache
from types import ModuleType

from memtrace.engine import places, standins
from memtrace.engine.adapted import adapt
from memtrace.engine.digests import digest, reachable_modules

FUNCTIONS = (
    "init",
    "alloc",
    "free",
    "resize",
    "trim",
    "record",
    "complete",
    "access",
    "largest_hole",
    "write_counters",
    "enlarge",
    "expect",
    "expect_soon",
    "address_of",
    "first_piece",
    "next_piece",
    "piece_at",
    "most_pieces",
    "first_holes",
    "freed_by",
    "releasable",
)


@cache
def bind(module: ModuleType) -> ModuleType:
    """The functions of a policy that the loop calls, as a module of their own."""
    own = vars(module) if has_ledger(module) else adapt(module)
    functions = {name: own.get(name) or getattr(standins, name, None) for name in (*FUNCTIONS, "note")}
    functions |= places.choose(functions)
    name = f"{module.__name__}.bound_{digest(reachable_modules(module))}"
    bound = sys.modules.get(name)
    if bound is None:
        bound = ModuleType(name)
        vars(bound).update(functions)
        sys.modules[name] = bound
    return bound


def has_ledger(module: ModuleType) -> bool:
    """Whether the policy's state has a ledger; one without is adapted."""
    return "ledger" in getattr(getattr(module, "State", None), "_fields", ())
