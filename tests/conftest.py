"""What several test files use: running the command line as a user does, and small traces."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def memtrace(tmp_path: Path) -> Run:
    """`memtrace ARGUMENTS` in an empty folder."""

    def run(*arguments: str | Path, **how: object) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "80"}
        command = [sys.executable, "-m", "memtrace", *map(str, arguments)]
        return subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False, **how)  # type: ignore[call-overload, no-any-return]

    return run


@pytest.fixture
def small_trace(tmp_path: Path) -> Path:
    path = tmp_path / "small.csv"
    path.write_text("op,id,size\nalloc,1,100\nalloc,2,50\nfree,1,\nalloc,3,20\nrealloc,2,90\n")
    return path
