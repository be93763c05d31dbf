"""The policy contract: what a policy file has to define, and what the engine does where it leaves something out."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import pytest

from memtrace.contract.policy import constants_of, functions, functions_of, required
from memtrace.engine.binding import bind
from memtrace.engine.registry import builtin_policies, load_file, parse_policy
from memtrace.errors import PolicyError

LEDGER = """
from typing import NamedTuple
import numpy as np
from memtrace.contract.ledger import new_ledger

class State(NamedTuple):
    ledger: np.ndarray

def init(capacity, max_live):
    return State(new_ledger(0))

def alloc(state, request):
    return -1

def free(state, request, address):
    pass

def largest_hole(state):
    return 0
"""
PLAIN = LEDGER.replace("ledger: np", "top: np").replace("largest_hole", "reserved")


@pytest.mark.parametrize("text", [LEDGER, PLAIN], ids=["with a ledger", "without"])
@pytest.mark.parametrize("number", range(4))
def test_a_file_without_a_required_function_is_refused_by_name(text: str, number: int, tmp_path: Path) -> None:
    name = ("init", "alloc", "free", "largest_hole" if text is LEDGER else "reserved")[number]
    path = tmp_path / "mine.py"
    path.write_text(text.replace(f"def {name}(", f"def other_{name}("))
    with pytest.raises(PolicyError, match=rf"mine\.py has no function {name}; a policy whose State has (a|no) ledger needs init"):
        load_file(path)


@pytest.mark.parametrize("text", [LEDGER, PLAIN], ids=["with a ledger", "without"])
def test_the_required_functions_are_enough(text: str, tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text(text)
    bound = vars(bind(load_file(path)))
    for each in functions():
        if each.default is not None and each.name not in functions_of(load_file(path)):
            assert bound[each.name] is each.default, each.name


@pytest.mark.parametrize("name", list(builtin_policies()))
def test_built_in_policies_have_what_the_contract_requires(name: str) -> None:
    module = parse_policy(name).module
    assert set(required(module)) <= set(functions_of(module))
    assert constants_of(module).ORDER <= constants_of(ModuleType("empty")).ORDER == 100
