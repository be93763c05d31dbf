"""The style of all figures, independent of the reader's own matplotlib settings."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import matplotlib

INK = "#222222"  # text and strong lines
FAINT = "#666666"  # secondary text and the edges of panels
FAINTEST = "#e4e4e4"  # grid lines
RULE = "#cccccc"  # lines of tables
LIVE = "#b4b4b4"  # live bytes
ALARM = "#b00020"  # capacity, out of memory

SMALL = 7.0  # points: sizes of text
BODY = 8.0
TITLE = 10.0

TITLE_ROOM = 0.3  # inches at the top for the figure's title
LEFT = 0.62  # inches at the left for the labels of sizes
BOTTOM = 0.36  # inches at the bottom for the labels of events and the scale's name

STYLE: dict[str, Any] = {
    "image.interpolation": "none",
    "image.composite_image": False,  # each image keeps its own small palette
    "figure.dpi": 72.0,
    "figure.facecolor": "white",
    "lines.antialiased": True,
    "pdf.fonttype": 42,  # text that can be searched and copied
    "pdf.compression": 6,
}


@contextmanager
def style() -> Iterator[None]:
    """Give everything that is drawn and saved inside the block the same look: matplotlib's defaults, and then STYLE."""
    settings: dict[Any, Any] = {**matplotlib.rcParamsDefault, **STYLE}
    del settings["backend"]  # no backend is used: figures are saved, never shown
    with matplotlib.rc_context():
        matplotlib.rcParams.update(settings)
        yield
