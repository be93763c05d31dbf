"""Built-in policies in the form of five functions, without the ledger by which the engine knows their holes."""

from __future__ import annotations

from typing import Any, NamedTuple

from memtrace.contract.ledger import ALLOCATED, FREE, HOLES, RESERVED
from memtrace.engine.registry import Policy, parse_policy, policy


class State(NamedTuple):
    """A state without a field `ledger`."""

    heap: Any


def stripped(text: str, surveys: bool = True) -> Policy:
    """Return the policy of a text in the form of five functions, of four if it does not survey."""
    known = parse_policy(text)
    inner, given = known.module, {key: value for key, value in known.options.items() if key != "swap"}

    def init(capacity, max_live):
        return State(inner.init(capacity, max_live, **given))

    def alloc(state, request):
        return inner.alloc(state.heap, request)

    def free(state, request, address):
        inner.free(state.heap, request, address)

    def resize(state, request, address, old_size):
        return inner.resize(state.heap, request, address, old_size)

    def trim(state):
        inner.trim(state.heap)

    def reserved(state):
        return state.heap.ledger[RESERVED]

    def survey(state):
        ledger = state.heap.ledger
        return ledger[ALLOCATED], ledger[FREE], ledger[HOLES], inner.largest_hole(state.heap)

    pieces = {"init": init, "alloc": alloc, "free": free, "reserved": reserved, "State": State}
    for name, function in (("resize", resize), ("trim", trim)):
        if hasattr(inner, name):
            pieces[name] = function
    return policy(**pieces, **({"survey": survey} if surveys else {}), name=f"{text} stripped")
