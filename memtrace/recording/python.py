"""Record the allocations of a Python program with memray (extra `memray`), and convert memray's capture to a trace.

memray leaves its own allocations out. It records malloc and its relatives and mmap; with `objects` also the calls of
Python's own allocator, so that each object is recorded besides the arena that contains it.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from memtrace import temporary
from memtrace.errors import InputError, UsageError

if TYPE_CHECKING:
    from memtrace.trace.passes import Progress

EXTRA = "pip install 'memtrace-replay[memray]'"


@dataclass(frozen=True)
class Recording:
    """Describe a finished recording, and how the program ended."""

    events: int  # number of events in the trace
    exit_code: int  # of the program
    metadata: dict[str, str]  # of the trace


def record(
    program: Sequence[str],
    target: str | os.PathLike[str],
    *,
    objects: bool = False,
    output: IO[Any] | int | None = None,
    progress: Progress | None = None,
) -> Recording:
    """Run a script with its arguments, or `-m module ...`, under memray, and write its trace.

    `objects` also records Python's own allocator; `output` replaces the standard output. Raises UsageError if memray or the
    script is missing, InputError if nothing was recorded.
    """
    from memtrace.reading import convert

    if find_spec("memray") is None:
        raise UsageError(
            f"recording Python programs needs an extra: {EXTRA}\ntry: record native -- {sys.executable} {program[0]}"
        )
    if program[0] != "-m" and not Path(program[0]).is_file():
        raise UsageError(f"{program[0]}: there is no such script\ntry: -m MODULE, if it is a module")
    metadata: dict[str, str] = {}
    with temporary.folder(Path(target).resolve().parent) as folder:
        capture = folder / "capture.memray"
        options = ["--trace-python-allocators"] if objects else []
        command = [sys.executable, "-m", "memray", "run", "-q", "-o", str(capture), *options, *program]
        exit_code = subprocess.run(command, stdout=output).returncode
        if not capture.is_file():
            raise InputError(f"{program[0]}: memray wrote nothing; it ended with {exit_code}")
        events = convert(capture, target, format="memray", metadata=metadata, progress=progress)
    return Recording(events, exit_code, metadata)
