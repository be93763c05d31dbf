"""Draw the key of a figure, which says what its colours and lines are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from memtrace.plots.frame import POINTS, Dashes, Frame
from memtrace.plots.style import FAINT, SMALL
from memtrace.plots.text import width

SWATCH = 0.2  # inches: width of the sample of a colour
MIDDLE = 0.1  # inches below the figure's top


def key(frame: Frame, entries: Sequence[tuple[str, str, Any]], dashes: Mapping[str, Dashes] | None = None) -> None:
    """Draw the key at the top right of the frame.

    An entry is (text, "area" or "line", colour); ``dashes`` are the styles of lines that are not solid, by text.
    """
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
