"""A policy without a ledger -> one with: what ``reserved`` and ``survey`` tell is noted after every call.

The simplest form a policy can have, five functions over a state of its own, is enough for the main measures; those that
need the sizes of all holes stay empty.
"""

from types import ModuleType
from typing import Any, NamedTuple

import numpy as np

from memtrace.contract.ledger import ALLOCATED, FREE, HOLES, LARGEST, RESERVED, new_ledger


class State(NamedTuple):
    inner: Any
    ledger: np.ndarray


def adapt(module: ModuleType) -> dict[str, Any]:
    """The functions that the loop calls, around those of ``module``."""
    surveys = hasattr(module, "survey")
    survey = getattr(module, "survey", None)
    reserved, policy_alloc, policy_free = module.reserved, module.alloc, module.free

    def init(capacity, max_live, **options):
        inner = module.init(capacity, max_live, **options)
        state = State(inner, new_ledger(int(reserved(inner))))
        state.ledger[:] = 0
        note(state, 0)
        return state

    def note(state, size):
        ledger = state.ledger
        ledger[RESERVED] = reserved(state.inner)
        if surveys:
            ledger[ALLOCATED], ledger[FREE], ledger[HOLES], ledger[LARGEST] = survey(state.inner)
        else:
            ledger[ALLOCATED] += size
            ledger[FREE] = ledger[RESERVED] - ledger[ALLOCATED]

    def alloc(state, request):
        address = policy_alloc(state.inner, request)
        note(state, request.size if address >= 0 else 0)
        return address

    def free(state, request, address):
        policy_free(state.inner, request, address)
        note(state, -request.size)

    def largest_hole(state):
        return state.ledger[LARGEST]

    functions = {"init": init, "alloc": alloc, "free": free, "largest_hole": largest_hole, "note": note}
    if hasattr(module, "resize"):
        policy_resize = module.resize

        def resize(state, request, address, old_size):
            new_address = policy_resize(state.inner, request, address, old_size)
            note(state, request.size - old_size if new_address >= 0 else 0)
            return new_address

        functions["resize"] = resize
    if hasattr(module, "trim"):
        policy_trim = module.trim

        def trim(state):
            policy_trim(state.inner)
            note(state, 0)

        functions["trim"] = trim
    return functions
