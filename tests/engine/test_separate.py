"""A policy that is compiled alone places as in the interpreter; one that cannot be is compiled with the loop."""

from __future__ import annotations

from pathlib import Path

import pytest
from conftest import ROOT
from test_handover import digest

from memtrace.engine.binding import bind
from memtrace.engine.compile import code_of, is_separable
from memtrace.engine.policy_files import load_module
from memtrace.engine.registry import parse_policy
from memtrace.engine.replay import replay
from memtrace.validation.policies import random_trace

EXAMPLE = (ROOT / "docs" / "example_policy.py").read_text()
RESIZING = """
def resize(state, request, address, old_size):
    return address if block_size(request) == max(16, (old_size + 15) // 16 * 16) else -1

def trim(state):
    state.used[0] += 0

def next_event(state, number):
    state.used[0] += number * 0
"""


@pytest.mark.parametrize("text", [EXAMPLE, EXAMPLE.partition("def survey")[0] + RESIZING], ids=["survey", "all others"])
def test_it_places_as_the_interpreter(text: str, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(text)
    policy = parse_policy(str(tmp_path / "mine.py"))
    assert is_separable(policy.module)
    for seed, capacity in enumerate((None, 20_000)):
        trace = random_trace(seed, 600)
        compiled = replay(trace, policy, capacity, on_oom="skip", samples=50, keep=True, interpret=False)
        assert digest(compiled) == digest(replay(trace, policy, capacity, on_oom="skip", samples=50, keep=True, interpret=True))
    assert type(code_of(policy.module, bind(policy.module))).__name__ == "Separate"


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("    state.used[0] -= size", "    assert size > 0\n    state.used[0] -= size"),
        ("    used: np.ndarray", "    ledger: np.ndarray\n    used: np.ndarray"),
        ("def reserved(", "def releasable(state):\n    return 0\n\ndef reserved("),
    ],
    ids=["an exception", "a ledger", "another function"],
)
def test_what_cannot_be_compiled_alone(old: str, new: str, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(EXAMPLE.replace(old, new, 1))
    assert EXAMPLE.replace(old, new, 1) != EXAMPLE
    assert not is_separable(load_module(tmp_path / "mine.py"))


def test_a_state_with_other_fields_is_compiled_with_the_loop(tmp_path: Path) -> None:
    text = EXAMPLE.replace("    used: np.ndarray", "    flag: bool\n    used: np.ndarray").replace(
        "np.ones(1, np.int64), np.zeros(1, np.int64))", "np.ones(1, np.int64), True, np.zeros(1, np.int64))"
    )
    (tmp_path / "mine.py").write_text(text)
    policy, trace = parse_policy(str(tmp_path / "mine.py")), random_trace(3, 200)
    compiled = replay(trace, policy, keep=True, interpret=False)
    assert digest(compiled) == digest(replay(trace, policy, keep=True, interpret=True))
    assert not code_of(policy.module, bind(policy.module)).entries
