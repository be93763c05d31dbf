"""Plot of memory overhead against work, and of the Pareto front: the policies that no other policy beats in both."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import cos, log10, pi, sin
from typing import TYPE_CHECKING, Any

import numpy

from memtrace.drawing.frame import POINTS, Frame
from memtrace.drawing.panel import Panel
from memtrace.drawing.style import BODY, BOTTOM, FAINT, LEFT, SMALL, TITLE_ROOM, policy_colour
from memtrace.drawing.text import short_labels, width
from memtrace.plots.series import summary
from memtrace.results.verdict import above_bound, is_pool

if TYPE_CHECKING:
    from memtrace.results.tables import Results

ORDER = 5
NAME = "overhead-and-work"
TITLE = "Overhead and work"

MOST = 30  # policies
STEEP = 8  # if an overhead is larger than this multiple of the bound, the vertical scale is logarithmic
DOT = 0.045  # inches: radius of a dot
NAME_ROOM = 1.5  # inches: the longest name
LINE = 0.12  # inches: height of a line of text
Box = tuple[float, float, float, float]  # left, top, right, bottom in inches


def caption(results: Results, trace: str) -> str:
    """Return the text below the figure, with the number of policies left out."""
    count, shown = len(results.policies(trace)), len(_shown(results, trace))
    more = f" {count - shown} of {count} policies are left out: they ran out of memory, or do not count." if shown < count else ""
    pools = " (of a fixed pool, its high-water mark)" if any(is_pool(row) for row in _shown(results, trace)) else ""
    return (
        f"Up: peak of reserved{pools} over peak of live bytes. Across: holes that a linear free list would inspect for a "
        "request, in the mean (1 and less: at once). Low and left is better; the grey line joins the policies that no other "
        "beats in both." + more
    )


def height(results: Results, trace: str) -> float:
    """Return the figure's height in inches, for one panel or one sentence."""
    return 3.2 if _shown(results, trace) else TITLE_ROOM + 0.3


def draw(results: Results, trace: str, frame: Frame) -> None:
    """Draw a dot per policy, with its name beside it."""
    rows = _shown(results, trace)
    if not rows:
        frame.text(LEFT, TITLE_ROOM + 0.1, "No policy that served all requests counts its work.", BODY, colour=FAINT)
        return
    work = numpy.array([max(1.0, row["search_mean"]) for row in rows])
    over = numpy.array([above_bound(row) for row in rows], dtype=float)
    steep = bool(over.max() > STEEP)
    if steep:
        over = numpy.log10(over)
    panel = _panel(frame, work, over, steep)
    dots = [(float(panel.x(numpy.log10(x))), float(panel.y(y))) for x, y in zip(work, over, strict=True)]
    taken: list[Box] = [(x - DOT, y - DOT, x + DOT, y + DOT) for x, y in dots]
    taken += _front(panel, work, over)
    names = short_labels([row["policy"] for row in rows], SMALL, NAME_ROOM * POINTS)
    for row, (x, y) in zip(rows, dots, strict=True):
        colour = policy_colour(row["policy"])
        frame.area([(x + DOT * cos(k * pi / 8), y + DOT * sin(k * pi / 8)) for k in range(16)], colour)
        _named(panel, names[row["policy"]], x, y, taken, colour)


def front(work: Sequence[float], over: Sequence[float]) -> list[int]:
    """Return the indexes of the policies that no other beats in both work and overhead, in the order of work."""
    order = sorted(range(len(work)), key=lambda i: (work[i], over[i]))
    kept: list[int] = []
    for i in order:
        if not kept or over[i] < over[kept[-1]]:
            kept.append(i)
    return kept


def _panel(frame: Frame, work: Any, over: Any, steep: bool) -> Panel:
    """Return a panel with scales for the work and the overheads; with ``steep`` the overheads are logarithms to base 10."""
    decades = max(1, int(numpy.ceil(numpy.log10(work.max()) + 0.15)))
    low, high = (0.0, float(over.max()) * 1.08) if steep else (1.0, max(1.1, 1 + (float(over.max()) - 1) * 1.15))
    wide, tall = frame.width - LEFT - 0.3, frame.height - TITLE_ROOM - BOTTOM
    panel = Panel(frame, LEFT, TITLE_ROOM, wide, tall, float(decades), high, from_across=-0.06 * decades, from_up=low)
    panel.ticks_across([(float(k), f"{10**k:,}") for k in range(decades + 1)], name="holes inspected for a request, mean")
    if steep:
        marks = [k * 10**n for n in range(8) for k in (1, 2, 5)]
        few = [mark for mark in marks if mark <= 10**high and (high < 2 or str(mark)[0] == "1")]
        panel.ticks_up([(log10(mark), f"{mark:,}x") for mark in few])
        return panel
    span = high - low
    step = next(s for s in (0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 50, 100, 1000, 10**6) if span / s <= 6)
    panel.ticks_up([(low + step * k, f"{low + step * k:.2f}x") for k in range(int(span / step) + 1)])
    return panel


def _front(panel: Panel, work: Any, over: Any) -> list[Box]:
    """Draw the Pareto front, and return the boxes that it covers.

    It is drawn as steps: from one policy to the next, more work brings no lower overhead until there is enough for the
    next policy.
    """
    chosen = front(work.tolist(), over.tolist())
    x = [numpy.log10(work[i]) for i in chosen]
    y = [over[i] for i in chosen]
    across = [each for at in x for each in (at, at)][1:] + [panel.across]
    up = [each for at in y for each in (at, at)]
    points = numpy.column_stack([panel.x(across), panel.y(up)])
    panel.frame.grid(points, FAINT, 0.8)
    lows, highs = numpy.minimum(points[:-1], points[1:]) - 0.01, numpy.maximum(points[:-1], points[1:]) + 0.01
    return [(float(a), float(b), float(c), float(d)) for (a, b), (c, d) in zip(lows, highs, strict=True)]


def _named(panel: Panel, text: str, x: float, y: float, taken: list[Box], colour: Any) -> None:
    """Draw a policy's name at the first free place around its dot, and a line between them if they are not adjacent.

    ``taken`` are the boxes that are covered already; the name's box is appended. Without a free place nothing is drawn.
    """
    wide = width(text, SMALL) / POINTS
    for left, middle, away in _around(x, y, wide):
        box = (left - 0.02, middle - LINE / 2, left + wide + 0.02, middle + LINE / 2)
        inside = box[0] >= panel.left and box[2] <= panel.right and box[1] >= panel.top and box[3] <= panel.low
        if inside and all(box[2] <= t[0] or t[2] <= box[0] or box[3] <= t[1] or t[3] <= box[1] for t in taken):
            taken.append(box)
            panel.frame.text(left, middle, text, SMALL)
            if away:
                end = (left - 0.02 if left > x else left + wide + 0.02 if left + wide < x else x, middle)
                panel.frame.line([(x, y), end], colour, 0.4)
            return


def _around(x: float, y: float, wide: float) -> Iterator[tuple[float, float, bool]]:
    """Yield places for a name of this width: left, middle, and whether it needs a line to its dot.

    The nearest are first: right, left, above and below of the dot, then in wider circles.
    """
    yield from ((x + 0.08, y, False), (x - 0.08 - wide, y, False))
    yield from ((x - wide / 2, y - 0.12, False), (x - wide / 2, y + 0.12, False))
    for ring in range(1, 24):
        for step in range(12):
            angle = step * pi / 6
            across, down = 0.16 * ring * cos(angle), 0.12 * ring * sin(angle)
            yield x + across + 0.05 if cos(angle) >= 0 else x + across - wide - 0.05, y + down, True


def _shown(results: Results, trace: str) -> list[dict[str, Any]]:
    """Return the summary rows of policies that served the whole trace and whose search length is known, the best first."""
    rows = summary(results, trace)
    return [row for row in rows if above_bound(row) is not None and row.get("search_mean") is not None][:MOST]
