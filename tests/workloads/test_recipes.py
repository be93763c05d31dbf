"""The recipes of docs/ci.md, the suite of docs/suite.md and the lines of docs/results.md, run as they are written."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT, Run

from memtrace.comparing.grammar import parse_gate

CI, SUITE, RESULTS = ((ROOT / "docs" / name).read_text() for name in ("ci.md", "suite.md", "results.md"))
BASELINE = "memtrace suite --update-baseline"


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with the suite of docs/suite.md and its baseline, and commands by name as an installation has them."""
    folder = tmp_path_factory.mktemp("repository")
    (folder / "traces").symlink_to(ROOT / "traces")
    (toml,) = re.findall(r"```toml\n(.*?)```", SUITE, re.DOTALL)
    (folder / "memtrace.toml").write_text(toml)
    (folder / "bin").mkdir()
    for name, text in (
        ("memtrace", f'exec "{sys.executable}" -m memtrace "$@"'),
        ("pip", '[ "$*" = "install memtrace-replay" ]'),
    ):
        (folder / "bin" / name).write_text(f"#!/bin/sh\n{text}\n")
        (folder / "bin" / name).chmod(0o755)
    assert BASELINE in CI and BASELINE in SUITE
    done = shell(folder, BASELINE)
    assert done.returncode == 0, done.stderr
    return folder


def shell(folder: Path, script: str, **environment: str) -> subprocess.CompletedProcess[str]:
    path = f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}"
    whole = {**os.environ, "PYTHONPATH": str(ROOT), "PATH": path, "COLUMNS": "80", **environment}
    return subprocess.run(["bash", "-e", "-c", script], cwd=folder, env=whole, capture_output=True, text=True, check=False)


def recipe(title: str) -> str:
    return CI.partition(f"## {title}\n")[2].partition("```yaml\n")[2].partition("```")[0]


def scripts() -> dict[str, str]:
    """What each server would run."""
    github = re.findall(r"- run: (.*)", recipe("GitHub Actions"))
    gitlab = re.findall(r"- (.*)", recipe("GitLab").partition("script:")[2].partition("artifacts:")[0])
    hook = re.findall(r"entry: (.*)", recipe("pre-commit"))
    return {"github": "\n".join(github), "gitlab": "\n".join(gitlab), "pre-commit": "\n".join(hook)}


@pytest.mark.parametrize("server", ["github", "gitlab", "pre-commit"])
def test_a_recipe_passes_and_catches_a_change(server: str, repository: Path) -> None:
    script = scripts()[server]
    assert "memtrace suite --resume" in script
    github = {"GITHUB_ACTIONS": "true", "GITHUB_STEP_SUMMARY": str(repository / f"{server}.md")} if server == "github" else {}
    done = shell(repository, script, **github)
    assert done.returncode == 0, done.stdout + done.stderr
    # three policies on each trace, and once more on the one with a capacity that a gate looks at
    traces = len(list((ROOT / "traces").glob("gpt*")))
    rows = re.search(r"Of (\d+) rows, 0 worse, (\d+) the same\. 0 of 2 gates failed", done.stdout)
    assert rows is not None and rows[1] == rows[2] and int(rows[1]) == 3 * (traces + 2), done.stdout
    before = (repository / "memtrace.toml").read_text()
    try:
        (repository / "memtrace.toml").write_text(before.replace("16, 512", "16, 2097152"))
        caught = shell(repository, script, **github)
    finally:
        (repository / "memtrace.toml").write_text(before)
    assert caught.returncode == 1 and "FAIL peak_reserved_bytes > +1%" in caught.stdout
    assert 'failures="0"' not in (repository / "junit.xml").read_text().splitlines()[1]
    if server == "github":
        assert re.search(r"::error file=memtrace\.toml,line=\d+,title=gate peak_reserved_bytes > \+1%25::", caught.stderr)
        assert "%0Afootprint: the allocator, since the trace is the same: " in caught.stderr
        assert "a gate failed" in (repository / "github.md").read_text()


def test_the_steps_of_the_action(repository: Path) -> None:
    """Its scripts, with the inputs' defaults as variables, in the place of a runner."""
    text = (ROOT / "action.yml").read_text()
    defaults = dict(re.findall(r"^  ([\w-]+):\n    description: .*\n    default: \"?([^\"\n]*)\"?$", text, re.MULTILINE))
    scripts = re.findall(r"^      run: (.*)$", text, re.MULTILINE)
    assert len(scripts) == 2 and "${{" not in "".join(scripts)
    steps = text.partition("\nruns:")[2].partition("upload-artifact")[0]
    variables = {
        name: defaults[key] for name, key in re.findall(r"^        (\w+): \$\{\{ inputs\.([\w-]+) \}\}$", steps, re.MULTILINE)
    }
    assert variables == {"VERSION": "", "SUITE": "memtrace.toml", "JOBS": "", "TRUST": ""}
    installed, suite = scripts
    assert installed == 'python -m pip install --quiet "${VERSION:-$GITHUB_ACTION_PATH}"'
    for given in ({}, {"JOBS": "1", "TRUST": "none"}):
        done = shell(repository, suite, **{**variables, **given})
        assert done.returncode == 0 and "0 of 2 gates failed" in done.stdout, done.stdout + done.stderr


def test_the_component_of_gitlab(repository: Path) -> None:
    """Its script, with the inputs' defaults as variables."""
    spec, _, job = (ROOT / "templates" / "memtrace.yml").read_text().partition("\n---\n")
    defaults = dict(re.findall(r"^    ([\w-]+):\n      description: .*\n      default: (.*)$", spec, re.MULTILINE))
    assert set(re.findall(r"inputs\.([\w-]+)", job)) == set(defaults)
    variables = {name: defaults[key] for name, key in re.findall(r"^    (\w+): \$\[\[ inputs\.([\w-]+) \]\]$", job, re.MULTILINE)}
    script = "\n".join(re.findall(r"^    - (.*)$", job, re.MULTILINE))
    assert "$[[" not in script and len(variables) == 3
    done = shell(repository, script, **variables)
    assert done.returncode == 0 and "0 of 2 gates failed" in done.stdout, done.stdout + done.stderr


def test_the_hook_of_the_repository_is_that_of_the_docs() -> None:
    text = (ROOT / ".pre-commit-hooks.yaml").read_text()
    for key in ("id", "name", "entry", "language", "pass_filenames"):
        (hook,), (shown,) = (re.findall(rf"{key}: (.*)", each) for each in (text, recipe("pre-commit")))
        assert hook == shown


def test_the_gates_of_the_table_can_be_read() -> None:
    rows = re.findall(r"^\| `([^`]+)` \| [a-z]", CI.partition("## Gates")[2], re.MULTILINE)
    assert len(rows) == 13
    for text in rows:
        parse_gate(text)


LINES = re.findall(r"^    (python -c .*)$", RESULTS, re.MULTILINE)


@pytest.mark.parametrize("line", LINES, ids=[re.findall(r"import (\w+)", line)[0] for line in LINES])
def test_the_lines_of_three_libraries(line: str, memtrace: Run, tmp_path: Path) -> None:
    (library,) = re.findall(r"import (\w+)", line)
    if importlib.util.find_spec(library) is None:
        pytest.skip(f"{library} is not installed")
    trace = ROOT / "traces" / "gpt-6x512-fp32.csv"
    assert memtrace("run", trace, "-p", "first-fit", "-p", "best-fit", "--no-report").returncode == 0
    command = line.replace("python", f'"{sys.executable}"', 1)
    done = subprocess.run(["bash", "-c", command], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert 0 < done.stdout.index("best-fit") < done.stdout.index("first-fit")


def test_there_are_three() -> None:
    assert len(LINES) == 3
