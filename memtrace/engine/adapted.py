"""Give a policy without a ledger one: after every call, what its ``reserved`` and ``survey`` return is written to a ledger.

The simplest form a policy can have, five functions over a state of its own, is enough for the main measures; those that
need the sizes of all holes stay empty. Of the contract's functions only init, alloc, free, reserved, survey, resize and trim
are called for such a policy by the loop.
"""

from types import ModuleType
from typing import Any, NamedTuple

import numpy as np

from memtrace.contract.ledger import ALLOCATED, FREE, HOLES, LARGEST, RESERVED, new_ledger
from memtrace.contract.policy import functions_of


class State(NamedTuple):
    inner: Any
    ledger: np.ndarray


def with_ledger(module: ModuleType) -> dict[str, Any]:
    """Return the functions that the replay loop calls, by name, made around the policy functions of ``module``."""
    own = functions_of(module)
    surveys, survey = "survey" in own, own.get("survey")
    reserved, policy_alloc, policy_free = own["reserved"], own["alloc"], own["free"]

    def init(capacity, max_live, **options):
        """Return the state of the policy with a new ledger beside it."""
        inner = own["init"](capacity, max_live, **options)
        state = State(inner, new_ledger(int(reserved(inner))))
        state.ledger[:] = 0
        update_ledger(state, 0)
        return state

    def update_ledger(state, size):
        """Write the policy's figures into the ledger; ``size`` bytes were allocated (negative: freed) since the last call."""
        ledger = state.ledger
        ledger[RESERVED] = reserved(state.inner)
        if surveys:
            ledger[ALLOCATED], ledger[FREE], ledger[HOLES], ledger[LARGEST] = survey(state.inner)
        else:
            ledger[ALLOCATED] += size
            ledger[FREE] = ledger[RESERVED] - ledger[ALLOCATED]

    def alloc(state, request):
        """Serve a request by the policy's own ``alloc``, and update the ledger."""
        address = policy_alloc(state.inner, request)
        update_ledger(state, request.size if address >= 0 else 0)
        return address

    def free(state, request, address):
        """Free a block by the policy's own ``free``, and update the ledger."""
        policy_free(state.inner, request, address)
        update_ledger(state, -request.size)

    def largest_hole(state):
        """Return the bytes of the largest hole as ``survey`` reported them."""
        return state.ledger[LARGEST]

    functions = {"init": init, "alloc": alloc, "free": free, "largest_hole": largest_hole, "update_ledger": update_ledger}
    if "resize" in own:
        policy_resize = own["resize"]

        def resize(state, request, address, old_size):
            """Resize a block by the policy's own ``resize``, and update the ledger."""
            new_address = policy_resize(state.inner, request, address, old_size)
            update_ledger(state, request.size - old_size if new_address >= 0 else 0)
            return new_address

        functions["resize"] = resize
    if "trim" in own:
        policy_trim = own["trim"]

        def trim(state):
            """Give memory back by the policy's own ``trim``, and update the ledger."""
            policy_trim(state.inner)
            update_ledger(state, 0)

        functions["trim"] = trim
    return functions
