"""Compiled loops across processes: an edited policy or helper is compiled anew; what computes the same is loaded."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT

from memtrace import code_cache, kernels
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
    "An answer."
    state.top[0] += gap(request.size)
    return state.top[0] - gap(request.size)

def free(state, request, address):
    pass

def reserved(state):
    return state.top[0] + 1000
"""
HELPER = "def gap(size):\n    return size + {}\n"
RUN = """
import json, sys
from memtrace.engine.binding import bind
from memtrace.engine.compile import code_of
from memtrace.engine.registry import parse_policy
from memtrace.engine.replay import replay
from memtrace.trace import from_events
trace = from_events([("alloc", 1, 10), ("alloc", 2, 10)])
policy = parse_policy(sys.argv[1])
placement = replay(trace, policy, keep=True, interpret=False)
(entry,) = code_of(policy.module, bind(policy.module)).entries.values()
print(json.dumps([placement.addresses.tolist(), entry._cache_hits, 1 - entry._cache_hits]))
"""


def start(folder: Path, cache: Path | None = None, policy: str = "./mine.py") -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), code_cache.FOLDER: str(cache or folder / "cache")}
    command = [sys.executable, "-c", RUN, policy]
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


def test_what_computes_the_same_is_loaded_and_what_does_not_is_compiled(folder: Path) -> None:
    assert result(start(folder)) == ([0, 10], 0, 1)
    (folder / "mine.py").write_text("# A remark.\n\n" + POLICY.replace("An answer.", "It is above all others."))
    (folder / "moved").mkdir()
    for name in ("mine.py", "spacing.py", "cache"):
        (folder / name).rename(folder / "moved" / name)
    folder = folder / "moved"
    assert result(start(folder)) == ([0, 10], 1, 0), "a comment, blank lines, another docstring, another folder"
    (folder / "spacing.py").write_text(HELPER.format(6))
    assert result(start(folder)) == ([0, 16], 0, 1), "an edited helper"
    (folder / "mine.py").write_text(POLICY.replace("gap(request.size)", "2 * gap(request.size)"))
    assert result(start(folder)) == ([0, 32], 0, 1), "an edited policy"
    damaged = max((folder / "cache").glob("mine*"), key=lambda file: file.stat().st_mtime)
    damaged.write_bytes(damaged.read_bytes()[:-1])
    assert result(start(folder)) == ([0, 32], 0, 1), "a damaged file"
    assert result(start(folder)) == ([0, 32], 1, 0)


def test_two_cold_processes_at_once(folder: Path) -> None:
    processes = [start(folder), start(folder)]
    found = [result(process) for process in processes]
    assert [addresses for addresses, _, _ in found] == [[0, 10], [0, 10]]
    assert result(start(folder)) == ([0, 10], 1, 0)
    assert not list((folder / "cache").glob("*.part")) and not list((folder / "cache").glob("*.lock"))


def test_without_the_undocumented_option(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Numba's ``_nrt`` may go one day; then compiled code is slower, and places the same."""
    from memtrace.engine import compile as engine
    from memtrace.engine import separate

    trace, policy = random_trace(3, 400), str(folder / "mine.py")
    fast = replay(trace, policy, keep=True, interpret=False)
    monkeypatch.setattr(kernels, "FAST", {"no_such_option": True})
    monkeypatch.setattr(engine, "_separate", {})
    monkeypatch.setattr(separate, "_loops", {})
    slow = replay(trace, policy, keep=True, interpret=False)
    assert fast.addresses is not None and slow.addresses is not None
    assert fast.addresses.tolist() == slow.addresses.tolist()


def test_a_policy_that_does_not_compile_is_explained(tmp_path: Path) -> None:
    from memtrace.errors import PolicyError

    path = tmp_path / "wordy.py"
    path.write_text(POLICY.replace("from spacing import gap", "def gap(size):\n    return {'size': size}['size']"))
    with pytest.raises(PolicyError, match=r"wordy\.py:\d+: return .*\n.*a dict is made"):
        replay(random_trace(1, 20), str(path))
