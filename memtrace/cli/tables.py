"""Tables for a terminal: rich draws them, in as many columns as there are."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Any

import click

PLAIN_WIDTH = 80  # where standard output is no terminal


def console() -> Any:
    from rich.console import Console

    width = None if sys.stdout.isatty() else int(os.environ.get("COLUMNS", PLAIN_WIDTH))
    return Console(width=width, highlight=False)


def print_table(columns: Sequence[str], rows: Sequence[Sequence[str]], words: Sequence[int] = (0,), title: str | None = None) -> None:
    """Columns in ``words`` are text, and keep to the left; the rest are numbers."""
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, title=title, title_justify="left", pad_edge=False, show_edge=False)
    for i, name in enumerate(columns):
        text = i in words
        table.add_column(name, justify="left" if text else "right", overflow="fold" if text else "ellipsis", no_wrap=not text)
    for row in rows:
        table.add_row(*row)
    console().print(table)


def echo_json(document: Any) -> None:
    import json

    click.echo(json.dumps(document, indent=1, allow_nan=False))
