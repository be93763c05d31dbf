"""A suite of 200 small cells, and what tests do to those who replay it."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from pathlib import Path

from conftest import ROOT

CELLS = 200
ALIGNMENTS = [1 << i for i in range(20)]
TRACES = 5


def desk_of(folder: Path, events: int = 80) -> Path:
    """Five random traces, twice twenty policies, and a gate."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(TRACES):
        (folder / f"t{number}.csv").write_text(random_trace(number, events))
    (folder / "memtrace.toml").write_text(
        f"""
        traces = ["t*.csv"]
        samples = 20
        policies = [
          {{policy = "first-fit", align = {ALIGNMENTS}}},
          {{policy = "best-fit", align = {ALIGNMENTS}}},
        ]
        baseline = "baseline.csv"
        fail_if = ['peak_reserved_bytes > 100_000 * policy("best-fit:align=1")']
        """
    )
    return folder


def random_trace(seed: int, events: int) -> str:
    draw, live, lines = random.Random(seed), [0], ["op,id,size", "alloc,0,100"]
    for number in range(1, events):
        if live and draw.random() < 0.45:
            lines.append(f"free,{live.pop(draw.randrange(len(live)))},")
        else:
            live.append(number)
            lines.append(f"alloc,{number},{draw.randrange(1, 5000)}")
    return "\n".join(lines) + "\n"


def started(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "80"}
    command = [sys.executable, "-m", "memtrace", "suite", *arguments]
    return subprocess.Popen(command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def cells(folder: Path) -> int:
    return len(list((folder / ".memtrace" / "cells").glob("*.cell")))


def wait_for_cells(folder: Path, count: int, process: subprocess.Popen[str]) -> None:
    end = time.monotonic() + 120
    while cells(folder) < count:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end
        time.sleep(0.01)


def workers_of(process: subprocess.Popen[str]) -> list[int]:
    """The processes that replay cells."""
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    return [int(pid) for pid in children if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes()]


def same_results(one: Path, other: Path) -> None:
    """Every file but manifests and times, byte for byte."""
    names = sorted(file.relative_to(one) for file in one.rglob("*") if file.is_file())
    assert names == sorted(file.relative_to(other) for file in other.rglob("*") if file.is_file())
    for name in names:
        if name.name not in ("manifest.json", "timing.parquet"):
            assert (one / name).read_bytes() == (other / name).read_bytes(), name
