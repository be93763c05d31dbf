"""Plot of internal waste by size class of the request: for which requests a policy's rounding costs most."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy

from memtrace.drawing.frame import Frame, key
from memtrace.drawing.panel import MOST_PANELS, Across, Panel, Scales, layout, left_out, places
from memtrace.drawing.scales import class_label, class_of
from memtrace.drawing.style import BODY, FAINT, LEFT, TITLE_ROOM, light, policy_colour
from memtrace.plots.series import Rows, is_null, summary

if TYPE_CHECKING:
    from memtrace.results.tables import Results

ORDER = 27
NAME = "waste-by-size"
TITLE = "Internal waste by size of request"

PANEL = 1.0  # inches: a panel's height
BAR = 0.42  # width of a bar, as a share of its class


def caption(results: Results, trace: str) -> str:
    """Return the text below the figure."""
    return (
        "Over all requests that got a block, in classes of powers of two. Dark: the share of the class's block bytes that "
        "nobody asked for (rounding, headers, padding). Pale: the class's part of all such bytes. Only where both are high does "
        "another size class pay. The numbers are the share over all classes."
    ) + left_out(len(_shown(results, trace)))


def height(results: Results, trace: str) -> float:
    """Return the figure's height in inches, for a panel per policy, or for one sentence."""
    return layout(len(_shown(results, trace)), PANEL).height if _shown(results, trace) else TITLE_ROOM + 0.3


def draw(results: Results, trace: str, frame: Frame) -> None:
    """Draw two bars per class in each policy's panel, all with one scale."""
    rows = _shown(results, trace)[:MOST_PANELS]
    if not rows:
        frame.text(LEFT, TITLE_ROOM + 0.1, "The results do not say how large the blocks of requests were.", BODY, colour=FAINT)
        return
    found = [results.rows("requests", trace, row["policy"]) for row in rows]
    classes = [class_of(start) for one in found for start in one["size_bytes_from"]]
    low, high = min(classes), max(classes)
    step = -(-(high - low + 1) // 4)
    ticks = [(float(k), class_label(1 << k if k else 0, "size")) for k in range(low, high + 1, step)]
    across = Across(low - 0.6, high + 0.6, ticks, "bytes requested")
    numbers = [f"{100 * waste_shares(one)[0]:.1f} %" for one in found]
    scales = Scales(last=1, tops=[1.0] * len(rows), limit=1.0, across=across)
    drawn = places(frame, PANEL, rows, scales, numbers)
    for place, one in zip(drawn, found, strict=True):
        place.panel.ticks_up([(k / 4, f"{25 * k} %") for k in range(0, 5, 2)], labelled=place.leftmost)
        _bars(place.panel, one, policy_colour(place.row["policy"]))
    colour = policy_colour(rows[0]["policy"])
    key(frame, [("lost in the class", "area", colour), ("part of what is lost", "area", light(colour))])


def waste_shares(rows: Rows) -> tuple[float, Any, Any]:
    """Return how many of the blocks' bytes nobody requested: as a share over all classes, and as a share of each class.

    The third value is each class's part of all such bytes. ``rows`` are those of the table `requests`.
    """
    waste = (rows["block_bytes"] - rows["requested_bytes"]).clip(0)
    whole, all_waste = rows["block_bytes"].sum(), waste.sum()
    by_class = waste / numpy.maximum(1, rows["block_bytes"])
    return float(all_waste / max(1, whole)), by_class, waste / max(1, all_waste)


def _bars(panel: Panel, rows: Rows, colour: Any) -> None:
    """Draw the two bars of each class into a panel."""
    _, by_class, part = waste_shares(rows)
    for values, shade, side in ((by_class, colour, -BAR), (part, light(colour), 0.0)):
        for start, value in zip(rows["size_bytes_from"], values, strict=True):
            left, right = (float(panel.x(class_of(start) + at)) for at in (side, side + BAR))
            top = float(panel.y(value))
            panel.frame.box(left, top, right - left, panel.low - top, shade)


def _shown(results: Results, trace: str) -> list[dict[str, Any]]:
    """Return the summary rows of policies for which the blocks of requests were counted."""
    return [row for row in summary(results, trace) if _counted(results.rows("requests", trace, row["policy"]))]


def _counted(rows: Rows) -> bool:
    """Return whether the bytes of the blocks of requests are known; ``rows`` are those of the table `requests`."""
    return bool(rows["requests"].size) and not is_null(rows["block_bytes"])
