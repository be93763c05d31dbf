"""Tables for a terminal: rich draws them, in as many columns as there are."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Any

import click

PLAIN_WIDTH = 80  # where standard output is no terminal
KEPT_WIDTH = 12  # to which a column of text is not cut down


def console() -> Any:
    from rich.console import Console

    width = None if sys.stdout.isatty() else int(os.environ.get("COLUMNS", PLAIN_WIDTH))
    return Console(width=width, highlight=False, markup=False, emoji=False)  # a name may hold [bold] or :x:


def print_policies(
    columns: Sequence[str], rows: Sequence[Sequence[str]], words: Sequence[int] = (0,), title: str | None = None
) -> None:
    """A table with a column of policies: those too long for it are named in full below, by their numbers."""
    at = columns.index("policy")
    others = sum(max(len(row[i]) for row in [columns, *rows]) + 2 for i in range(len(columns)) if i != at)
    room = max(KEPT_WIDTH, console().width - others)
    long = dict.fromkeys(row[at] for row in rows if len(row[at]) > room)
    marks = {label: f" [{number}]" for number, label in enumerate(long, start=1)}
    cells = [(*row[:at], _marked(row[at], marks[row[at]], room) if row[at] in marks else row[at], *row[at + 1 :]) for row in rows]
    print_table(columns, cells, words, title)
    for label, mark in marks.items():
        click.echo(f"{mark.strip()} {label}")


def _marked(label: str, mark: str, room: int) -> str:
    """The policy without its options and folder, or as much of it as there is room for, and the mark."""
    return label.partition(":")[0].rpartition("/")[2][: room - len(mark)] + mark


def print_table(
    columns: Sequence[str], rows: Sequence[Sequence[str]], words: Sequence[int] = (0,), title: str | None = None
) -> None:
    """Columns in ``words`` are text, and keep to the left; the rest are numbers."""
    from rich import box
    from rich.table import Table

    table = Table(
        box=box.SIMPLE_HEAD,
        title=title,
        title_justify="left",
        title_style="bold",
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
        table.add_row(*row)
    console().print(table)


def echo_json(document: Any) -> None:
    import json

    click.echo(json.dumps(document, indent=1, allow_nan=False))
