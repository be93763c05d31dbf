"""End processes together: signals that ask a command to end, and workers that end with the process that started them."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

ASKING = ("SIGTERM", "SIGHUP")  # that ask a process to end, as Ctrl-C does; Windows lacks SIGHUP


class Terminated(KeyboardInterrupt):
    """A signal that asks the process to end has come; whatever cleans up after Ctrl-C does so after it too."""

    def __init__(self, number: int) -> None:
        """Keep the number of the signal."""
        super().__init__(number)
        self.number = number


def how_ended(error: BaseException) -> tuple[str, int]:
    """Return in a word how a command was ended by Ctrl-C or by a signal, and its exit code, which a shell would give too."""
    return ("terminated", 128 + error.number) if isinstance(error, Terminated) else ("interrupted", 128 + signal.SIGINT)


def raise_on_signals() -> None:
    """Have SIGTERM and SIGHUP raise `Terminated` in the main thread, unless the process was told to ignore them, as by nohup."""
    for name in ASKING:
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) == signal.SIG_DFL:
            signal.signal(number, _raise)


def _raise(number: int, _: FrameType | None) -> None:
    """Raise `Terminated`. A second signal, while the first is cleaned up after, has no effect."""
    for name in ASKING:
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    raise Terminated(number)


@contextmanager
def signals_deferred() -> Iterator[None]:
    """Have Ctrl-C, SIGTERM and SIGHUP wait for the end of the block; only the main thread can see to that.

    A process that is started when they come would be known to nobody, and would keep our own exit waiting.
    """
    came: list[int] = []
    handlers = {}
    if threading.current_thread() is threading.main_thread():
        for name in ("SIGINT", *ASKING):
            number = getattr(signal, name, None)
            if number is not None and callable(signal.getsignal(number)):
                handlers[number] = signal.signal(number, lambda number, _: came.append(number))
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        for number in came[:1]:
            signal.raise_signal(number)


SAFE_PATH = "PYTHONSAFEPATH"  # has Python not look for modules in the working directory, nor beside a script


@contextmanager
def safe_path() -> Iterator[None]:
    """Have the workers that this process starts in the block find no modules in the working directory, which may be anybody's.

    A command does not look there itself; but multiprocessing starts a worker by `python -c`, which does.
    """
    if SAFE_PATH in os.environ or sys.flags.safe_path:
        yield
        return
    os.environ[SAFE_PATH] = "1"
    try:
        yield
    finally:
        os.environ.pop(SAFE_PATH, None)


def python_code(code: str, *arguments: str) -> list[str]:
    """Return the command that runs code in another Python, which finds the modules that this one finds, and no others."""
    return [sys.executable, "-P", "-c", f"import sys; sys.path[:] = {sys.path!r}; {code}", *arguments]


def start_worker() -> None:
    """Make this process, which multiprocessing has started, a worker: Ctrl-C is left to the parent, with whose end it ends.

    The parent ends its workers where it can, also after SIGTERM and SIGHUP, which reach all processes of a terminal.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_follow_parent, name="memtrace-parent", daemon=True).start()


def _follow_parent() -> None:
    """Wait for the end of the parent process, and then exit at once."""
    import multiprocessing

    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
