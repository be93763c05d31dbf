"""External fragmentation over time: a strip for each policy, so that the same moment lines up."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from memtrace.plots.colours import light, policy_colour
from memtrace.plots.frame import POINTS, Frame
from memtrace.plots.panel import Panel
from memtrace.plots.series import curve, last_event, means, showing_holes, unknown
from memtrace.plots.style import BOTTOM, FAINT, FAINTEST, INK, SMALL, TITLE_ROOM
from memtrace.plots.text import short_labels
from memtrace.report.verdict import is_oom

if TYPE_CHECKING:
    from memtrace.results.tables import Results

ORDER = 40
NAME = "fragmentation"
TITLE = "External fragmentation over time"

COLUMNS = 400
NAMES = 1.45  # inches for the labels
NUMBERS = 1.2
HEAD = 0.14
STRIP = 0.36
FILLED = 0.82  # of a strip's height is 100 %
MOST_STRIPS = 30


def caption(results: Results, trace: str) -> str:
    """What the height of a strip means."""
    shown, count = _shown(results, trace), len(showing_holes(results, trace))
    more = f" The best {shown} of {count} policies are shown." if shown < count else ""
    return (
        "Each strip goes from 0 to 100 %: the share of the free bytes that is outside the largest hole. "
        "High means that free memory is there but in pieces. With few free bytes in all, a high share "
        "costs little. The black line is the other usual measure, one less the root of the holes' sum of "
        "squares over the free bytes: it also rises where a few large holes share the free memory." + more
    )


def height(results: Results, trace: str) -> float:
    """A strip for each policy."""
    shown = _shown(results, trace)
    return TITLE_ROOM + HEAD + shown * (STRIP if shown <= 16 else 0.75 * STRIP) + BOTTOM


def draw(results: Results, trace: str, frame: Frame) -> None:
    """All strips in one panel, best policy on top."""
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
    return min(MOST_STRIPS, len(showing_holes(results, trace)))


def _strip(panel: Panel, base: int, found: dict[str, Any], row: dict[str, Any]) -> None:
    colour = policy_colour(row["policy"])
    x, share = curve(found["event"], found["external_frag"], COLUMNS)
    y = base + FILLED * share
    floor = float(panel.y(base))
    panel.frame.grid([(panel.left, floor), (panel.right, floor)], FAINTEST)
    panel.area(x, y, light(colour), base)
    panel.line(x, y, colour, 0.7)
    squares = found.get("squares_frag")
    if squares is not None and not unknown(squares):
        x, share = means(found["event"], squares, COLUMNS // 2)
        panel.line(x, base + FILLED * share, INK, 0.6)
    if is_oom(row):
        panel.out_of_memory(row, base + FILLED / 2, colour, named=True)


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.0f} %"
