"""Plot of external fragmentation over time: one strip per policy, all over the same scale of events."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from memtrace.drawing.frame import POINTS, Frame
from memtrace.drawing.panel import Panel
from memtrace.drawing.style import BOTTOM, FAINT, FAINTEST, INK, SMALL, TITLE_ROOM, light, policy_colour
from memtrace.drawing.text import short_labels
from memtrace.plots.series import curve, is_null, last_event, means, showing_holes
from memtrace.results.verdict import is_oom

if TYPE_CHECKING:
    from memtrace.results.tables import Results

ORDER = 40
NAME = "fragmentation"
TITLE = "External fragmentation over time"

COLUMNS = 400  # of a curve
NAMES = 1.45  # inches for the policies' names
NUMBERS = 1.2  # inches for mean and maximum
HEAD = 0.14  # inches for the titles of mean and maximum
STRIP = 0.36  # inches: height of a strip
FILLED = 0.82  # share of a strip's height that stands for 100 %
MOST_STRIPS = 30


def caption(results: Results, trace: str) -> str:
    """Return the text below the figure."""
    shown, count = _shown(results, trace), len(showing_holes(results, trace))
    more = f" The best {shown} of {count} policies are shown." if shown < count else ""
    return (
        "Each strip goes from 0 to 100 %: the share of the free bytes that is outside the largest hole. "
        "High means that free memory is there but in pieces. With few free bytes in all, a high share "
        "costs little. The black line is the other usual measure, one less the root of the holes' sum of "
        "squares over the free bytes: it also rises where a few large holes share the free memory. Mean and maximum are those "
        "of the samples, not of all events." + more
    )


def height(results: Results, trace: str) -> float:
    """Return the figure's height in inches, for a strip per policy."""
    shown = _shown(results, trace)
    return TITLE_ROOM + HEAD + shown * (STRIP if shown <= 16 else 0.75 * STRIP) + BOTTOM


def draw(results: Results, trace: str, frame: Frame) -> None:
    """Draw all strips in one panel, the best policy on top."""
    rows = showing_holes(results, trace)[:MOST_STRIPS]
    top, wide = TITLE_ROOM + HEAD, frame.width - NAMES - NUMBERS
    across = max(1, last_event(results, trace))
    panel = Panel(frame, NAMES, top, wide, frame.height - top - BOTTOM, across, len(rows))
    panel.events()
    for offset, title in ((0.55, "mean"), (1.15, "maximum")):
        frame.text(panel.right + offset, top - 0.04, title, SMALL, colour=FAINT, align="right")
    names = short_labels([row["policy"] for row in rows], SMALL, (NAMES - 0.12) * POINTS)
    for at, row in enumerate(rows):
        base = len(rows) - 1 - at
        _strip(panel, base, results.rows("timeline", trace, row["policy"]), row)
        middle = float(panel.y(base + FILLED / 2))
        frame.text(NAMES - 0.06, middle, names[row["policy"]], SMALL, align="right")
        frame.text(panel.right + 0.55, middle, _percent(row["external_frag_mean"]), SMALL, align="right")
        frame.text(panel.right + 1.15, middle, _percent(row["external_frag_max"]), SMALL, align="right")


def _shown(results: Results, trace: str) -> int:
    """Return the number of strips."""
    return min(MOST_STRIPS, len(showing_holes(results, trace)))


def _strip(panel: Panel, base: int, found: dict[str, Any], row: dict[str, Any]) -> None:
    """Draw one policy's strip, whose foot is at ``base`` on the panel's vertical scale.

    ``found`` are the columns of its timeline, ``row`` is its row of the summary.
    """
    colour = policy_colour(row["policy"])
    x, share = curve(found["event"], found["external_frag"], COLUMNS)
    y = base + FILLED * share
    floor = float(panel.y(base))
    panel.frame.grid([(panel.left, floor), (panel.right, floor)], FAINTEST)
    panel.area(x, y, light(colour), base)
    panel.line(x, y, colour, 0.7)
    squares = found.get("squares_frag")
    if squares is not None and not is_null(squares):
        x, share = means(found["event"], squares, COLUMNS // 2)
        panel.line(x, base + FILLED * share, INK, 0.6)
    if is_oom(row):
        panel.out_of_memory(row, base + FILLED / 2, colour, named=True)


def _percent(share: float | None) -> str:
    """Return a share as a whole percentage, or a dash."""
    return "-" if share is None else f"{100 * share:.0f} %"
