"""A results folder: written by one process at a time, and never read as a mixture of two runs."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from conftest import Run

from memtrace import temporary
from memtrace.comparing.inputs import rows_of
from memtrace.errors import InputError
from memtrace.results.folder import LOCK, read_folder


def run(memtrace: Run, trace: Path, folder: str, policy: str) -> None:
    assert memtrace("run", trace, "-o", folder, "-p", policy, "--no-report").returncode == 0


@pytest.mark.parametrize("table", ["summary", "timeline"])
def test_a_table_of_another_run_is_found(memtrace: Run, small_trace: Path, tmp_path: Path, table: str) -> None:
    run(memtrace, small_trace, "a", "best-fit")
    run(memtrace, small_trace, "b", "buddy")
    assert [row["policy"] for row in read_folder(tmp_path / "a").summary] == ["best-fit"]
    shutil.copy(tmp_path / "b" / f"{table}.parquet", tmp_path / "a")
    with pytest.raises(InputError, match=f"{table}.parquet is not the table that .* was written with: a run was ended"):
        read_folder(tmp_path / "a")
    if table == "summary":
        with pytest.raises(InputError, match="is not the table"):
            rows_of(tmp_path / "a")
    for words in (("show", "a"), ("report", "a", "-o", "a.html")):
        shown = memtrace(*words)
        assert (shown.returncode, "Traceback" in shown.stderr) == (3, False) and "is not the table" in shown.stderr


def test_names_that_are_not_utf_8_are_said_to_be_that(memtrace: Run, small_trace: Path, tmp_path: Path) -> None:
    other = Path(os.fsdecode(b"tr\xe9ce.csv"))
    shutil.copy(small_trace, tmp_path / other)
    for words in (("info", other), ("run", other, "--no-report", "-o", "out")):
        done = memtrace(*words)
        assert done.returncode == 3 and "not UTF-8\ntry: rename it" in done.stderr and "damaged" not in done.stderr
    done = memtrace("run", small_trace, "--no-report", "-o", os.fsdecode(b"out\xe9"))
    assert done.returncode == 2 and "is not UTF-8; give another folder" in done.stderr


def test_a_folder_to_which_another_process_writes(memtrace: Run, small_trace: Path, tmp_path: Path) -> None:
    run(memtrace, small_trace, "a", "best-fit")
    before = {path.name: path.read_bytes() for path in (tmp_path / "a").iterdir()}
    with temporary.lock(tmp_path / "a" / LOCK, str(os.getpid())):
        for force in ((), ("--force",)):
            refused = memtrace("run", small_trace, "-o", "a", *force)
            assert refused.returncode == 2
            assert f"another process {os.getpid()} is writing its results there\ntry: another folder with -o" in refused.stderr
    assert {path.name: path.read_bytes() for path in (tmp_path / "a").iterdir()} == before


def test_a_report_that_cannot_be_written(memtrace: Run, small_trace: Path, tmp_path: Path) -> None:
    run(memtrace, small_trace, "a", "best-fit")
    (tmp_path / "x.html").mkdir()
    refused = memtrace("report", "a", "-o", "x.html")
    assert (refused.returncode, "Traceback" in refused.stderr) == (3, False) and "x.html: cannot be written" in refused.stderr
    assert sorted(path.name for path in tmp_path.iterdir() if path.name.startswith((".", "x"))) == ["x.html"]
