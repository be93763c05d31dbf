"""Plot of the peaks of reserved bytes as bars, with the lower bound."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from memtrace.drawing.frame import POINTS, Frame
from memtrace.drawing.panel import Panel
from memtrace.drawing.scales import common_limit, size_ticks
from memtrace.drawing.style import ALARM, BODY, BOTTOM, FAINTEST, INK, SMALL, TITLE_ROOM, mixed, policy_colour
from memtrace.drawing.text import short_labels, width
from memtrace.plots.series import summary
from memtrace.results.holding import tells_apart
from memtrace.results.verdict import above_bound, is_oom, is_pool, is_served, needed, oom_event, ratio_text
from memtrace.units import format_size

if TYPE_CHECKING:
    from memtrace.results.tables import Results

ORDER = 0
NAME = "peaks"
TITLE = "Peak memory"

NAMES = 1.75  # inches for the policies' names
NUMBERS = 1.75  # inches for the numbers
HEAD = 0.16  # inches for the label of the lower bound
BAR = 0.24  # inches from one bar to the next
MOST_BARS = 30
PALE_SHARE = 0.55  # share of white in the part of a bar that is reserved but not allocated


def caption(results: Results, trace: str) -> str:
    """Return the text below the figure."""
    count = len(results.policies(trace))
    rows = summary(results, trace)
    pools = (
        " Of a fixed pool the pale part ends where the highest block did, and the outline is the pool." if any_pool(rows) else ""
    )
    ends = " A white notch is at what was still reserved at the end of the trace." if shows_ends(rows) else ""
    more = f" The best {MOST_BARS} of {count} policies are shown." if count > MOST_BARS else ""
    return (
        "A bar is the peak of reserved bytes; its dark part is the peak of allocated bytes (with rounding "
        "and headers), where they are known. The line is the lower bound: the peak of live bytes. An outline only: ran out of "
        "memory, so it says how far the policy came." + pools + ends + more
    )


def any_pool(rows: list[dict[str, Any]]) -> bool:
    """Return whether a policy that served every request had a fixed pool."""
    return any(is_pool(row) for row in rows if not is_oom(row))


def shows_ends(rows: list[dict[str, Any]]) -> bool:
    """Return whether what is reserved at the end is marked, because it tells policies apart."""
    return tells_apart([row for row in rows if is_served(row)])


def height(results: Results, trace: str) -> float:
    """Return the figure's height in inches, for a bar per policy."""
    return TITLE_ROOM + HEAD + min(MOST_BARS, len(results.policies(trace))) * BAR + BOTTOM - 0.1


def draw(results: Results, trace: str, frame: Frame) -> None:
    """Draw one bar per policy, the best on top."""
    rows = summary(results, trace)[:MOST_BARS]
    bound, ends = max(row["lower_bound_bytes"] for row in rows), shows_ends(summary(results, trace))
    across = common_limit([*(row["peak_reserved_bytes"] for row in rows), bound]) * 1.02
    top = TITLE_ROOM + HEAD
    bar = (frame.height - top - BOTTOM + 0.1) / len(rows)
    panel = Panel(frame, NAMES, top, frame.width - NAMES - NUMBERS, len(rows) * bar, across, len(rows))
    ticks = size_ticks(across)
    panel.ticks_across(ticks)
    for value, _ in ticks:
        at = float(panel.x(value))
        frame.grid([(at, panel.top), (at, panel.low)], FAINTEST)
    names = short_labels([row["policy"] for row in rows], BODY, (NAMES - 0.12) * POINTS)
    for at, row in enumerate(rows):
        middle = top + (at + 0.5) * bar
        frame.text(NAMES - 0.06, middle, names[row["policy"]], BODY, align="right")
        _bar(panel, row, middle - 0.36 * bar, 0.72 * bar)
        if ends and is_served(row) and row.get("reserved_end_bytes") is not None:
            _end(panel, row["reserved_end_bytes"], middle - 0.36 * bar, 0.72 * bar)
        _number(panel, row, middle)
    _bound(panel, bound)


def _bar(panel: Panel, row: dict[str, Any], top: float, tall: float) -> None:
    """Draw a policy's bar: allocated bytes dark, further reserved bytes pale, or an outline if the policy ran out of memory.

    Of a fixed pool, the outline is the pool, and the pale part ends at the high-water mark. ``top`` and ``tall`` are in inches.
    """
    frame, colour = panel.frame, policy_colour(row["policy"])
    reserved = float(panel.x(row["peak_reserved_bytes"]))
    if is_oom(row) or is_pool(row):
        left, low = panel.left, top + tall
        frame.line([(left, top), (reserved, top), (reserved, low), (left, low)], colour, 0.8)
    if is_oom(row):
        return
    frame.box(panel.left, top, float(panel.x(needed(row))) - panel.left, tall, mixed(colour, PALE_SHARE))
    if row["peak_allocated_bytes"] is not None:
        frame.box(panel.left, top, float(panel.x(row["peak_allocated_bytes"])) - panel.left, tall, colour)


def _end(panel: Panel, bytes: int, top: float, tall: float) -> None:
    """Mark on a bar the bytes that are reserved at the end, by a white notch with dark edges."""
    at = min(float(panel.x(bytes)), panel.right)
    panel.frame.line([(at, top), (at, top + tall)], INK, 2.4)
    panel.frame.line([(at, top), (at, top + tall)], "#ffffff", 1.2)


def _number(panel: Panel, row: dict[str, Any], middle: float) -> None:
    """Write the peak and its multiple of the lower bound beside a bar, or the event at which memory ran out."""
    left = panel.right + 0.1
    if is_oom(row):
        panel.frame.text(left, middle, f"out of memory at {oom_event(row):,}", BODY, colour=ALARM)
        return
    beyond = "> " if needed(row) > panel.across else ""
    panel.frame.text(left + 0.7, middle, beyond + format_size(needed(row)), BODY, align="right")
    panel.frame.text(left + 1.4, middle, ratio_text(above_bound(row)), BODY, align="right")


def _bound(panel: Panel, bound: int) -> None:
    """Draw the line of the lower bound with its label."""
    at = float(panel.x(bound))
    text = f"lower bound {format_size(bound)}"
    panel.frame.line([(at, panel.top - 0.03), (at, panel.low)], INK, 1.0)
    fits = at - width(text, SMALL) / POINTS > 0
    panel.frame.text(at + (0.02 if fits else -0.02), panel.top - 0.09, text, SMALL, align="right" if fits else "left")
