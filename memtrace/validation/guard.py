"""Bounds on what a policy under test may take: time for one call, and memory for its state.

A policy that does not come back from a call is interrupted from another thread, so the traceback has the line of its loop. The
time counted is the processor's, so that a busy machine makes no policy look endless.
"""

from __future__ import annotations

import ctypes
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType

CALL_SECONDS = 2.0  # CPU seconds of one call, with at most some hundred live blocks
BLOCKED_SECONDS = 30.0  # seconds of one call that takes no CPU, as one that waits for input
TICK_SECONDS = 0.05
MEMORY = 4 << 30  # bytes beyond what the process has, while a state is made


class Endless(BaseException):
    """Interrupt a call that takes too long. It is no Exception, so that the policy's own handlers do not catch it."""


class Guard:
    """Interrupts the calls of one thread, each of which is made between ``enter`` and ``leave``, if one takes too long."""

    def __init__(self, seconds: float | None = None) -> None:
        """Allow ``seconds`` of CPU for each call; None: CALL_SECONDS."""
        self.seconds = CALL_SECONDS if seconds is None else seconds
        self.calls = 0
        self.inside = False
        self._lock = threading.Lock()
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, args=(threading.get_ident(),), daemon=True)

    def __enter__(self) -> Guard:
        """Start to watch."""
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Stop to watch."""
        self._done.set()
        self._thread.join()

    def enter(self) -> None:
        """Begin a call."""
        self.calls += 1
        self.inside = True

    def leave(self) -> None:
        """End a call. After this no interrupt comes any more."""
        with self._lock:
            self.inside = False

    def _watch(self, watched: int) -> None:
        """Interrupt the thread ``watched`` in a call that takes too long."""
        call, cpu, wall = -1, 0.0, 0.0
        while not self._done.wait(TICK_SECONDS):
            if not self.inside or self.calls != call:
                call, cpu, wall = self.calls, time.process_time(), time.monotonic()
            elif time.process_time() - cpu > self.seconds or time.monotonic() - wall > BLOCKED_SECONDS:
                with self._lock:
                    if self.inside and self.calls == call:
                        ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(watched), ctypes.py_object(Endless))
                        self.inside = False


@contextmanager
def bounded_memory() -> Iterator[None]:
    """Let the block take MEMORY bytes more than the process has, so that a huge array is a MemoryError at once.

    Where the system knows no such limit, there is none.
    """
    try:
        import resource

        before = resource.getrlimit(resource.RLIMIT_AS)
        with open("/proc/self/statm") as statm:
            used = int(statm.read().split()[0]) * resource.getpagesize()
    except (ImportError, OSError, ValueError):
        yield
        return
    limit = used + MEMORY if before[0] == resource.RLIM_INFINITY else min(used + MEMORY, before[0])
    resource.setrlimit(resource.RLIMIT_AS, (limit, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)
