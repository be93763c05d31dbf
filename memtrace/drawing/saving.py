"""Write figures and reports to files: each file whole or not at all, and equal figures as equal bytes."""

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
COLOURS = 128  # in a PNG's palette


def write_whole(path: Path, content: bytes) -> Path:
    """Write to a temporary file, then rename it, so that a killed run leaves the old file or the new one. Return the path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.part")
    temporary.write_bytes(content)
    os.replace(temporary, path)
    return path


def png(figure: Figure, part: Bbox | None = None) -> bytes:
    """Return the figure as PNG, or the part of it in a box of inches."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    content = BytesIO()
    FigureCanvasAgg(figure).print_figure(
        content, format="png", dpi=DOTS_PER_INCH, bbox_inches=part, metadata={"Software": "memtrace"}
    )
    return few_colours(content.getvalue())


def few_colours(content: bytes) -> bytes:
    """Return the PNG with a palette of COLOURS colours.

    It has a third of the bytes, and the colours differ by less than one can see.
    """
    from PIL import Image

    with Image.open(BytesIO(content)) as image:
        found = image.convert("RGB").quantize(COLOURS, Image.Quantize.MAXCOVERAGE, 1, dither=Image.Dither.NONE)
    small = BytesIO()
    found.save(small, "PNG", compress_level=9)
    return small.getvalue()


def write_png(figure: Figure, path: Path, part: Bbox | None = None) -> Path:
    """Write the figure, or the part of it in a box of inches, as a PNG file."""
    return write_whole(path, png(figure, part))


def file_names(traces: Iterable[str]) -> dict[str, str]:
    """Return for each trace its part of file names.

    No two are alike, also not where letter case does not count, and none has characters that file systems refuse.
    """
    names: dict[str, str] = {}
    for trace in traces:
        clean = re.sub(r"[^\w.+-]+", "_", trace)[:60].strip(".") or "trace"
        taken, number, name = {other.lower() for other in names.values()}, 2, clean
        while name.lower() in taken:
            name, number = f"{clean}-{number}", number + 1
        names[trace] = name
    return names
