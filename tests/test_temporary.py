"""Temporary files and folders, which go when their owner has ended, however it ended."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from memtrace import temporary

HOLDING = """
import sys, time
from pathlib import Path
from memtrace import temporary
where = Path(sys.argv[1])
folder = temporary.Folder(where)
(folder.path / "trace").write_bytes(bytes(1000))
with temporary.replacement(where / "made.csv") as name:
    Path(name).write_text("half")
    with temporary.lock(where / "lock", "77"):
        print("ready", flush=True)
        time.sleep(100)
"""


def holder(where: Path) -> subprocess.Popen[str]:
    """A process that has a folder, a file that is not finished, and a lock."""
    process = subprocess.Popen([sys.executable, "-c", HOLDING, str(where)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None and process.stdout.readline() == "ready\n"
    return process


def names(where: Path) -> list[str]:
    return sorted(path.name for path in where.iterdir())


def make_others(where: Path) -> None:
    """Do what another command does there."""
    temporary.Folder(where).remove()
    with temporary.replacement(where / "made.csv") as name:
        Path(name).write_text("whole")


def test_what_a_killed_process_left_is_removed_and_what_a_live_one_has_is_not(tmp_path: Path) -> None:
    for own in ("memtrace-notes", ".made.csv.partial", "made.csv.bak"):
        (tmp_path / own).write_text("the user's")
    process = holder(tmp_path)
    before = names(tmp_path)
    make_others(tmp_path)
    assert set(before) < set(names(tmp_path)), "nothing of a live process is removed"
    with temporary.lock(tmp_path / "lock") as ours:
        assert not ours and (tmp_path / "lock").read_text() == "77"
    assert temporary.is_held(tmp_path / "lock")
    process.send_signal(signal.SIGKILL)
    process.communicate()
    make_others(tmp_path)
    assert names(tmp_path) == [".made.csv.partial", "lock", "made.csv", "made.csv.bak", "memtrace-notes"]
    assert (tmp_path / "made.csv").read_text() == "whole"
    assert not temporary.is_held(tmp_path / "lock")
    with temporary.lock(tmp_path / "lock") as ours:
        assert ours
    assert not (tmp_path / "lock").exists()


def test_a_folder_that_is_kept_stays(tmp_path: Path) -> None:
    kept = temporary.Folder(tmp_path)
    (kept.path / "log").write_text("precious")
    kept.keep()
    kept.remove()
    temporary.Folder(tmp_path).remove()
    assert [path.name for path in kept.path.iterdir()] == ["log"]


def test_after_an_error_the_old_file_stays_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("old")
    with pytest.raises(RuntimeError), temporary.replacement(tmp_path / "a") as name:
        Path(name).write_text("new")
        raise RuntimeError
    assert names(tmp_path) == ["a"] and (tmp_path / "a").read_text() == "old"


def test_a_new_file_has_the_mode_of_any_new_file(tmp_path: Path) -> None:
    mask = os.umask(0o027)
    try:
        with temporary.replacement(tmp_path / "a") as name:
            Path(name).touch()
    finally:
        os.umask(mask)
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o640
