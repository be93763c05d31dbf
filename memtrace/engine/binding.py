"""A policy module -> the module of functions the loop calls, with stand-ins for those that the policy leaves out.

It is a module because compiled code can be handed one, and looks its functions up at compile time. Its name carries
the digest of all sources behind it, under which numba's cache finds it again in another process.
"""

import sys
from types import ModuleType

from memtrace.engine import standins
from memtrace.engine.sources import digest, reachable_modules

FUNCTIONS = ("init", "alloc", "free", "resize", "trim", "record", "complete", "access", "largest_hole", "write_counters", "enlarge")  # fmt: skip


def bind(module: ModuleType) -> ModuleType:
    """Raises PolicyError if a function that has no stand-in is missing."""
    functions = {name: getattr(module, name, None) or getattr(standins, name, None) for name in FUNCTIONS}
    name = f"{module.__name__}.bound_{digest(reachable_modules(module))}"
    bound = sys.modules.get(name)
    if bound is None:
        bound = ModuleType(name)
        vars(bound).update(functions)
        sys.modules[name] = bound
    return bound
