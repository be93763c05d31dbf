"""Write a Document as one HTML file that needs no other file and no network.

Figures are inside the file as PNG. For each trace there is an explorer, which draws curves and address maps.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator, Sequence
from html import escape
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

from memtrace.drawing.saving import write_whole
from memtrace.report.blocks import Block, Command, Document, Heading, Paragraph, Picture, Section, Table
from memtrace.report.html.explorer import explorer

if TYPE_CHECKING:
    from memtrace.results.tables import Results

# The page's content security policy: only scripts and styles of this file run, and nothing is fetched from anywhere, even if
# the name of a trace contains markup.
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'"


def write(document: Document, results: Results | None, path: Path, plots_dir: Path | None = None) -> Path:
    """Write the file, and return its path.

    Pictures that are in ``plots_dir`` are taken from there, others are drawn. ``results`` are for the explorers, None
    for a page without.
    """
    body = "\n".join(_body(document, results, plots_dir))
    return write_whole(path, _page(document.title, body).encode())


def _page(title: str, body: str) -> str:
    """Return the whole page around a body, with its style and its script."""
    folder = files(__name__)
    style, script = (folder.joinpath(name).read_text() for name in ("page.css", "explorer.js"))
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="{POLICY}">
<title>{escape(title)}</title>
<style>
{style}</style>
</head>
<body>
<button id="theme" type="button">light / dark</button>
<main>
{body}
</main>
<script>
{script}</script>
</body>
</html>
"""


def _body(document: Document, results: Results | None, plots_dir: Path | None) -> Iterator[str]:
    """Yield the blocks in order, with the explorer of a trace before its first figure."""
    traces = list(results.traces()) if results is not None else []
    explored: set[str] = set()
    trace = None
    for block in document.blocks:
        if isinstance(block, Heading) and block.level == 1:
            trace = block.text if block.text in traces else None
        if results is not None and isinstance(block, Picture) and trace is not None and trace not in explored:
            explored.add(trace)
            yield explorer(results, trace)
        yield block_text(block, plots_dir)


def block_text(block: Block, plots_dir: Path | None) -> str:
    """Return a block as HTML. A section is folded until it is opened; in print it is open."""
    if not isinstance(block, Section):
        return _block(block, plots_dir)
    inner = "\n".join(_block(each, plots_dir) for each in block.blocks)
    return f'<details class="policy"><summary>{escape(block.title)}</summary>\n{inner}\n</details>'


def _block(block: Block, plots_dir: Path | None) -> str:
    """Return a block that is no section as HTML; an empty text for a picture of the PDF only."""
    if isinstance(block, Heading):
        return f"<h{block.level}>{escape(block.text)}</h{block.level}>"
    if isinstance(block, Paragraph):
        return f'<p class="strong">{escape(block.text)}</p>' if block.strong else f"<p>{escape(block.text)}</p>"
    if isinstance(block, Command):
        return f'<pre><code>{escape(block.text)}</code></pre>\n<p class="hint">{escape(block.reason)}</p>'
    if isinstance(block, Table):
        return _table(block)
    if isinstance(block, Picture) and not block.pages_only:
        return _picture(block, plots_dir)
    return ""


def _table(table: Table) -> str:
    """Return a table as HTML."""
    kinds = [' class="number"' if column.numbers else "" for column in table.columns]
    head = "".join(f"<th{kind} scope=col>{escape(column.title)}</th>" for kind, column in zip(kinds, table.columns, strict=True))
    rows = "\n".join(_row(row, kinds) for row in table.rows)
    return f'<div class="wide"><table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{rows}\n</tbody></table></div>'


def _row(row: Sequence[str], kinds: Sequence[str]) -> str:
    """Return a row as HTML; ``kinds`` are the attributes of its cells."""
    return "<tr>" + "".join(f"<td{kind}>{escape(cell)}</td>" for kind, cell in zip(kinds, row, strict=True)) + "</tr>"


def _picture(picture: Picture, plots_dir: Path | None) -> str:
    """Return a picture with its caption as HTML, with the PNG as a data URL."""
    drawn = plots_dir / f"{picture.file_name}.png" if plots_dir is not None else None
    content = drawn.read_bytes() if drawn is not None and drawn.exists() else _drawn(picture)
    data = base64.b64encode(content).decode()
    caption = escape(picture.caption)
    return (
        f'<figure><div class="wide"><img alt="{escape(picture.title)}. {caption}" src="data:image/png;base64,{data}"></div>'
        f"<figcaption>{caption}</figcaption></figure>"
    )


def _drawn(picture: Picture) -> bytes:
    """Draw a picture, and return it as PNG."""
    from memtrace.drawing.raster import png

    return png(picture.frame())
