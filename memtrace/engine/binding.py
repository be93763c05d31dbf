"""Turn a policy module into the module of functions that the replay loop calls.

The functions are those of ``memtrace.contract.policy``, with the contract's defaults for those that the policy leaves out, and
those of ``engine.places``, which keep track of blocks that move or come in pieces. The result is a module because compiled code
can take a module as an argument and looks its functions up at compile time. Its name carries the digest of all sources that
the policy reaches, under which numba's cache finds it again in another process.
"""

import sys
from functools import cache
from types import ModuleType

from memtrace.contract.policy import functions, functions_of, has_ledger
from memtrace.engine import offences, places
from memtrace.engine.adapted import with_ledger
from memtrace.engine.digests import digest, reachable_modules
from memtrace.engine.policy_objects import HELPERS


@cache
def bind(module: ModuleType) -> ModuleType:
    """Return the functions of a policy that the loop calls, as a module; a missing one without a default is None."""
    own = functions_of(module) if has_ledger(module) else with_ledger(module)
    bound = {each.name: own.get(each.name) or each.default for each in functions()}
    bound["read_policy"] = own.get("read_policy")
    bound["place_block"] = own.get("place_block")
    bound |= vars(module).get(HELPERS, {})
    bound |= places.choose(bound) | offences.choose(module)
    name = f"{module.__name__}.bound_{digest(reachable_modules(module))}"
    if name not in sys.modules:
        sys.modules[name] = ModuleType(name)
        vars(sys.modules[name]).update(bound)
    return sys.modules[name]
