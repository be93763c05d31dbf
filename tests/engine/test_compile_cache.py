"""The compile cache across processes: an edited policy or helper is compiled anew, an unchanged one is loaded."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT

from memtrace.engine.replay import replay
from memtrace.validation.policies import random_trace

POLICY = """
from typing import NamedTuple
import numpy as np
from spacing import gap

MAX_ALIGN = 1

class State(NamedTuple):
    top: np.ndarray

def init(capacity, max_live):
    return State(np.zeros(1, np.int64))

def alloc(state, request):
    state.top[0] += gap(request.size)
    return state.top[0] - gap(request.size)

def free(state, request, address):
    pass

def reserved(state):
    return state.top[0] + 1000
"""
HELPER = "def gap(size):\n    return size + {}\n"
# What makes a trace comes from the cache of the package, since only the policy's loop is looked at here.
RUN = """
import json, sys
import numba
from memtrace.engine.binding import bind
from memtrace.engine.compile import compiled
from memtrace.engine.registry import parse_policy
from memtrace.engine.replay import replay
from memtrace.trace import from_events
trace = from_events([("alloc", 1, 10), ("alloc", 2, 10)])
numba.config.CACHE_DIR = sys.argv[2]
policy = parse_policy(sys.argv[1])
placement = replay(trace, policy, keep=True)
stats = compiled(policy.module, bind(policy.module)).stats
print(json.dumps([placement.addresses.tolist(), sum(stats.cache_hits.values()), sum(stats.cache_misses.values())]))
"""


def start(folder: Path, policy: str = "./mine.py") -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", RUN, policy, str(folder / "cache")]
    return subprocess.Popen(command, cwd=folder, env=environment, stdout=subprocess.PIPE, text=True)


def result(process: subprocess.Popen[str]) -> tuple[list[int], int, int]:
    out, _ = process.communicate(timeout=120)
    assert process.returncode == 0
    addresses, hits, misses = json.loads(out)
    return addresses, hits, misses


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "mine.py").write_text(POLICY)
    (tmp_path / "spacing.py").write_text(HELPER.format(0))
    return tmp_path


def test_unchanged_is_loaded_and_edited_is_compiled(folder: Path) -> None:
    assert result(start(folder)) == ([0, 10], 0, 1)
    assert result(start(folder)) == ([0, 10], 1, 0)
    (folder / "spacing.py").write_text(HELPER.format(6))
    assert result(start(folder)) == ([0, 16], 0, 1), "an edited helper"
    (folder / "mine.py").write_text(POLICY.replace("return state.top[0] - gap", "return 100 + state.top[0] - gap"))
    assert result(start(folder)) == ([100, 116], 0, 1), "an edited policy"
    assert result(start(folder)) == ([100, 116], 1, 0)


def test_two_cold_processes_at_once(folder: Path) -> None:
    processes = [start(folder), start(folder)]
    assert [result(process)[0] for process in processes] == [[0, 10], [0, 10]]
    assert result(start(folder)) == ([0, 10], 1, 0)


def test_without_the_undocumented_option(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Numba's ``_nrt`` may go one day; then compiled code is slower, and places the same."""
    from memtrace.engine import compile as engine

    trace, policy = random_trace(3, 400), str(folder / "mine.py")
    fast = replay(trace, policy, keep=True)
    monkeypatch.setattr(engine, "FAST", {"no_such_option": True})
    monkeypatch.setattr(engine, "_loops", {})
    monkeypatch.setitem(engine.OPTIONS, "cache", False)
    slow = replay(trace, policy, keep=True)
    assert fast.addresses is not None and slow.addresses is not None
    assert fast.addresses.tolist() == slow.addresses.tolist()


def test_a_policy_that_does_not_compile_is_explained(tmp_path: Path) -> None:
    from memtrace.errors import PolicyError

    path = tmp_path / "wordy.py"
    path.write_text(POLICY.replace("from spacing import gap", "def gap(size):\n    return {'size': size}['size']"))
    with pytest.raises(PolicyError, match=r"wordy\.py:\d+: return .*\n.*a dict is made"):
        replay(random_trace(1, 20), str(path))
