"""What several test files use: running the command line as a user does, and small traces."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parent.parent
os.environ.setdefault("MEMTRACE_CACHE_DIR", str(ROOT / "build" / "kernels"))  # compiled code of the tests and their processes
os.environ.pop("CI", None)  # the tests say themselves where memtrace is to take itself for a job of CI
Run = Callable[..., "subprocess.CompletedProcess[str]"]


def pytest_configure(config: pytest.Config) -> None:
    """Register the marker of memtrace's own plug-in, which pytest does not find where memtrace was installed before it had one."""
    config.addinivalue_line("markers", "memtrace: as docs/ci.md says")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """With `--dist loadgroup`, one worker runs all tests of a policy, whatever their files: no two compile the same loop.

    Those tests come first, since they take longest. The others stay together by file, for what its fixtures make.
    """
    if not config.getoption("loadgroup", False):
        return
    groups = {item: compiled_for(item) for item in items}
    for item, group in groups.items():
        item.add_marker(pytest.mark.xdist_group(group or item.path.stem))
    items.sort(key=lambda item: groups[item] is None)


def compiled_for(item: pytest.Item) -> str | None:
    """The policy or eviction rule that a test's file or parameters name; None if there is none."""
    from memtrace.engine.registry import builtin_policies

    parameters = item.callspec.params if isinstance(item, pytest.Function) and hasattr(item, "callspec") else {}
    named = item.path.stem.removeprefix("test_")
    words = [
        named.split("_")[0],
        named.replace("_", "-"),
        *(value.partition(":")[0] for value in parameters.values() if isinstance(value, str)),
    ]
    return next((word for word in words if word in builtin_policies()), parameters.get("evict"))


def called(folder: Path, *arguments: str | Path, input: str = "", unread: bool = False) -> subprocess.CompletedProcess[str]:
    """`memtrace ARGUMENTS` in a folder, without a process of its own: importing the libraries takes seconds each time.

    Files take the place of the standard streams, for the processes that the command starts too. With ``unread``, standard output
    is a pipe that nobody reads.
    """
    from memtrace.cli import main

    words = ["memtrace", *map(str, arguments)]
    with pytest.MonkeyPatch.context() as patch, ExitStack() as stack:
        patch.chdir(folder)
        patch.setenv("PYTHONPATH", str(ROOT))
        patch.setenv("COLUMNS", "80")
        patch.setattr(sys, "argv", words)
        files = [stack.enter_context(tempfile.TemporaryFile()) for _ in range(3)]
        files[0].write(input.encode())
        files[0].seek(0)
        for number, name in enumerate(("stdin", "stdout", "stderr")):
            kept = os.dup(number)
            stack.callback(os.close, kept)
            stack.callback(os.dup2, kept, number)
            os.dup2(files[number].fileno(), number)
            if unread and number == 1:
                reader, writer = os.pipe()
                os.close(reader)
                os.dup2(writer, number)
                os.close(writer)
            stream = stack.enter_context(open(number, "w" if number else "r", encoding="utf-8", closefd=False))
            patch.setattr(sys, name, stream)
        with pytest.raises(SystemExit) as ended:
            main()
        sys.stdout.flush()
        sys.stderr.flush()
        said = []
        for file in files[1:]:
            file.seek(0)
            said.append(file.read().decode())
    return subprocess.CompletedProcess(words, ended.value.code, *said)  # type: ignore[arg-type]


@pytest.fixture
def memtrace(tmp_path: Path) -> Run:
    """`memtrace ARGUMENTS` in an empty folder, in the process of the tests."""

    def run(*arguments: str | Path, **how: Any) -> subprocess.CompletedProcess[str]:
        return called(tmp_path, *arguments, **how)

    return run


@pytest.fixture
def memtrace_process(tmp_path: Path) -> Run:
    """`memtrace ARGUMENTS` in an empty folder, as a process: where exit codes, pipes and what is left behind are looked at."""

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
