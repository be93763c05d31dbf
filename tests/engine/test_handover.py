"""Going over from the interpreter to compiled code: the same results wherever it happens, and what decides when it does."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import ROOT

from memtrace import code_cache
from memtrace.engine import handover
from memtrace.engine.binding import bind
from memtrace.engine.driver import compiled_loop
from memtrace.engine.handover import Handover, upto
from memtrace.engine.registry import parse_policy
from memtrace.engine.replay import Hooks, Placement, replay
from memtrace.errors import PolicyError
from memtrace.validation.policies import random_trace


class After(Handover):
    """A loop that goes over after a number of events, replayed a few at a time."""

    def __init__(self, policy: Any, events: int, after: int) -> None:
        super().__init__(policy, bind(policy.module), events)
        self.after = after

    def is_ready(self, arguments: tuple[Any, ...]) -> bool:
        return self.after == 0

    def worth_compiling(self, arguments: tuple[Any, ...]) -> Any:
        return compiled_loop(self.policy, self.bound) if self.stepped >= self.after else None


def digest(placement: Placement) -> str:
    """Of all that a replay writes, its state at the end included."""
    found = hashlib.sha256()

    def add(value: Any) -> None:
        if isinstance(value, np.ndarray):
            found.update(np.ascontiguousarray(value).tobytes())
        elif isinstance(value, tuple):
            for each in value:
                add(each)
        else:
            found.update(repr(value).encode())

    add((placement.addresses, placement.reserved, placement.places, placement.ledger, tuple(placement.recorder)))
    add((placement.blocks, placement.state))
    return found.hexdigest()


@pytest.mark.parametrize("policy", ["buddy", "stack", "first-fit:realloc=move,header=8"])
def test_the_results_are_the_same_wherever_it_goes_over(policy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(handover, "FIRST_STEP", 97)
    monkeypatch.setattr(handover, "STEP_SECONDS", 0.0)  # one event a step from then on
    trace, chosen = random_trace(5, 700), parse_policy(policy)
    found = {}
    for after in (0, 1, 150, 331, 1 << 40):
        loop = After(chosen, trace.facts.events, after)
        how: dict[str, Any] = {"on_oom": "skip", "samples": 60, "keep": True, "batch_rows": 300, "hooks": Hooks(loop=loop)}
        found[after] = digest(replay(trace, chosen, 1 << 15, **how)), loop.code is not None
    how = {"keep": True, "on_oom": "skip"}
    by = {each: replay(trace, chosen, 1 << 15, interpret=each, **how).interpreted for each in (True, False)}
    assert by == {True: trace.facts.events, False: 0}
    assert found.pop(1 << 40) == (found[0][0], False)
    assert set(found.values()) == {(found[0][0], True)}


def test_a_column_of_one_row_stands_for_all_events() -> None:
    events = next(random_trace(2, 40).batches(40))
    cut = upto(events, 7)
    assert cut.op.size == 7 and cut.op.tolist() == events.op.tolist()[:7]
    assert all(part.size == (7 if whole.size == 40 else 1) for part, whole in zip(cut, events, strict=True))


@pytest.fixture
def simple(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with a policy that no process has compiled, in which compiling is worth it at once."""
    text = (ROOT / "docs" / "example_policy.py").read_text()
    (tmp_path / "mine.py").write_text(text.replace("LARGE = 1024", f"LARGE = {time.time_ns() >> 10}"))
    monkeypatch.setenv(code_cache.FOLDER, str(tmp_path / "kernels"))
    monkeypatch.setattr(handover, "COMPILING_SECONDS", 0.0)
    monkeypatch.setattr(handover, "STEP_SECONDS", 1e-6)
    monkeypatch.setattr(handover, "_spent", {})
    monkeypatch.setattr(handover, "_compilers", {})
    yield tmp_path
    for process in handover._compilers.values():
        process.wait(60)
        assert not handover.is_running(process)


def test_another_process_compiles_meanwhile(simple: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    monkeypatch.setattr(handover, "tell", said.append)
    monkeypatch.setattr(handover, "processors", lambda: 2)
    monkeypatch.setattr(handover, "LOADING_SECONDS", 0.0)
    policy = parse_policy(str(simple / "mine.py"))
    trace = random_trace(3, 400)

    class Slow(Handover):
        """Waits in each step, so that it has not replayed everything before the code is there."""

        def step(self, *arguments: Any) -> tuple[int, int]:
            time.sleep(0 if self.is_kept(self.arguments) else 0.5)
            return super().step(*arguments)

        def worth_compiling(self, arguments: tuple[Any, ...]) -> Any:
            self.arguments = arguments
            return super().worth_compiling(arguments)

        def is_ready(self, arguments: tuple[Any, ...]) -> bool:
            self.arguments = arguments
            return False

    loop = Slow(policy, bind(policy.module), trace.facts.events)
    mixed = replay(trace, policy, keep=True, hooks=Hooks(loop=loop))
    assert loop.code is not None and 0 < loop.stepped < 400
    assert said == [f"replaying while {policy.name} compiles in the background, once for this version"]
    assert digest(mixed) == digest(replay(trace, policy, keep=True, interpret=True))
    assert all(process.wait(60) == 0 for process in handover._compilers.values())


def test_where_no_processor_is_idle_it_compiles_itself(simple: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    monkeypatch.setattr(handover, "tell", said.append)
    monkeypatch.setattr(handover, "processors", lambda: 1)
    monkeypatch.setattr(handover, "LOADING_SECONDS", 0.0)
    text = (simple / "mine.py").read_text()  # a slice that is set to a slice is nothing that compiled code can do
    (simple / "mine.py").write_text(text.replace("    total = 0\n", "    total = 0\n    state.used[0:1] = state.used[0:1]\n"))
    with pytest.raises(PolicyError, match=r"mine\.py"):
        replay(random_trace(3, 400), str(simple / "mine.py"))
    assert len(said) == 1 and said[0].startswith("compiling ") and not handover._compilers


def test_small_traces_do_not_import_the_compiler(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("op,id,size\n" + "".join(f"alloc,{i},{100 + i}\n" for i in range(120)))
    code = (
        "import sys; sys.argv[1:] = ['run', 't.csv', '-p', 'best-fit', '-p', 'buddy', '--no-report', '-q']\n"
        "from memtrace.cli import main\n"
        "try:\n    main()\nfinally:\n    assert 'numba' not in sys.modules"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT), code_cache.FOLDER: str(tmp_path / "kernels")}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert not (tmp_path / "kernels").exists() or not list((tmp_path / "kernels").iterdir())


@pytest.mark.parametrize("after", [0.5, 3.0])
def test_a_killed_compiler_leaves_nothing_that_is_loaded(simple: Path, after: float) -> None:
    policy = str(simple / "mine.py")
    process = handover.compiler_of(policy)
    time.sleep(after)
    process.send_signal(signal.SIGKILL)
    process.wait(60)
    assert not handover.is_running(process)
    trace = random_trace(3, 200)
    found = digest(replay(trace, policy, keep=True, interpret=False))
    assert found == digest(replay(trace, policy, keep=True, interpret=True))
    assert len(list((simple / "kernels").glob("mine*.kernel"))) == 1


def test_the_compiler_ends_with_the_process_that_started_it(simple: Path) -> None:
    process = handover.compiler_of(str(simple / "mine.py"))
    assert process.stdin is not None
    process.stdin.close()
    assert process.wait(60) == 1
