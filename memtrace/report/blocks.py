"""The parts of a report as plain data, independent of PDF, HTML and Markdown."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from memtrace.drawing.frame import Frame


@dataclass(frozen=True)
class Heading:
    """A heading; level 1 starts a new page."""

    text: str
    level: int = 2


@dataclass(frozen=True)
class Paragraph:
    """Running text; a `strong` paragraph holds what a reader in a hurry should read."""

    text: str
    strong: bool = False


@dataclass(frozen=True)
class Command:
    """A command to type, and the reason to do so."""

    text: str
    reason: str


@dataclass(frozen=True)
class Column:
    """A column of a table: its heading, its width relative to the other columns, and whether it holds numbers."""

    title: str
    share: float
    numbers: bool = False


@dataclass(frozen=True)
class Table:
    """A table of text, with numbers already formatted."""

    columns: tuple[Column, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Picture:
    """A figure that draws itself; width and height are in inches, `file_name` has no ending."""

    file_name: str
    title: str
    caption: str
    width: float
    height: float
    draw: Callable[[float], Frame]  # at a height in inches
    pages_only: bool = False  # only in the PDF; in the HTML report the explorer shows the same
    yields: bool = False  # may be drawn less high if one more picture fits on the page then

    def frame(self) -> Frame:
        """Return what the figure draws at its height."""
        return self.draw(self.height)


@dataclass(frozen=True)
class Section:
    """A part for some readers only: in the PDF on a page of its own, in the other reports folded away under its title."""

    title: str
    blocks: tuple[Heading | Paragraph | Command | Table | Picture, ...]


Block = Heading | Paragraph | Command | Table | Picture | Section


@dataclass(frozen=True)
class Document:
    """A report: a title, and its blocks in order."""

    title: str
    blocks: tuple[Block, ...]
