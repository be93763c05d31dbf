"""The parts of a report as plain data, before any of it is PDF, HTML or Markdown."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure, SubFigure


@dataclass(frozen=True)
class Heading:
    """A heading; level 1 starts a page."""

    text: str
    level: int = 2


@dataclass(frozen=True)
class Paragraph:
    """Running text; `strong` is what a reader in a hurry reads."""

    text: str
    strong: bool = False


@dataclass(frozen=True)
class Command:
    """A command to type, and what it tells."""

    text: str
    reason: str


@dataclass(frozen=True)
class Column:
    """A table's column: its heading, its share of the width, and whether it holds numbers."""

    title: str
    share: float
    numbers: bool = False


@dataclass(frozen=True)
class Table:
    """Rows of text, as they are to be read."""

    columns: tuple[Column, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Picture:
    """A figure that draws itself at a height in inches; `file_name` has no ending."""

    file_name: str
    title: str
    caption: str
    width: float
    height: float
    draw: Callable[[Figure | SubFigure, float], None]
    pages_only: bool = False  # elsewhere the explorer shows it
    yields: bool = False  # it may be drawn lower, where that leaves room on a page for another


@dataclass(frozen=True)
class Section:
    """What only some readers want: a page of its own, or folded away under its title."""

    title: str
    blocks: tuple[Heading | Paragraph | Command | Table | Picture, ...]


Block = Heading | Paragraph | Command | Table | Picture | Section


@dataclass(frozen=True)
class Document:
    """A report: a title and its parts in order."""

    title: str
    blocks: tuple[Block, ...]
