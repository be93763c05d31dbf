"""Compiled code on disk: which folder is used, that files are whole, bounded, private, and compiled once."""

from __future__ import annotations

import os
import tempfile
import threading
import time
from pathlib import Path

import pytest

from memtrace import code_cache
from memtrace.code_cache import folder, is_locked, lock, prune, read, write


def test_the_folder_is_the_named_one_or_the_users(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(code_cache.FOLDER, str(tmp_path / "named"))
    assert folder() == tmp_path / "named"
    monkeypatch.delenv(code_cache.FOLDER)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "caches"))
    found = folder()
    assert found is not None and found.is_relative_to(tmp_path) and "memtrace" in found.parts
    assert found.stat().st_mode & 0o777 == 0o700


def test_a_folder_that_others_may_write_to_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o777)
    said: list[str] = []
    monkeypatch.setattr(code_cache, "tell", said.append)
    for unusable, why in ((str(shared), f"others than you may write to {shared}"), (os.devnull, "/dev/null cannot be used")):
        monkeypatch.setenv(code_cache.FOLDER, unusable)
        found = folder()
        assert found is not None and found != shared and found.stat().st_mode & 0o777 == 0o700
        assert os.environ[code_cache.FOLDER] == str(found) and folder() == found, "processes that are started use it too"
        assert said.pop().startswith(f"note: {why}")
    monkeypatch.setenv(code_cache.FOLDER, os.devnull + "/kernels")
    monkeypatch.setattr(tempfile, "tempdir", os.devnull)
    assert folder() is None, "no place at all"


def test_a_file_is_read_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "a.kernel"
    assert read(path) is None
    write(path, b"code")
    assert read(path) == b"code" and [file.name for file in tmp_path.iterdir()] == ["a.kernel"]
    whole = path.read_bytes()
    for cut in range(len(whole)):
        path.write_bytes(whole[:cut])
        assert read(path) is None
    path.write_bytes(whole[:-1] + b"!")
    assert read(path) is None
    path.write_bytes(whole)
    path.chmod(0o666)
    assert read(path) is None, "others may have written it"


def test_what_was_unused_longest_is_removed(tmp_path: Path) -> None:
    for age, name in enumerate(("new", "used", "old")):
        write(tmp_path / f"{name}.kernel", b"x" * 1000)
        os.utime(tmp_path / f"{name}.kernel", (time.time() - 100 * age - 100,) * 2)
    read(tmp_path / "used.kernel")
    for name in ("a.kernel.123.part", "b.kernel.lock", "c.kernel.lock"):
        (tmp_path / name).touch()
    for name in ("a.kernel.123.part", "b.kernel.lock"):
        os.utime(tmp_path / name, (time.time() - 2 * code_cache.DAY,) * 2)
    (tmp_path / "mine.txt").touch()
    prune(tmp_path, 1500)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["c.kernel.lock", "mine.txt", "used.kernel"]


def test_a_lock_is_held_by_one_at_a_time(tmp_path: Path) -> None:
    path, held = tmp_path / "a.kernel", []

    def hold() -> None:
        with lock(path):
            held.append("other")

    with lock(path):
        assert is_locked(path)
        other = threading.Thread(target=hold)
        other.start()
        time.sleep(0.05)
        held.append("first")
    other.join(10)
    assert held == ["first", "other"] and not is_locked(path)
    with pytest.raises(OSError, match="inside"), lock(path):
        raise OSError("inside")


def test_a_folder_that_cannot_be_written_to_costs_nothing_else(tmp_path: Path) -> None:
    with pytest.raises(OSError):
        write(tmp_path / "missing" / "a.kernel", b"code")
    with lock(tmp_path / "missing" / "a.kernel"):
        assert not is_locked(tmp_path / "missing" / "a.kernel")
