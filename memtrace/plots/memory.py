"""Plot of memory over time: the reserved bytes of every policy in one panel, above the live bytes."""

from __future__ import annotations

from collections.abc import Sequence
from string import ascii_letters
from typing import TYPE_CHECKING, Any

import numpy

from memtrace.drawing.frame import POINTS, Frame
from memtrace.drawing.panel import HEADROOM, Panel
from memtrace.drawing.scales import common_limit
from memtrace.drawing.style import BOTTOM, FAINT, LEFT, LIVE, SMALL, TITLE_ROOM, policy_colour, policy_dashes
from memtrace.drawing.text import short_labels
from memtrace.plots.series import capacity_of, curve, last_event, summary
from memtrace.results.verdict import is_oom, oom_event
from memtrace.units import format_size

if TYPE_CHECKING:
    from memtrace.results.tables import Results

ORDER = 10
NAME = "memory"
TITLE = "Memory over time"

COLUMNS = 500  # of a curve
LIST = 2.15  # inches for the list of policies
LINE = 0.165  # inches from one line of the list to the next
LETTER = 0.12  # inches between two letters on curves, at least
MOST_LINES = 30  # of the list
CAPACITY_REACH = 1.35  # times the highest curve: a capacity above would flatten all curves, so the scale does not reach it


def caption(results: Results, trace: str) -> str:
    """Return the text below the figure."""
    return (
        "Lines: bytes that each policy holds from the system (reserved). Grey: bytes that the program has "
        "asked for and not freed (live), which no policy can go below. The list is in the order of the peaks; a curve has its "
        "policy's letter where there is room, and a thin line joins its end with the name. Where lines coincide, the better "
        "policy is in front. A cross marks where a policy ran out of memory."
    )


def height(results: Results, trace: str) -> float:
    """Return the figure's height in inches: that of the list of policies, or more if the plot needs it to be readable."""
    listed = min(MOST_LINES, len(results.policies(trace))) + 1
    return max(3.0, TITLE_ROOM + BOTTOM + listed * LINE)


def draw(results: Results, trace: str, frame: Frame) -> None:
    """Draw one panel with the curves of all policies, and the list of policies beside it."""
    worst_first = reversed(summary(results, trace))
    rows = sorted(worst_first, key=lambda row: -int(row["peak_reserved_bytes"]))
    capacity = capacity_of(rows)
    peaks = [row["peak_reserved_bytes"] for row in rows]
    limit = common_limit([*peaks, rows[0]["peak_live_bytes"]])
    if capacity and limit < capacity < CAPACITY_REACH * limit:
        limit = capacity
    wide, tall = frame.width - LEFT - LIST - 0.2, frame.height - TITLE_ROOM - BOTTOM
    panel = Panel(frame, LEFT, TITLE_ROOM, wide, tall, max(1, last_event(results, trace)), limit * HEADROOM)
    panel.sizes(most=6)
    panel.events()
    _live(panel, results, trace, rows)
    for row in rows:
        found = results.rows("timeline", trace, row["policy"])
        x, y = curve(found["event"], found["reserved_bytes"], COLUMNS)
        panel.line(x, y, policy_colour(row["policy"]), dashes=policy_dashes(row["policy"]))
    ends = [oom_event(row) for row in rows if is_oom(row)]
    named = panel.capacity(capacity, at_left=max(ends, default=0) > panel.across / 2)
    for row in filter(is_oom, rows):
        panel.out_of_memory(row, row["peak_reserved_bytes"], policy_colour(row["policy"]))
    shown = rows[:MOST_LINES]
    step = min(LINE, tall / (len(shown) + 1))
    letters = dict(zip((row["policy"] for row in summary(results, trace)), ascii_letters, strict=False))
    _list(frame, shown, step, panel.up, len(rows), letters)
    _join(panel, results, trace, shown, step)
    _letters(panel, results, trace, letters, named)


def _live(panel: Panel, results: Results, trace: str, rows: list[dict[str, Any]]) -> None:
    """Draw the live bytes, which are the trace's own, from the timeline of the policy that came furthest."""
    furthest = max(rows, key=lambda row: (not is_oom(row), oom_event(row)))
    found = results.rows("timeline", trace, furthest["policy"])
    panel.area(*curve(found["event"], found["live_bytes"], COLUMNS), LIVE)


def _letters(panel: Panel, results: Results, trace: str, letters: dict[str, str], taken: Sequence[tuple[float, float]]) -> None:
    """Draw each policy's letter on its curve, one after the other from left to right.

    If the policy ran out of memory before that place, its letter stands beside the cross at its end.

    ``letters`` maps policies to letters. ``taken`` are places (left, top) in inches where a letter would cover
    something; a letter that would overlap another is left out.
    """
    taken = list(taken)
    crosses = {row["policy"]: (oom_event(row), row["peak_reserved_bytes"]) for row in summary(results, trace) if is_oom(row)}
    for at, (policy, letter) in enumerate(letters.items()):
        found = results.rows("timeline", trace, policy)
        if not found["event"].size:
            continue
        event = (at + 0.5) / len(letters) * panel.across
        level = found["reserved_bytes"][max(0, int(numpy.searchsorted(found["event"], event, side="right")) - 1)]
        ended = policy in crosses and event >= crosses[policy][0]
        if ended:
            event, level = crosses[policy]
        x, y = float(panel.x(event)) + ended * LETTER, float(panel.y(level))
        if all(abs(x - other) >= LETTER or abs(y - beside) >= LETTER for other, beside in taken):
            taken.append((x, y))
            panel.frame.plate(x, y, letter, SMALL, align="center")


def _list(frame: Frame, rows: list[dict[str, Any]], step: float, up: float, count: int, letters: dict[str, str]) -> None:
    """Draw the list of policies, the highest peak first.

    ``step`` is the height of a line in inches, ``up`` the end of the vertical scale, ``count`` the number of all
    policies.
    """
    left, right = frame.width - LIST, frame.width - 0.05
    names = short_labels([row["policy"] for row in rows], SMALL, (LIST - 1.25) * POINTS)
    for at, row in enumerate(rows):
        middle = TITLE_ROOM + 0.06 + at * step
        label = row["policy"]
        frame.line([(left, middle), (left + 0.28, middle)], policy_colour(label), 1.6, policy_dashes(label))
        frame.text(left + 0.385, middle, letters.get(label, ""), SMALL, bold=True, align="center")
        frame.text(left + 0.46, middle, names[label], SMALL)
        frame.text(right, middle, _peak(row, up), SMALL, align="right")
    if count > len(rows):
        middle = TITLE_ROOM + 0.06 + len(rows) * step
        frame.text(left + 0.46, middle, f"and {count - len(rows)} more", SMALL, colour=FAINT)


def _join(panel: Panel, results: Results, trace: str, rows: list[dict[str, Any]], step: float) -> None:
    """Join the end of each curve with its line in the list, for readers and printers that do not tell the colours apart."""
    for at, row in enumerate(rows):
        found = results.rows("timeline", trace, row["policy"])
        if not found["event"].size or is_oom(row):
            continue
        start = (panel.right + 0.01, float(panel.y(found["reserved_bytes"][-1])))
        end = (panel.frame.width - LIST - 0.02, TITLE_ROOM + 0.06 + at * step)
        panel.frame.line([start, end], policy_colour(row["policy"]), 0.5)


def _peak(row: dict[str, Any], up: float) -> str:
    """Return the text of a policy's peak in the list; ``up`` is the end of the vertical scale."""
    if is_oom(row):
        return f"OOM at {oom_event(row):,}"
    beyond = "above: " if row["peak_reserved_bytes"] > up else ""
    return beyond + format_size(row["peak_reserved_bytes"])
