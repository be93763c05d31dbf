"""Replay in the interpreter until compiled code is ready, and go over to it between two events.

Compiling a policy's loop takes seconds; interpreting takes some 40 microseconds an event. Which of the two is sooner done depends
on the trace, the policy and what this process has replayed before. A `Handover` is a loop that begins with whatever is ready. It
replays a few events at a time in the interpreter, and after each of these steps it compares the time that the rest will take at
this pace with the time that compiling takes. If compiling is worth it, another process compiles where a processor is idle, and
the interpreter goes on meanwhile. Both work on the same arrays, so the results are the same wherever it goes over.

``MEMTRACE_INTERPRET`` in the environment decides it beforehand, to compare the two.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from typing import TYPE_CHECKING, Any

from memtrace.code_cache import is_locked
from memtrace.engine.compile import code_of
from memtrace.engine.driver import compiled_loop, interpreted_loop
from memtrace.engine.loop import FINISHED
from memtrace.processes import python_code

if TYPE_CHECKING:
    from pathlib import Path

    from memtrace.engine.registry import Policy
    from memtrace.trace import Events

SWITCH = "MEMTRACE_INTERPRET"  # environment variable; "0": only compiled code replays, "1": only the interpreter

STEP_SECONDS = 0.1  # of interpreting between two decisions whether to compile
FIRST_STEP = 256  # events, before the pace is known
# Processor time, since other programs may be at work too.
LOADING_SECONDS = 0.8  # to import the compiler and load a loop from disk
COMPILING_SECONDS = 4.0  # to compile a loop: 3 to 6 where this was measured
PACE = 40e-6  # seconds an event in the interpreter, before it is measured

tell: Callable[[str], None] | None = None  # called with one line for the user when a loop is compiled, if a command sets it

_spent: dict[str, float] = {}  # seconds that the interpreter has worked in this process, by bound module
_compilers: dict[str, subprocess.Popen[bytes]] = {}  # processes that compile, by bound module


class Handover:
    """The loop of one replay, which the driver calls as it calls any other loop."""

    def __init__(
        self,
        policy: Policy,
        bound: Any,
        events: int,
        *,
        expected: int = 0,
        background: bool = True,
    ) -> None:
        """Make the loop of a replay of so many events.

        ``expected`` is the number of events that this process will replay in all, where that is known. ``background``: a
        processor is idle, on which another process may compile.
        """
        self.policy = policy
        self.bound = bound
        self.left = events
        self.expected = max(events, expected)
        self.background = background and processors() > 1 and policy.text is not None  # else only this process knows it
        self.code: Any = None  # the compiled loop, once it is used
        self.interpreted = interpreted_loop(policy.module, bound)
        self.pace = PACE
        self.stepped = 0  # events that the interpreter has replayed
        self._files: list[Path] | None = None

    @property
    def compilable(self) -> Any:
        """What replays the policy as compiled code."""
        return code_of(self.policy.module, self.bound)

    def __call__(self, events: Events, start: int, *others: Any) -> tuple[int, int]:
        """Replay a batch from event ``start`` of it on; return the events replayed and why the loop stopped."""
        size = events.op.size
        if self.code is None and not self.stepped and self.is_ready((events, start, *others)):
            self.code = compiled_loop(self.policy, self.bound)
        while self.code is None:
            end = min(size, start + (max(1, int(STEP_SECONDS / self.pace)) if self.stepped else FIRST_STEP))
            came, why = self.step(events, start, end, others)
            if why != FINISHED or came == size:
                return came, why
            start = came
            self.code = self.worth_compiling((events, start, *others))
        self.left -= size - start
        return self.code(events, start, *others)

    def is_ready(self, arguments: tuple[Any, ...]) -> bool:
        """Return whether the compiled loop is in this process, or on disk and worth to be loaded."""
        switch = os.environ.get(SWITCH)
        if switch in ("0", "1"):
            return switch == "0"
        imported = "numba" in sys.modules
        if imported and self.compilable.is_loaded:
            return True
        if _spent.get(self.bound.__name__, 0.0) > COMPILING_SECONDS:
            return True  # many short replays, as of a search: they have taken as long as compiling, and more may come
        loading = LOADING_SECONDS / 8 if imported else LOADING_SECONDS
        return self.expected * PACE + _spent.get(self.bound.__name__, 0.0) > loading and self.is_kept(arguments)

    def files(self, arguments: tuple[Any, ...]) -> list[Path]:
        """Return the files of compiled code for these arguments, of the types that all calls have; none without a folder."""
        if self._files is None:
            self._files = self.compilable.files(arguments)
        return self._files

    def is_kept(self, arguments: tuple[Any, ...]) -> bool:
        """Return whether all compiled code is on disk."""
        files = self.files(arguments)
        return bool(files) and all(file.exists() for file in files)

    def step(self, events: Events, start: int, end: int, others: tuple[Any, ...]) -> tuple[int, int]:
        """Replay the events from ``start`` to ``end`` in the interpreter, and measure how long it takes."""
        began = time.thread_time()
        came, why = self.interpreted(upto(events, end), start, *others)
        took = time.thread_time() - began
        self.left -= came - start
        self.stepped += came - start
        if came > start:
            self.pace = took / (came - start)
        name = self.bound.__name__
        _spent[name] = _spent.get(name, 0.0) + took
        return came, why

    def worth_compiling(self, arguments: tuple[Any, ...]) -> Any:
        """Return the compiled loop if it is ready, or if it is worth to compile it here; else None, to go on interpreting.

        It is worth it once what the interpreter has done and has to do takes longer: then it costs at most twice the time of
        the better choice, however much more is to come.
        """
        if os.environ.get(SWITCH) == "1":
            return None
        name = self.bound.__name__
        rest = self.left * self.pace
        if rest < STEP_SECONDS or rest + _spent[name] < LOADING_SECONDS:
            return None
        if self.is_kept(arguments):
            return compiled_loop(self.policy, self.bound)
        files = self.files(arguments)
        alone = len(files) > 1 and files[0].exists()  # only the policy's own functions have to be compiled
        compiling = COMPILING_SECONDS / 4 if alone else COMPILING_SECONDS
        if rest + _spent[name] < compiling or any(map(is_locked, files)):
            return None
        if alone:
            return compiled_loop(self.policy, self.bound)  # which takes no longer than to start another process
        if self.background and name not in _compilers:
            with suppress(OSError):
                _compilers[name] = compiler_of(self.policy.text or "")
                say(f"replaying while {self.policy.name} compiles in the background, once for this version")
        if name in _compilers and is_running(_compilers[name]):
            return None
        if name not in _compilers:  # else it failed, and does so here, where it says why
            say(f"compiling {self.policy.name}, once for this version")
        return compiled_loop(self.policy, self.bound)


def say(line: str) -> None:
    """Show the user a line, if the command that runs wants to."""
    if tell is not None:
        tell(line)


def upto(events: Events, end: int) -> Events:
    """Return the events of a batch before event ``end``; a column of one row stands for all events, and stays."""
    columns = {name: column[:end] for name, column in events._asdict().items() if column.size == events.op.size}
    return events._replace(**columns)


@cache
def processors() -> int:
    """Return the number of processors that this process may use."""
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity is not None else os.cpu_count() or 1


def compiler_of(text: str) -> subprocess.Popen[bytes]:
    """Start a process that compiles the loop of the policy of this text, and keeps it on disk.

    It ends with this process, however this one ends, since it then reads the end of its input.
    """
    command = python_code("from memtrace.engine.handover import compile_loop; compile_loop()", text)
    quiet = subprocess.DEVNULL
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=quiet, stderr=quiet)


def is_running(process: subprocess.Popen[bytes]) -> bool:
    """Return whether a process that `compiler_of` started is still at work; if not, nothing is left open of it."""
    if process.poll() is None:
        return True
    if process.stdin is not None:
        process.stdin.close()
    return False


def compile_loop() -> None:
    """Compile the loop of the policy that the command line names; exit at once if standard input ends."""
    import signal
    import threading

    from memtrace.engine.registry import parse_policy
    from memtrace.engine.replay import warm

    def follow() -> None:
        """Wait for the end of the parent process, without Python's lock of the stream, which would be held at this one's end."""
        while os.read(0, 1):
            pass
        os._exit(1)

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to the parent, whose end ends this process
    threading.Thread(target=follow, daemon=True).start()
    warm(parse_policy(sys.argv[1]))
