"""Standard output that nobody reads, or that is closed: the work is done, and the exit code is that of its verdict."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT, Run

ROWS = "op,id,size\nalloc,1,100\nalloc,2,50\nfree,1,\n"
GATES = 'traces = ["t.csv"]\npolicies = ["first-fit"]\noutput = "out"\nfail_if = ["peak_reserved_bytes > {limit}"]\n'
BROKEN = "def init(capacity, max_live): pass\ndef alloc(state, request): return 0\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a trace, an invalid one, and suites whose gates pass, fail, and whose policy is broken."""
    (tmp_path / "t.csv").write_text(ROWS)
    (tmp_path / "invalid.csv").write_text(ROWS + "free,7,\n")
    (tmp_path / "good.toml").write_text(GATES.format(limit="1MiB"))
    (tmp_path / "bad.toml").write_text(GATES.format(limit="1"))
    (tmp_path / "broken.py").write_text(BROKEN)
    return tmp_path


@pytest.mark.parametrize(
    ("words", "code"),
    [
        ("--help", 0),
        ("run --help", 0),
        ("policies", 0),
        ("policies best-fit", 0),
        ("metrics --json", 0),
        ("formats", 0),
        ("workloads", 0),
        ("info t.csv", 0),
        ("check t.csv", 0),
        ("check invalid.csv", 3),
        ("run t.csv -p first-fit --no-report -o r", 0),
        ("run t.csv -p nonsense", 2),
        ("mincap t.csv -p first-fit", 0),
        ("bound t.csv", 0),
        ("suite good.toml -j 1", 0),
        ("suite bad.toml -j 1", 1),
        ("policies --check ./broken.py --quick", 4),
    ],
)
def test_what_nobody_reads_changes_no_verdict(words: str, code: int, memtrace: Run, folder: Path) -> None:
    read = memtrace(*words.split())
    (folder / "r").exists() and os.rename(folder / "r", folder / "before")
    unread = memtrace(*words.split(), unread=True)
    assert (read.returncode, unread.returncode) == (code, code), read.stderr
    assert "Traceback" not in unread.stderr and "Broken pipe" not in unread.stderr
    assert unread.stdout == ""
    if words.startswith("run t.csv -p first"):
        assert (folder / "r" / "summary.parquet").read_bytes() == (folder / "before" / "summary.parquet").read_bytes()


@pytest.mark.parametrize(
    ("line", "code"),
    [
        ("memtrace policies best-fit | true", 0),
        ("memtrace suite bad.toml -j 1 | true", 1),
        ("memtrace policies >&-", 0),
        ("memtrace run t.csv -p nonsense 2>&1 | true", 2),
    ],
)
def test_pipes_of_a_shell(line: str, code: int, folder: Path) -> None:
    command = shlex.join([sys.executable, "-m", "memtrace"])
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    script = f"set -o pipefail; {line.replace('memtrace', command, 1)}"
    done = subprocess.run(["bash", "-c", script], cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == code and "Traceback" not in done.stderr and "mistake in memtrace" not in done.stderr, done.stderr
