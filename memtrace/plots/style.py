"""The one style of all figures, whatever the reader's own matplotlib settings are."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import matplotlib

INK = "#222222"
FAINT = "#666666"
FAINTEST = "#e4e4e4"
RULE = "#cccccc"
LIVE = "#b4b4b4"
ALARM = "#b00020"

SMALL = 7.0  # points
BODY = 8.0
TITLE = 10.0

TITLE_ROOM = 0.3  # inches
LEFT = 0.62  # room for size labels
BOTTOM = 0.36  # room for event labels and the scale's name

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
    """Everything drawn and saved inside looks the same: defaults first, then STYLE."""
    settings: dict[Any, Any] = {**matplotlib.rcParamsDefault, **STYLE}
    del settings["backend"]  # none is used: figures are saved, never shown
    with matplotlib.rc_context():
        matplotlib.rcParams.update(settings)
        yield
