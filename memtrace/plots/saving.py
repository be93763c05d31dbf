"""Figures and reports to files: whole or not at all, and the same bytes for the same figure."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from matplotlib.transforms import Bbox

DOTS_PER_INCH = 150
COLOURS = 128  # of a PNG


def write_whole(path: Path, content: bytes) -> Path:
    """Write under a temporary name, then rename: a killed run leaves the old file or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.part")
    temporary.write_bytes(content)
    os.replace(temporary, path)
    return path


def png(figure: Figure, part: Bbox | None = None) -> bytes:
    """The figure, or the part of it in this box of inches, as PNG."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    content = BytesIO()
    FigureCanvasAgg(figure).print_figure(
        content, format="png", dpi=DOTS_PER_INCH, bbox_inches=part, metadata={"Software": "memtrace"}
    )
    return few_colours(content.getvalue())


def few_colours(content: bytes) -> bytes:
    """The PNG with a palette: a third of the bytes, and no colour is off by more than one can see."""
    from PIL import Image

    with Image.open(BytesIO(content)) as image:
        found = image.convert("RGB").quantize(COLOURS, Image.Quantize.MAXCOVERAGE, 1, dither=Image.Dither.NONE)
    small = BytesIO()
    found.save(small, "PNG", compress_level=9)
    return small.getvalue()


def write_png(figure: Figure, path: Path, part: Bbox | None = None) -> Path:
    return write_whole(path, png(figure, part))


def file_names(traces: Iterable[str]) -> dict[str, str]:
    """A trace's part of the file names, no two alike and without characters that file systems refuse."""
    names: dict[str, str] = {}
    for trace in traces:
        clean = re.sub(r"[^\w.+-]+", "_", trace)[:60].strip(".") or "trace"
        taken, number, name = {other.lower() for other in names.values()}, 2, clean
        while name.lower() in taken:
            name, number = f"{clean}-{number}", number + 1
        names[trace] = name
    return names
