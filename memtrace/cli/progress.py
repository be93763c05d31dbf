"""A progress bar on standard error, drawn only if that is a terminal."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def bar(what: str, wanted: bool, total: int | None = None) -> Iterator[Callable[[int, int | None], None]]:
    """Provide a function of (done, total) that moves the bar; a total of None means ``total``.

    The function does nothing if ``wanted`` is false or standard error is not a terminal. ``what`` is the text beside
    the bar.
    """
    if not wanted or not sys.stderr.isatty():
        yield lambda done, of: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(what, total=total)
        yield lambda done, of: progress.update(task, completed=done, total=of if of is not None else total)
