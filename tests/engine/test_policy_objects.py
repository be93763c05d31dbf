"""Policies of module objects and of functions that are defined anywhere, interpreted and compiled."""

from __future__ import annotations

from types import FunctionType, ModuleType
from typing import Any

import numpy as np
import pytest

import memtrace
from memtrace.engine.binding import bind
from memtrace.engine.compile import is_cached
from memtrace.errors import PolicyError, UsageError
from memtrace.policies import best_fit
from memtrace.results.running import Cell, jobs_for
from memtrace.results.settings import Settings
from memtrace.trace import from_events

CELL = """
from typing import NamedTuple
import numpy as np

STEP = 16

class State(NamedTuple):
    top: np.ndarray

def up(size):
    return (size + STEP - 1) // STEP * STEP

def init(capacity, max_live, first=0):
    state = State(np.zeros(1, np.int64))
    state.top[0] = first
    return state

def alloc(state, request):
    state.top[0] += up(request.size)
    return state.top[0] - up(request.size)

def free(state, request, address):
    pass

def reserved(state):
    return state.top[0]
"""
TRACE = from_events([("alloc", 1, 10), ("alloc", 2, 10)])
NAMES = ("init", "alloc", "free", "reserved")


def cell(text: str = CELL) -> dict[str, Any]:
    """Return the names of a notebook in which the text was run; it has no file."""
    names: dict[str, Any] = {"__name__": "__main__notebook"}
    exec(text, names)
    return names


def of(names: dict[str, Any], **more: Any) -> Any:
    """Return the policy of the functions in a notebook."""
    return memtrace.policy(**{name: names[name] for name in NAMES}, **more)


def addresses(given: Any, interpret: bool = True) -> list[int]:
    found = memtrace.replay(TRACE, given, keep=True, interpret=interpret).addresses
    assert found is not None
    return found.tolist()  # type: ignore[no-any-return]


def test_functions_of_a_notebook() -> None:
    names = cell()
    mine = of(names, name="mine", options={"first": 32})
    assert (mine.label, mine.options["first"], addresses(mine)) == ("mine", 32, [32, 48])
    assert of(names, options={"first": 32}).label == "policy:first=32"
    block = memtrace.Heap(of(names)).allocate(3)
    assert block is not None and block.address == 0
    with pytest.raises(UsageError, match="unknown option of mine 'frst'; did you mean 'first'"):
        of(names, name="mine", options={"frst": 32})
    with pytest.raises(PolicyError, match="policy has no function free"):
        memtrace.policy(**{name: names[name] for name in NAMES if name != "free"})
    with pytest.raises(PolicyError, match="a policy has no alocate"):
        of(names, alocate=names["alloc"])
    with pytest.raises(UsageError, match="cannot be sent to another process"):
        function, arguments = mine.__reduce__()
        function(*arguments)
    assert jobs_for([Cell(TRACE, mine, Settings())] * 2, 2) == 1


def test_what_the_names_stand_for_now_is_taken_compiled_and_interpreted() -> None:
    """Also where only a constant, or a function that is called, was defined anew; the policy before stays as it was."""
    names = cell()
    first = of(names)
    assert addresses(first, interpret=False) == addresses(first) == [0, 16]
    assert of(names).module is first.module and is_cached(first.module, bind(first.module))
    names["STEP"] = 64
    second = of(names)
    assert second.module is not first.module
    assert addresses(second, interpret=False) == addresses(second) == [0, 64]
    assert addresses(first) == [0, 16]
    exec("def up(size):\n    return size + 1", names)
    assert addresses(of(names)) == [0, 11]


def test_an_array_that_is_read_by_name_is_compiled_for_this_process_only() -> None:
    names = cell(CELL.replace("STEP = 16", "SIZES = np.array([24])").replace("STEP", "SIZES[0]"))
    mine = of(names)
    assert not is_cached(mine.module, bind(mine.module)) and addresses(mine) == [0, 24]


def test_a_module_object_is_taken_as_it_is_at_the_moment() -> None:
    module = ModuleType("notes")
    vars(module).update(cell() | {"__name__": "notes"})
    assert addresses(module) == [0, 16]
    names = vars(module)
    exec("def alloc(state, request):\n    state.top[0] += 100\n    return state.top[0] - 100", names)
    assert isinstance(names["alloc"], FunctionType) and addresses(module) == [0, 100]
    assert memtrace.policy(module).label == "notes"
    expected = memtrace.replay(TRACE, "best-fit:align=64", keep=True, interpret=True)
    found = memtrace.replay(TRACE, memtrace.policy(best_fit, options={"align": 64}), keep=True, interpret=True)
    assert (expected.addresses == found.addresses).all() and np.array_equal(expected.ledger, found.ledger)
