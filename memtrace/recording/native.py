"""A program's calls of malloc and free, through a library that is loaded before its own.

The library (`recorder.c`) is compiled at first use. Every process of the program writes a log; the one that is asked for,
or else the one with the most calls, becomes the trace.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from memtrace.compiler import LIBRARY, compiled
from memtrace.errors import InputError, UsageError
from memtrace.names import unknown

if TYPE_CHECKING:
    from memtrace.trace.passes import Progress

SOURCE = Path(__file__).with_name("recorder.c")
COPY_BYTES = 1 << 20


@dataclass(frozen=True)
class Process:
    """The log of one process, from its start or its fork to its end, or until it executed another program."""

    path: Path
    program: str
    calls: int
    inherited: int  # calls of its parent, before its fork
    parent: str  # the name of its parent's log, "" if it has none


@dataclass(frozen=True)
class Recording:
    """What was recorded: the process that became the trace, all that there were, and how the command ended."""

    process: Process
    processes: tuple[Process, ...]
    events: int
    exit_code: int
    metadata: dict[str, str]


def record(
    command: Sequence[str],
    target: str | os.PathLike[str],
    *,
    process: str | None = None,
    environment: dict[str, str] | None = None,
    output: IO[Any] | int | None = None,
    progress: Progress | None = None,
) -> Recording:
    """Run a command and write the calls of one of its processes as a trace.

    ``process`` is the name of the program whose calls are wanted. ``environment`` replaces this process's own, ``output``
    its standard output. Raises UsageError if the command cannot be run or records nothing.
    """
    from memtrace.trace import convert

    library = preloaded()
    found = shutil.which(command[0], path=(environment or os.environ).get("PATH"))
    if found is None:
        raise UsageError(f"{command[0]}: there is no such program")
    folder = Path(tempfile.mkdtemp(prefix="memtrace-", dir=Path(target).resolve().parent))
    try:
        exit_code = _run([found, *command[1:]], folder, library, environment, output)
        processes = tuple(_processes(folder))
        chosen = choose(processes, process, command[0])
        metadata = {"command": Path(command[0]).name}
        whole = _with_inherited(chosen, {each.path.name: each for each in processes})
        events = convert(whole, target, format="calls", metadata=metadata, progress=progress)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return Recording(chosen, processes, events, exit_code, metadata)


def preloaded() -> Path:
    """The recorder's library."""
    if not sys.platform.startswith("linux"):
        raise UsageError(
            "record native needs Linux with glibc\ntry: record python, or convert the log of another tool (memtrace formats)"
        )
    return compiled(SOURCE, *LIBRARY)


def _run(command: list[str], folder: Path, library: Path, given: dict[str, str] | None, output: IO[Any] | int | None) -> int:
    """The exit code; Ctrl-C ends the program, and its calls up to then are kept."""
    environment = dict(os.environ if given is None else given)
    before = environment.get("LD_PRELOAD")
    environment |= {"LD_PRELOAD": f"{library}:{before}" if before else str(library), "MEMTRACE_CALLS": str(folder)}
    running = subprocess.Popen(command, env=environment, stdout=output)
    while True:
        try:
            return running.wait()
        except KeyboardInterrupt:
            continue  # the terminal has told the program too


def _processes(folder: Path) -> Iterator[Process]:
    """All logs, in the order of their beginnings."""
    import numpy as np

    from memtrace.formats.calls import HEADER

    for path in sorted(folder.glob("*.calls"), key=lambda path: path.stat().st_ctime_ns):
        read = np.fromfile(path, HEADER, 1)
        if read.size:
            header = read[0]
            parent = f"{header['parent']}-{header['parent_number']}.calls" if header["parent"] else ""
            program = bytes(header["program"]).decode(errors="replace")
            yield Process(path, program, int(header["count"]), int(header["inherited"]), parent)


def choose(processes: Sequence[Process], name: str | None, command: str) -> Process:
    """The process with the most calls, of those of this name."""
    wanted = [each for each in processes if name is None or each.program == name]
    if not processes or not any(each.calls for each in processes):
        raise InputError(
            f"{command}: no call of malloc was seen\ntry: a program that is linked dynamically to glibc, and is not setuid"
        )
    if not wanted:
        assert name is not None
        raise unknown("process", name, {each.program for each in processes})
    return max(wanted, key=lambda each: each.calls)


def _with_inherited(process: Process, known: dict[str, Process]) -> Path:
    """The log of a process with its parent's calls before the fork in front, or its own where it has none."""
    from memtrace.formats.calls import FIRST_RECORD, RECORD

    if process.parent not in known or not process.inherited:
        return process.path
    import numpy as np

    front = _with_inherited(known[process.parent], known)
    before = int(np.fromfile(front, "<u8", 1, offset=16)[0]) - known[process.parent].calls + process.inherited
    whole = process.path.with_suffix(".whole")
    with whole.open("wb") as out, front.open("rb") as earlier, process.path.open("rb") as own:
        head = bytearray(own.read(FIRST_RECORD))
        head[16:24] = (before + process.calls).to_bytes(8, "little")
        out.write(head)
        earlier.seek(FIRST_RECORD)
        _copy(earlier, out, before * RECORD.itemsize)
        _copy(own, out, process.calls * RECORD.itemsize)
    return whole


def _copy(source: IO[bytes], target: IO[bytes], count: int) -> None:
    while count and (data := source.read(min(count, COPY_BYTES))):
        target.write(data)
        count -= len(data)
