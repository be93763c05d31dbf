"""What commands print and write: a progress bar on standard error, tables, JSON documents, and the folder of results."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from memtrace.cli.terminal import echo, shown

if TYPE_CHECKING:
    from memtrace.results.tables import Results

PLAIN_WIDTH = 80  # columns if standard output is not a terminal
BARS = " ▁▂▃▄▅▆▇█"  # eighths of a line's height, for charts
KEPT_WIDTH = 12  # columns that a column of text keeps in any case


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


def console() -> Any:
    """Return the rich console of standard output, which prints text without interpreting it."""
    from rich.console import Console

    width = None if sys.stdout.isatty() else int(os.environ.get("COLUMNS", PLAIN_WIDTH))
    # Markup and emoji are off, since a name may contain [bold] or :x:.
    return Console(width=width, highlight=False, markup=False, emoji=False)


def print_policies(
    columns: Sequence[str], rows: Sequence[Sequence[str]], words: Sequence[int] = (0,), title: str | None = None
) -> None:
    """Print a table with a column "policy".

    Policies that are too long for the column are cut, marked with a number, and printed in full below the table.
    ``words`` are the columns of text.
    """
    at = columns.index("policy")
    others = sum(max(len(row[i]) for row in [columns, *rows]) + 2 for i in range(len(columns)) if i != at)
    room = max(KEPT_WIDTH, console().width - others)
    long = dict.fromkeys(row[at] for row in rows if len(row[at]) > room)
    marks = {label: f" [{number}]" for number, label in enumerate(long, start=1)}
    cells = [(*row[:at], _marked(row[at], marks[row[at]], room) if row[at] in marks else row[at], *row[at + 1 :]) for row in rows]
    print_table(columns, cells, words, title)
    for label, mark in marks.items():
        echo(f"{mark.strip()} {label}")


def _marked(label: str, mark: str, room: int) -> str:
    """Return the policy's name without options and folder, cut so that the mark fits into ``room`` columns, and the mark."""
    return label.partition(":")[0].rpartition("/")[2][: room - len(mark)] + mark


def print_table(
    columns: Sequence[str], rows: Sequence[Sequence[str]], words: Sequence[int] = (0,), title: str | None = None
) -> None:
    """Print a table. Columns whose index is in ``words`` are text, aligned left; the others are numbers, aligned right."""
    from rich import box
    from rich.table import Table

    if title is not None:
        echo(title)
    table = Table(
        box=box.SIMPLE_HEAD,
        pad_edge=False,
        show_edge=False,
        show_header=any(columns),
        collapse_padding=True,
    )
    for i, name in enumerate(columns):
        if i in words:
            widest = max((len(row[i]) for row in rows), default=0)
            table.add_column(name, overflow="fold", min_width=min(widest, KEPT_WIDTH))
        else:
            table.add_column(name, justify="right", no_wrap=True)
    for row in rows:
        table.add_row(*map(shown, row))
    console().print(table)


def echo_json(document: Any) -> None:
    """Print a JSON document on standard output; raise ValueError for a NaN in it."""
    import json

    echo(json.dumps(document, indent=1, allow_nan=False), whole=True)


def write_results(results: Results, folder: Path, reports: Sequence[str]) -> list[Path]:
    """Write all tables, and reports of these kinds (pdf, html, md), and return the paths."""
    from functools import partial

    from memtrace.report import render
    from memtrace.results.folder import write_folder

    return write_folder(results, folder, partial(render, results, kinds=reports) if reports else None)
