"""What the colours and lines of a figure are, at its top right."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from memtrace.plots.frame import POINTS, Dashes, Frame
from memtrace.plots.style import FAINT, SMALL
from memtrace.plots.text import width

SWATCH = 0.2
MIDDLE = 0.1  # inches below the figure's top


def key(frame: Frame, entries: Sequence[tuple[str, str, Any]], dashes: Mapping[str, Dashes] | None = None) -> None:
    """Entries (text, "area" or "line", colour), set from the right; ``dashes`` of the lines that are not solid."""
    right = frame.width - 0.1
    for text, kind, colour in reversed(entries):
        frame.text(right, MIDDLE, text, SMALL, colour=FAINT, align="right")
        right -= width(text, SMALL) / POINTS + 0.06
        if kind == "line":
            frame.line([(right - SWATCH, MIDDLE), (right, MIDDLE)], colour, 1.4, (dashes or {}).get(text, "-"))
        else:
            corners = [(right - SWATCH, 0.055), (right, 0.055), (right, 0.145), (right - SWATCH, 0.145)]
            frame.area(corners, colour)
            frame.line([*corners, corners[0]], FAINT, 0.3)
        right -= SWATCH + 0.18
