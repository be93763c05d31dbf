"""Standard output and standard error that may be closed: what nobody reads is dropped, and the command goes on to its verdict."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any


class Outlet(io.FileIO):
    """A file descriptor to which writing never fails for want of a reader."""

    def write(self, data: Any) -> int:
        """Write bytes, and return their number; once the reader has gone, this and all later ones are dropped."""
        try:
            return super().write(data)
        except BrokenPipeError:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self.fileno())  # for processes that are started from here too
            os.close(nowhere)
            return memoryview(data).nbytes


@contextmanager
def unbroken() -> Iterator[None]:
    """Have standard output and standard error be outlets while the block runs."""
    kept = {name: getattr(sys, name) for name in ("stdout", "stderr")}
    for name, stream in kept.items():
        setattr(sys, name, outlet(stream))
    try:
        yield
    finally:
        for name, stream in kept.items():
            with suppress(OSError):  # of a full disk, which the command has ended with
                getattr(sys, name).flush()
            setattr(sys, name, stream)


def outlet(stream: Any) -> Any:
    """Return a text stream to the descriptor of another; a stream without one as it is, and nowhere for one that is closed."""
    if stream is None:
        return open(os.devnull, "w", encoding="utf-8")  # it lasts as long as the process
    try:
        number = stream.fileno()
    except (OSError, ValueError, AttributeError):
        return stream
    stream.flush()
    return io.TextIOWrapper(
        io.BufferedWriter(Outlet(number, "wb", closefd=False)),
        encoding=stream.encoding,
        errors=stream.errors,
        line_buffering=stream.line_buffering,
    )
