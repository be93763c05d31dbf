"""Write a Document as Markdown, for pull requests and wikis. Figures are links to their files."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from html import escape
from pathlib import Path

from memtrace.drawing.saving import write_whole
from memtrace.report.blocks import Block, Command, Document, Heading, Paragraph, Picture, Section, Table

# Characters that mean something in Markdown.
ODD = re.compile(r"([\\`*_{}\[\]<>|#~])")


def write(document: Document, path: Path, plots_dir: Path | None = None) -> Path:
    """Write the file, and return its path.

    Figures that are in ``plots_dir`` are linked, relative to the file; others are left out.
    """
    blocks = (_block(block, path.parent, plots_dir) for block in document.blocks)
    return write_whole(path, ("\n\n".join(text for text in blocks if text) + "\n").encode())


def plain(text: str) -> str:
    """Return the text on one line, with every character escaped that is markup."""
    return ODD.sub(r"\\\1", " ".join(text.split()))


def plain_line(text: str) -> str:
    """Return the text on one line."""
    return " ".join(text.split())


def _block(block: Block, folder: Path, plots_dir: Path | None) -> str:
    """Return a block as Markdown; ``folder`` is that of the report."""
    if isinstance(block, Section):
        inner = "\n\n".join(text for each in block.blocks if (text := _block(each, folder, plots_dir)))
        return f"<details><summary>{escape(plain_line(block.title))}</summary>\n\n{inner}\n\n</details>"
    if isinstance(block, Heading):
        return f"{'#' * block.level} {plain(block.text)}"
    if isinstance(block, Paragraph):
        return f"**{plain(block.text)}**" if block.strong else plain(block.text)
    if isinstance(block, Command):
        return f"    {' '.join(block.text.split())}\n\n{plain(block.reason)}"
    if isinstance(block, Table):
        return "\n".join(_table(block))
    return "" if block.pages_only else _picture(block, folder, plots_dir)


def _table(table: Table) -> Iterator[str]:
    """Yield the lines of a table."""
    yield "| " + " | ".join(plain(column.title) for column in table.columns) + " |"
    yield "|" + "|".join("---:" if column.numbers else "---" for column in table.columns) + "|"
    for row in table.rows:
        yield "| " + " | ".join(plain(cell) for cell in row) + " |"


def _picture(picture: Picture, folder: Path, plots_dir: Path | None) -> str:
    """Return a link to the picture's file with the caption, or an empty text if there is no file."""
    file = (plots_dir or folder) / f"{picture.file_name}.png"
    if plots_dir is None or not file.exists():
        return ""
    link = Path(os.path.relpath(file, folder)).as_posix()
    return f"![{plain(picture.title)}]({link})\n\n{plain(picture.caption)}"
