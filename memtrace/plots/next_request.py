"""Plot of the largest hole against the next request: whether the bytes requested next are free in one piece."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy

from memtrace.drawing.frame import key
from memtrace.drawing.panel import MOST_PANELS, Scales, layout, left_out, places
from memtrace.drawing.scales import class_of, class_ticks
from memtrace.drawing.style import BODY, FAINT, LEFT, TITLE_ROOM, policy_colour
from memtrace.plots.series import Rows, curve, is_null, last_event, showing_holes
from memtrace.results.verdict import is_oom

if TYPE_CHECKING:
    from memtrace.drawing.frame import Frame
    from memtrace.results.tables import Results

ORDER = 45
NAME = "next-request"
TITLE = "The largest hole and the next request"

REQUEST = "#c4c4c4"
COLUMNS = 160  # of a curve
PANEL = 1.05  # inches: a panel's height


def caption(results: Results, trace: str) -> str:
    """Return the text below the figure."""
    return (
        "Grey: the bytes that the next request asks for; the line: the largest hole at that moment (scale of powers of "
        "two). Where grey is above the line, free memory is no help: the policy reserves more, or fails. The numbers "
        "are how often that is so."
    ) + left_out(len(showing_holes(results, trace)))


def height(results: Results, trace: str) -> float:
    """Return the figure's height in inches, for a panel per policy, or for one sentence."""
    return layout(len(_shown(results, trace)), PANEL).height if _shown(results, trace) else TITLE_ROOM + 0.3


def draw(results: Results, trace: str, frame: Frame) -> None:
    """Draw both curves of each policy, all with the same scale of powers of two."""
    rows = _shown(results, trace)[:MOST_PANELS]
    if not rows:
        frame.text(LEFT, TITLE_ROOM + 0.1, "The results do not say what was requested next.", BODY, colour=FAINT)
        return
    found = [results.rows("timeline", trace, row["policy"]) for row in rows]
    most = max(int(max(one["largest_hole_bytes"].max(), numpy.nanmax(one["next_request_bytes"]))) for one in found)
    classes = range(class_of(most) + 1)
    ticks = class_ticks(classes)
    numbers = [f"{100 * too_large(one):.0f} %" for one in found]
    scales = Scales(last=last_event(results, trace), tops=[0] * len(rows), limit=1)
    drawn = places(frame, PANEL, rows, scales, numbers)
    for place, one in zip(drawn, found, strict=True):
        panel = replace(place.panel, up=float(classes[-1] + 1))
        panel.ticks_up(ticks, labelled=place.leftmost)
        known = ~numpy.isnan(one["next_request_bytes"].astype(float))
        panel.area(*curve(one["event"][known], _log(one["next_request_bytes"][known]), COLUMNS), REQUEST)
        panel.line(*curve(one["event"], _log(one["largest_hole_bytes"]), COLUMNS), policy_colour(place.row["policy"]))
        if is_oom(place.row):
            panel.out_of_memory(place.row, panel.up / 2, policy_colour(place.row["policy"]))
    colour = policy_colour(rows[0]["policy"])
    key(frame, [("next request", "area", REQUEST), ("largest hole", "line", colour)])


def too_large(rows: Rows) -> float:
    """Return the share of the samples whose next request does not fit the largest hole."""
    asked = rows["next_request_bytes"].astype(float)
    known = ~numpy.isnan(asked)
    return float((asked[known] > rows["largest_hole_bytes"][known]).mean()) if known.any() else 0.0


def _log(values: object) -> numpy.ndarray:
    """Return the base-2 logarithms of the values; values below 1 count as 1."""
    return numpy.log2(numpy.maximum(1, numpy.asarray(values, dtype=float)))


def _shown(results: Results, trace: str) -> list[dict[str, Any]]:
    """Return the summary rows of policies whose holes are known; an empty list if the results do not have the next requests."""
    asked = results.rows("timeline", trace).get("next_request_bytes")
    if asked is None or not asked.size or is_null(asked):
        return []
    return showing_holes(results, trace)
