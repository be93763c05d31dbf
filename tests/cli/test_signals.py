"""Commands that are ended by signals: their workers end with them, and the next command removes what they left."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from memtrace import temporary
from memtrace.processes import Terminated, how_ended

TRACE = Path(__file__).parents[2] / "traces" / "cpython-objects.parquet"


def ended_at_work(tmp_path: Path, number: int) -> tuple[int, str, set[int]]:
    """Start a run with two processes, send it a signal while they replay, and return its exit code, words and workers."""
    words = [
        "run",
        str(TRACE),
        str(TRACE.parent / "jq-group.parquet"),
        "-p",
        "classic",
        "-j",
        "2",
        "--no-report",
        "--samples",
        "all",
    ]
    place = tmp_path / "temporary"
    place.mkdir()
    process = subprocess.Popen(
        [sys.executable, "-m", "memtrace", *words],
        cwd=tmp_path,
        env={**os.environ, "TMPDIR": str(place)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=take_hangups,
    )
    until = time.monotonic() + 60
    while len(workers := workers_of(process.pid)) < 2 and time.monotonic() < until:
        time.sleep(0.02)
    assert list(place.glob("memtrace-*/*.arrow")), "the workers' trace is shared by a file"
    process.send_signal(number)
    _, said = process.communicate(timeout=60)
    return process.returncode, said, workers


def take_hangups() -> None:
    """Undo what nohup does, under which the tests may run."""
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


def workers_of(pid: int) -> set[int]:
    """The processes that multiprocessing has started for a command."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return {int(child) for child in children if "spawn_main" in Path(f"/proc/{child}/cmdline").read_text()}


def alive(pids: set[int]) -> set[int]:
    """Those that are still at work after at most ten seconds."""
    until = time.monotonic() + 10
    while (left := {pid for pid in pids if Path(f"/proc/{pid}/cmdline").exists()}) and time.monotonic() < until:
        time.sleep(0.05)
    return left


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="it looks for child processes in /proc")
@pytest.mark.parametrize("name", ["SIGTERM", "SIGKILL", "SIGHUP"])
def test_the_workers_of_a_run_end_with_it(tmp_path: Path, name: str) -> None:
    number = getattr(signal, name)
    code, said, workers = ended_at_work(tmp_path, number)
    assert alive(workers) == set()
    if number != signal.SIGKILL:
        assert code == 128 + number and said.strip().endswith("terminated; nothing was written")
        assert list((tmp_path / "temporary").iterdir()) == []
    temporary.remove_dead_folders(tmp_path / "temporary")
    assert list((tmp_path / "temporary").iterdir()) == [], "the next command removes what is left"


def test_exit_codes_are_those_of_a_shell() -> None:
    assert how_ended(Terminated(15)) == ("terminated", 143)
    assert how_ended(Terminated(1)) == ("terminated", 129)
    assert how_ended(KeyboardInterrupt()) == ("interrupted", 130)
