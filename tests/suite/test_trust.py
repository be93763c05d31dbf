"""Whose code a suite may run: nothing at `--dry-run`; in CI none, or that of the base of a change, or with a bare environment."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import pytest
from conftest import ROOT, Run, called
from sample_plugins import install_acme

from memtrace.errors import UsageError
from memtrace.processes import python_code, safe_path
from memtrace.suite.config import project_of
from memtrace.suite.repository import Repository, base_of, named_by_ci
from memtrace.suite.store import TAG
from memtrace.suite.trust import KEPT, code_of, is_kept, parse_trust

MINE = """
import os
from pathlib import Path
from typing import NamedTuple
import numpy as np
from near import TOP
import inside.outer
Path({mark!r}).write_text(" ".join(os.environ) + " " + Path("/proc/self/environ").read_text())
class State(NamedTuple):
    top: np.ndarray
def init(capacity, max_live):
    return State(np.zeros(1, np.int64))
def alloc(state, request):
    state.top[0] += TOP
    return state.top[0] - TOP
def free(state, request, address):
    pass
def reserved(state):
    return state.top[0]
"""
SUITE = 'traces = ["t.csv"]\npolicies = ["first-fit", "./own/mine.py"]\n'


def git(folder: Path, *arguments: str) -> str:
    """Run git in a folder as somebody."""
    command = ["git", "-C", str(folder), "-c", "user.name=a", "-c", "user.email=a@b.c", *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository with a suite that names a policy file, which tells that it was run; the branch `main` has all of it."""
    monkeypatch.delenv("CI", raising=False)
    own = tmp_path / "own"
    (own / "inside").mkdir(parents=True)
    (own / "mine.py").write_text(MINE.format(mark=str(tmp_path / "ran")))
    (own / "near.py").write_text("TOP = 64\n")
    (own / "inside" / "__init__.py").write_text("")
    (own / "inside" / "outer.py").write_text("from .inner import NOTHING\n")
    (own / "inside" / "inner.py").write_text("NOTHING = 0\n")
    (tmp_path / "t.csv").write_text("op,id,size\nalloc,1,50\nalloc,2,60\nfree,1,\n")
    (tmp_path / "memtrace.toml").write_text(SUITE)
    git(tmp_path, "init", "-q", "-b", "main")
    git(tmp_path, "add", "-A")
    git(tmp_path, "commit", "-q", "-m", "base")
    git(tmp_path, "checkout", "-q", "-b", "change")
    return tmp_path


def ran(desk: Path) -> bool:
    """Whether the policy file was run."""
    return (desk / "ran").exists()


def suite(desk: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return called(desk, "suite", "-j", "1", *arguments)


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        ("best-fit", []),
        ("native:jemalloc", []),
        ("./mine.py", ["./mine.py"]),
        ("a/mine.py:align=16", ["a/mine.py"]),
        ("native:./x.so", ["./x.so"]),
        ("native:library=x.so,touch=false", ["x.so"]),
        ("native:library:/x/y", ["/x/y"]),
        ("arenas:policy=[./mine.py:align=16],count=2", ["./mine.py"]),
        ("arenas:policy=./mine.py,count=2", ["./mine.py"]),
        ("arenas:policy=./mine.py", ["arenas:policy=./mine.py"]),  # as it is read: the whole is a path
        ("arenas:policy=[native:library=./x.so]", ["./x.so"]),
        ("./mine.py:policy=[arenas:policy=[b.py]]", ["./mine.py", "b.py"]),
        ("pytorch:roundup_power2_divisions=[256:1;512:2;>:4]", []),
    ],
)
def test_the_code_that_a_policy_names(policy: str, expected: list[str]) -> None:
    assert [code.path for code in code_of(policy)] == expected


def test_a_dry_run_runs_no_code(desk: Path) -> None:
    more = '["first-fit", "./own/mine.py", "native:library=./evil.so", "arenas:policy=[./own/mine.py]"]'
    (desk / "memtrace.toml").write_text(f'traces = ["t.csv"]\npolicies = {more}\n')
    done = called(desk, "suite", "--dry-run")
    assert done.returncode == 0 and not ran(desk), done.stderr
    assert "t: 4 cells, 0 finished before, 3 not known (t.csv)" in done.stdout
    assert "code of the suite, which was not run: ./own/mine.py (policy file)\n" in done.stdout
    assert "code of the suite, which was not run: ./evil.so (library)\n" in done.stdout
    document = json.loads(called(desk, "suite", "--dry-run", "--json").stdout)
    assert [cell["finished"] for cell in document["cells"]] == [False, None, None, None]
    assert [cell["key"] is None for cell in document["cells"]] == [False, True, True, True] and not ran(desk)


def test_a_dry_run_imports_no_plugin(tmp_path: Path) -> None:
    install_acme(tmp_path / "site-packages")
    for file in (tmp_path / "site-packages").rglob("*.py"):
        file.write_text(
            f"open({str(tmp_path / 'ran')!r}, 'w')\n{file.read_text().replace('from __future__ import annotations', '')}"
        )
    (tmp_path / "t.csv").write_text("op,id,size\nalloc,1,50\n")
    (tmp_path / "log.acme").write_text("acme\n+1 100\n")
    (tmp_path / "memtrace.toml").write_text('traces = ["t.csv", "log.acme"]\npolicies = ["acme-above", "bump", "all"]\n')
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(tmp_path / "site-packages")])}
    command = [sys.executable, "-m", "memtrace", "suite", "--dry-run", "--json"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0 and not ran(tmp_path), done.stderr
    cells = {(cell["trace"], cell["policy"]): cell["finished"] for cell in json.loads(done.stdout)["cells"]}
    assert cells["t", "bump"] is False and cells["t", "acme-above"] is None and cells["log.acme", "bump"] is None


def test_code_is_refused_in_ci_unless_something_is_said(desk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert suite(desk).returncode == 0 and ran(desk)
    (desk / "ran").unlink()
    monkeypatch.setenv("CI", "true")
    refused = suite(desk)
    assert refused.returncode == 2 and not ran(desk)
    assert "would run code of its own in CI: ./own/mine.py (policy file)\ntry: --trust base" in refused.stderr
    assert suite(desk, "--trust", "none").returncode == 2 and not ran(desk)
    monkeypatch.setenv("CI", "false")
    assert suite(desk, "--trust", "none").returncode == 2 and not ran(desk)


def test_code_of_the_base_is_run(desk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CI", "true")
    done = suite(desk, "--trust", "base=main", "--json")
    assert done.returncode == 0 and ran(desk), done.stderr
    rows = json.loads(done.stdout)["results"]
    assert {row["policy"]: row["peak_reserved_bytes"] for row in rows} == {"first-fit": 128, "mine": 128}
    manifest = json.loads((desk / "reports" / "suite" / "manifest.json").read_text())
    assert manifest["policies"] == {"mine": str(desk / "own" / "mine.py")}


def test_no_other_command_runs_the_code_of_results(desk: Path) -> None:
    assert suite(desk).returncode == 0
    (desk / "ran").unlink()
    for arguments in (("show", "reports/suite"), ("compare", "reports/suite"), ("report", "reports/suite", "-o", "r.md")):
        assert called(desk, *arguments).returncode == 0 and not ran(desk)


@pytest.mark.parametrize(
    ("file", "text", "said"),
    [
        ("own/mine.py", "print('mine')\n", "is not what it is at"),
        ("own/near.py", "TOP = 65\n", "is not what it is at"),
        ("own/numba.py", "import os\n", None),  # not imported by the policy: it is not there for it
        ("memtrace.toml", SUITE.replace("mine.py", "near.py"), "does not name ./own/near.py at"),
        (
            "memtrace.toml",
            SUITE.replace("./own/mine.py", "native:./own/x.so"),
            "only policy files of their own are taken from the base",
        ),
        ("memtrace.toml", SUITE.replace("./own/mine.py", "arenas:policy=[own/mine.py]"), "only policy files of their own"),
    ],
)
def test_what_a_change_may_not_do_under_trust_base(desk: Path, file: str, text: str, said: str | None) -> None:
    (desk / file).write_text(text)
    done = suite(desk, "--trust", "base=main")
    if said is None:
        assert done.returncode == 0, done.stderr
    else:
        assert done.returncode == 2 and said in done.stderr and not ran(desk), done.stderr


def test_modules_that_the_comparison_misses_come_from_the_base_too(desk: Path) -> None:
    """A relative import within a package is not followed by the comparison."""
    (desk / "own" / "inside" / "inner.py").write_text(f"NOTHING = open({str(desk / 'changed')!r}, 'w').close()\n")
    done = suite(desk, "--trust", "base=main")
    assert done.returncode == 0 and ran(desk) and not (desk / "changed").exists(), done.stderr


def test_with_head_the_code_sees_no_secrets(desk: Path, memtrace_process: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "CI": "true",
        "DEPLOY_TOKEN": "s3cret",
        "GITHUB_ENV": "/e",
        "GITHUB_STEP_SUMMARY": str(desk / "s.md"),
    }.items():
        monkeypatch.setenv(name, value)
    done = memtrace_process("suite", "-j", "1", "--trust", "head")
    assert done.returncode == 0, done.stderr
    seen = (desk / "ran").read_text()
    assert "PATH" in seen and "s3cret" not in seen and "DEPLOY_TOKEN" not in seen and "GITHUB_ENV" not in seen
    assert (desk / "s.md").read_text().startswith("### memtrace memtrace.toml")


def test_what_is_kept_of_the_environment_is_documented() -> None:
    page = (ROOT / "docs" / "ci.md").read_text()
    assert [name for name in KEPT if f"`{name}`" not in page] == []
    assert is_kept("LC_ALL") and not any(map(is_kept, ("GITHUB_TOKEN", "AWS_SECRET_ACCESS_KEY", "LD_PRELOAD", "SSH_AUTH_SOCK")))


@pytest.mark.parametrize("text", ["all", "base=", "head=x", "", "none=1"])
def test_other_words_of_trust_are_refused(text: str) -> None:
    with pytest.raises(UsageError, match="one of none, head, base and base=REF"):
        parse_trust(text)


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({"GITHUB_EVENT_NAME": "pull_request", "GITHUB_BASE_REF": "main", "GITHUB_SHA": "1"}, ["refs/remotes/origin/main"]),
        ({"GITHUB_EVENT_NAME": "push", "GITHUB_BASE_REF": "", "GITHUB_SHA": "1"}, ["1"]),
        ({"GITHUB_EVENT_NAME": "workflow_run", "GITHUB_BASE_REF": "", "GITHUB_SHA": "1"}, []),
        (
            {"GITLAB_CI": "true", "CI_MERGE_REQUEST_TARGET_BRANCH_NAME": "main", "CI_MERGE_REQUEST_DIFF_BASE_SHA": "2"},
            ["refs/remotes/origin/main", "2"],
        ),
        ({"GITLAB_CI": "true", "CI_COMMIT_SHA": "3"}, ["3"]),
        ({}, []),
    ],
)
def test_what_a_ci_server_calls_the_base(environment: dict[str, str], expected: list[str]) -> None:
    assert list(named_by_ci(environment)) == expected


def test_a_base_that_is_not_known_or_not_here(desk: Path) -> None:
    repository = Repository(desk)
    assert base_of({}, "main", repository) == git(desk, "rev-parse", "main").strip()
    with pytest.raises(UsageError, match="no pull request that memtrace knows of\ntry: --trust base=origin/main"):
        base_of({}, None, repository)
    with pytest.raises(UsageError, match="refs/remotes/origin/gone is no commit of this clone\ntry: git fetch"):
        base_of({"GITHUB_BASE_REF": "gone"}, None, repository)
    assert repository.commit("--all") is None


def test_git_runs_nothing_of_a_repository_within_the_checkout(desk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder with the files of a bare repository, whose settings name a program that git would run."""
    cells = desk / ".memtrace" / "cells"
    for name in ("objects/x", "refs/heads/x"):
        (cells / name).parent.mkdir(parents=True)
        (cells / name).write_text("")
    (cells / "HEAD").write_text("ref: refs/heads/main\n")
    (cells / "config").write_text(
        f'[core]\nrepositoryformatversion = 0\nbare = false\nworktree = {desk}/own\nfsmonitor = "touch {desk}/ran; false"\n'
    )
    subprocess.run(["git", "ls-files"], cwd=cells, check=False, capture_output=True)
    assert ran(desk), "git itself runs it"
    (desk / "ran").unlink()
    assert Repository(project_of(cells)).run("status") is not None and not ran(desk)
    (cells / "CACHEDIR.TAG").write_text(TAG)
    (desk / "memtrace.toml").write_text(SUITE.replace(', "./own/mine.py"', ""))
    monkeypatch.setenv("CI", "1")
    done = suite(desk, "--resume")
    assert done.returncode == 0 and not ran(desk), done.stderr


def test_cells_are_not_kept_in_a_folder_of_something_else(desk: Path) -> None:
    (desk / "memtrace.toml").write_text(f"{SUITE}cells = 'own'\n")
    done = suite(desk)
    assert done.returncode == 2 and "own has other content than finished cells" in done.stderr
    assert not (desk / "own" / ".gitignore").exists() and not ran(desk)


def test_workers_find_no_modules_in_the_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("multiprocessing", "json", "memtrace"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [each for each in sys.path if each])
    with safe_path(), ProcessPoolExecutor(1, get_context("spawn")) as pool:
        assert pool.submit(os.getpid).result() != os.getpid()
    assert "PYTHONSAFEPATH" not in os.environ
    done = subprocess.run(
        python_code("import json, memtrace; print(memtrace.__file__)"), capture_output=True, text=True, check=True
    )
    assert Path(done.stdout.strip()).parent.parent == ROOT and not ran(tmp_path)
