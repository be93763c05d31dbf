"""Record the malloc and free calls of any program on Linux, with a library that LD_PRELOAD loads before the program's own.

The library (`recorder.c`) is compiled at first use. Every process of the program writes a log. One log becomes the trace: that
of the process that the user names, or else that with the most calls.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from memtrace import temporary
from memtrace.errors import InputError, UsageError
from memtrace.names import unknown
from memtrace.native.compiler import LIBRARY, compile_source
from memtrace.processes import Terminated

if TYPE_CHECKING:
    from memtrace.trace.passes import Progress

SOURCE = Path(__file__).with_name("recorder.c")
COPY_BYTES = 1 << 20  # bytes copied at once
MOST_SECONDS = 5  # that a program gets to end after a signal


@dataclass(frozen=True)
class Process:
    """Describe the log of one process, from its start or fork until its end or its execution of another program."""

    path: Path  # of the log
    program: str  # file name of the executable
    calls: int  # number of calls in the log
    inherited: int  # number of calls in the parent's log before the fork
    parent: str  # file name of the parent's log, "" if there is none


@dataclass(frozen=True)
class Recording:
    """Describe a finished recording: all processes, the one that became the trace, and how the command ended."""

    process: Process  # the process that became the trace
    processes: tuple[Process, ...]  # all processes of the command
    events: int  # number of events in the trace
    exit_code: int  # of the command
    metadata: dict[str, str]  # of the trace


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

    `process` is the name of the program whose calls are wanted (None: the process with the most calls). `environment` replaces
    the environment of this process, `output` its standard output. Raises UsageError if the command cannot be run or no process
    has this name, InputError if no call was recorded.
    """
    from memtrace.reading import convert

    library = recorder_library()
    found = shutil.which(command[0], path=(environment or os.environ).get("PATH"))
    if found is None:
        raise UsageError(f"{command[0]}: there is no such program")
    place = temporary.Folder(Path(target).resolve().parent)
    try:
        exit_code = _run([found, *command[1:]], place.path, library, environment, output)
        processes = tuple(_processes(place.path))
        chosen = choose(processes, process, command[0])
        metadata = {"command": Path(command[0]).name}
        try:
            whole = _with_inherited(chosen, {each.path.name: each for each in processes})
            events = convert(whole, target, format="calls", metadata=metadata, progress=progress)
        except BaseException as error:
            place.keep()
            error.add_note(f"the recording is kept\ntry: memtrace convert {chosen.path} {target}; then remove {place.path}")
            raise
    finally:
        place.remove()
    return Recording(chosen, processes, events, exit_code, metadata)


def recorder_library() -> Path:
    """Return the path of the recorder's library, compiled if needed; raises UsageError unless this is Linux."""
    if not sys.platform.startswith("linux"):
        raise UsageError(
            "record native needs Linux with glibc\ntry: record python, or convert the log of another tool (memtrace formats)"
        )
    return compile_source(SOURCE, *LIBRARY)


def _run(command: list[str], folder: Path, library: Path, given: dict[str, str] | None, output: IO[Any] | int | None) -> int:
    """Run the command with the library, and return its exit code; the logs are written to `folder`.

    `given` is the environment, None for that of this process. Ctrl-C ends the program, and its calls up to then are kept. A
    signal that asks this process to end is passed on to the program first.
    """
    environment = dict(os.environ if given is None else given)
    before = environment.get("LD_PRELOAD")
    environment |= {"LD_PRELOAD": f"{library}:{before}" if before else str(library), "MEMTRACE_CALLS": str(folder)}
    running = subprocess.Popen(command, env=environment, stdout=output)
    while True:
        try:
            return running.wait()
        except Terminated as error:
            running.send_signal(error.number)
            with suppress(subprocess.TimeoutExpired):
                running.wait(MOST_SECONDS)
            running.kill()
            running.wait()
            raise
        except KeyboardInterrupt:
            continue  # the terminal has interrupted the program too


def _processes(folder: Path) -> Iterator[Process]:
    """Yield the processes whose logs are in a folder, in the order in which they began."""
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
    """Return the process with the most calls among those of this name (None: among all).

    Raises InputError if there is no call at all, UsageError if no process has this name; `command` is named in messages.
    """
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
    """Return the path of a log that has also the calls that a forked process inherited: its parent's calls before the fork.

    These come first, with what the parent inherited itself. `known` maps log names to processes. A process without a known
    parent has its own log returned.
    """
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
    """Copy `count` bytes, or as many as there are, from one file to the other."""
    while count and (data := source.read(min(count, COPY_BYTES))):
        target.write(data)
        count -= len(data)
