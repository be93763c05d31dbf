"""`memtrace suite`: 200 cells, and what happens when something dies."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from conftest import ROOT, called
from suites import CELLS, cells, desk_of, same_results, started, wait_for_cells, workers_of

import memtrace.suite as suites
from memtrace.suite.store import Store


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The suite, replayed by the command itself in one process."""
    desk = desk_of(tmp_path_factory.mktemp("suite"))
    process = started(desk, "-j", "1", "--json")
    out, said = process.communicate(timeout=300)
    assert process.returncode == 0, said
    document = json.loads(out)
    assert (document["replayed"], len(document["results"]), document["failed"]) == (CELLS, CELLS, [])
    assert cells(desk) == CELLS and len(document["gates"]) == CELLS
    return desk


@pytest.fixture
def desk(done: Path, tmp_path: Path) -> Path:
    """The same suite, not yet replayed."""
    for file in done.glob("*.*"):
        if file.is_file():
            shutil.copy(file, tmp_path)
    return tmp_path


def suite(desk: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return called(desk, "suite", *arguments)


def test_cells_are_what_run_finds(done: Path) -> None:
    """Beside `memtrace run`, trace by trace."""
    from memtrace.engine.registry import parse_policies
    from memtrace.reading import read
    from memtrace.results.folder import read_folder
    from memtrace.results.running import run
    from memtrace.results.settings import Settings

    rows = pq.read_table(done / "reports" / "suite" / "summary.parquet").to_pylist()
    policies = parse_policies(list(dict.fromkeys(row["policy"] for row in rows)))
    for trace in ("t0", "t4"):
        expected = run([read(done / f"{trace}.csv")], policies, Settings(samples=20), jobs=1)
        own = [row for row in rows if row["trace"] == trace]
        assert [{name: row[name] for name in expected.summary[0]} for row in own] == expected.summary
        assert [(row["policy.name"], f"align={row['policy.align']}") for row in own] == [
            tuple(row["policy"].split(":")) for row in own
        ]
        found = read_folder(done / "reports" / "suite" / trace)
        for table in ("timeline", "holes", "occupancy", "distributions"):
            assert getattr(found, table).equals(getattr(expected, table)), table


def test_what_a_suite_concludes(done: Path, tmp_path: Path) -> None:
    said = called(done, "show", "reports/suite")
    assert said.returncode == 0 and " needs least over 5 traces: " in said.stdout
    rows = pq.read_table(done / "reports" / "suite" / "summary.parquet").to_pylist()
    shown = json.loads(called(done, "show", "reports/suite", "--json").stdout)
    assert shown["results"] == rows and len(shown["standings"]) == CELLS // 5
    for ending, start in (("pdf", b"%PDF"), ("html", b"<!doctype html>"), ("md", b"# suite")):
        made = called(done, "report", "reports/suite", "-o", str(tmp_path / f"s.{ending}"))
        assert made.returncode == 0, made.stderr
        assert (tmp_path / f"s.{ending}").read_bytes()[: len(start)].lower() == start.lower()
    assert shown["conclusion"][0] in (tmp_path / "s.md").read_text()


def test_two_processes_of_which_one_is_killed(done: Path, desk: Path) -> None:
    process = started(desk, "-j", "2")
    wait_for_cells(desk, 30, process)
    os.kill(workers_of(process)[0], signal.SIGKILL)
    out, said = process.communicate(timeout=300)
    assert process.returncode == 0, said
    assert out.startswith("200 cells: 200 replayed\n")
    same_results(done / "reports" / "suite", desk / "reports" / "suite")


def test_a_killed_command_goes_on_where_it_was(done: Path, desk: Path) -> None:
    process = started(desk, "-j", "2")
    wait_for_cells(desk, 60, process)
    workers = workers_of(process)
    process.kill()
    process.communicate()
    assert not (desk / "reports").exists()
    end = 100
    while any(Path(f"/proc/{pid}/cmdline").exists() for pid in workers) and end:
        end -= 1
        signal.sigtimedwait([], 0.1)
    assert end, "the workers follow the command that was killed"
    kept = {file.name: file.stat().st_ino for file in (desk / ".memtrace" / "cells").glob("*.cell")}
    resumed = suite(desk, "-j", "2", "--resume", "--json")
    document = json.loads(resumed.stdout)
    assert (document["finished_before"], document["replayed"]) == (len(kept), CELLS - len(kept))
    now = {file.name: file.stat().st_ino for file in (desk / ".memtrace" / "cells").glob("*.cell")}
    assert kept.items() <= now.items(), "a finished cell is not written again"
    same_results(done / "reports" / "suite", desk / "reports" / "suite")


def test_ctrl_c_keeps_what_is_finished(desk: Path) -> None:
    process = started(desk, "-j", "2")
    wait_for_cells(desk, 10, process)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130 and "cells are finished, and --resume goes on from there" in said
    assert "Traceback" not in said and cells(desk) >= 10


def test_any_executor(done: Path, desk: Path) -> None:
    planned = suites.plan(suites.load(desk / "memtrace.toml"))
    store = Store(desk / "store")
    with ThreadPoolExecutor(3) as executor:
        ran = suites.replay_cells(planned, store, executor=executor)
    assert (ran.replayed, ran.errors) == (CELLS, {})
    rows, _ = suites.write(planned, store, set(), lambda results, folder: [], 0.0)
    expected = pq.read_table(done / "reports" / "suite" / "summary.parquet").to_pylist()
    assert rows == [{name: row[name] for name in rows[0]} for row in expected]  # the file also has the parameters of the sweep


def test_a_damaged_cell_is_replayed_again(done: Path, tmp_path: Path) -> None:
    desk = tmp_path / "copy"
    shutil.copytree(done, desk)
    victim = sorted((desk / ".memtrace" / "cells").glob("*.cell"))[7]
    victim.write_bytes(victim.read_bytes()[:-500])
    resumed = suite(desk, "--resume", "--json")
    assert json.loads(resumed.stdout)["replayed"] == 1
    same_results(done / "reports" / "suite", desk / "reports" / "suite")


def test_a_copied_cell_is_not_taken_for_another(done: Path, tmp_path: Path) -> None:
    desk = tmp_path / "copy"
    shutil.copytree(done, desk)
    first, second, *_ = sorted((desk / ".memtrace" / "cells").glob("*.cell"))
    shutil.copy(first, second)
    assert json.loads(suite(desk, "--resume", "--json").stdout)["replayed"] == 1
    same_results(done / "reports" / "suite", desk / "reports" / "suite")


def test_cells_of_the_repository_are_refused_in_ci(done: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    desk = tmp_path / "copy"
    shutil.copytree(done, desk)
    git = ["git", "-C", str(desk), "-c", "user.name=a", "-c", "user.email=a@b.c"]
    subprocess.run([*git, "init", "-q"], check=True)
    monkeypatch.setenv("CI", "true")
    assert suite(desk, "--resume", "--dry-run").returncode == 0
    subprocess.run([*git, "add", "-f", ".memtrace"], check=True)
    refused = suite(desk, "--resume")
    assert refused.returncode == 2 and "is a file of the repository, so --resume would believe" in refused.stderr
    assert suite(desk, "--dry-run").returncode == 0


DYING = """
import os
from typing import NamedTuple
import numpy as np
class State(NamedTuple):
    top: np.ndarray
def init(capacity, max_live):
    if max_live > 2:
        {act}
    return State(np.zeros(1, np.int64))
def alloc(state, request):
    state.top[0] += 8192
    return state.top[0] - 8192
def free(state, request, address):
    pass
def reserved(state):
    return state.top[0]
"""


@pytest.mark.parametrize(
    ("act", "said", "code"),
    [("raise RuntimeError('no')", "mine.py:9: raise RuntimeError('no')", 4), ("os._exit(9)", "its process died 3 times", 5)],
    ids=["raises", "dies"],
)
def test_a_cell_that_fails_loses_no_other(desk: Path, act: str, said: str, code: int) -> None:
    (desk / "mine.py").write_text(DYING.format(act=act))
    (desk / "memtrace.toml").write_text('traces = ["t2.csv", "t3.csv"]\npolicies = ["first-fit", "./mine.py", "best-fit"]\n')
    done = suite(desk, "-j", "2", "--junit", "junit.xml")
    assert done.returncode == code, done.stderr
    assert done.stdout.startswith("6 cells: 4 replayed, 2 failed\n") and "Traceback" not in done.stderr
    assert f"FAIL t3, mine: {said}" in done.stdout
    assert pq.read_table(desk / "reports" / "suite" / "summary.parquet").num_rows == 4
    assert 'errors="2"' in (desk / "junit.xml").read_text()


def test_an_invalid_trace_fails_its_own_cells(desk: Path) -> None:
    (desk / "t2.csv").write_text("op,id,size\nfree,1,\n")
    (desk / "memtrace.toml").write_text(
        'traces = ["t*.csv"]\npolicies = ["first-fit"]\nfail_if = ["peak_reserved_bytes > 1EiB"]\n'
    )
    done = suite(desk, "-j", "1")
    assert done.returncode == 5 and "t2.csv:2: free of id 1" in done.stdout
    assert "FAIL peak_reserved_bytes > 1EiB: 1 of 5 failed" in done.stdout and "t2, first-fit: its replay failed" in done.stdout


def test_a_baseline_guards_a_budget(desk: Path) -> None:
    text = 'traces = ["t*.csv"]\npolicies = [{policy = "best-fit", align = 16}]\nfail_if = ["peak_reserved_bytes>+1%"]\nbaseline = "b/base.csv"\n'
    (desk / "memtrace.toml").write_text(text)
    first = suite(desk, "-j", "1")
    assert (
        first.returncode == 2
        and "there is no baseline b/base.csv yet; write it with --update-baseline" in first.stderr.replace(f"{desk}/", "")
    )
    assert suite(desk, "-j", "1", "--update-baseline").returncode == 0
    assert (desk / "b" / "base.csv").stat().st_size < 1000
    same = suite(desk, "-j", "1", "--resume")
    assert same.returncode == 0 and "Of 5 rows, 0 worse, 5 the same. 0 of 1 gate failed (5 checks)." in same.stdout
    (desk / "memtrace.toml").write_text(text.replace("16", "2048"))
    worse = suite(desk, "-j", "1")
    assert worse.returncode == 1 and "FAIL peak_reserved_bytes>+1%: 5 of 5 failed" in worse.stdout
    assert "note: best-fit:align=2048 is compared with best-fit:align=16" in worse.stdout


def test_a_dry_run_replays_nothing(done: Path, desk: Path) -> None:
    planned = suite(desk, "--dry-run")
    assert planned.returncode == 0 and not (desk / "reports").exists() and not (desk / ".memtrace").exists()
    assert "200 cells, of which --resume would leave out 0; nothing was replayed" in planned.stdout
    document = json.loads(suite(done, "--dry-run", "--json").stdout)
    assert len(document["cells"]) == CELLS and all(cell["finished"] for cell in document["cells"])


def test_a_folder_of_somebody_else_is_not_touched(desk: Path) -> None:
    (desk / "reports" / "suite").mkdir(parents=True)
    (desk / "reports" / "suite" / "thesis.txt").write_text("precious")
    done = suite(desk)
    assert done.returncode == 2 and "--force" in done.stderr and cells(desk) == 0


def test_a_scheduler_without_dask_is_explained(desk: Path) -> None:
    (desk / "distributed.py").write_text("raise ImportError('not here')\n")
    environment = {**os.environ, "PYTHONPATH": f"{desk}{os.pathsep}{ROOT}"}
    command = [sys.executable, "-m", "memtrace", "suite", "--scheduler", "tcp://127.0.0.1:1"]
    done = subprocess.run(command, cwd=desk, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 2 and "pip install 'memtrace-replay[cluster]'" in done.stderr
