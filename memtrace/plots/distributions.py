"""Plot of the sizes and lifetimes of a trace's blocks, which are the same for all policies."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy

from memtrace.drawing.frame import Frame, key
from memtrace.drawing.panel import Panel
from memtrace.drawing.scales import Tick, class_label, class_of
from memtrace.drawing.style import BOTTOM, FAINT, LEFT, SMALL, TITLE_ROOM

if TYPE_CHECKING:
    from memtrace.results.tables import Results

ORDER = 60
NAME = "distributions"
TITLE = "Sizes and lifetimes in the trace"

COUNT, BYTES = "#4a4a4a", "#b9b9b9"  # greys, since the bars belong to the trace and to no policy
KINDS = (("size", "size of requests"), ("lifetime", "lifetime of blocks, in events"))
GAP = 0.5  # inches between the panels
BAR = 0.4  # width of a bar, as a share of its class


def caption(results: Results, trace: str) -> str:
    """Return the text below the figure."""
    return (
        "Share of the requests (dark) and of the requested bytes (pale) in classes of powers of two; a "
        "label is the lower end of its class. Lifetimes are those of blocks that were freed, counted in "
        "events."
    )


def height(results: Results, trace: str) -> float:
    """Return the figure's height in inches: two panels side by side."""
    return 2.3


def draw(results: Results, trace: str, frame: Frame) -> None:
    """Draw the sizes of requests at the left and the lifetimes of blocks at the right."""
    found = results.rows("distributions", trace)
    wide = (frame.width - LEFT - GAP - 0.1) / 2
    tall = frame.height - TITLE_ROOM - BOTTOM
    for at, (kind, title) in enumerate(KINDS):
        chosen = (found["kind"] == kind) & (found["count"] > 0)
        rows = {name: found[name][chosen] for name in ("class_from", "count", "bytes")}
        _bars(frame, LEFT + at * (wide + GAP), wide, tall, rows, kind, title)
    key(frame, [("share of requests or blocks", "area", COUNT), ("share of bytes", "area", BYTES)])


def _bars(frame: Frame, left: float, wide: float, tall: float, rows: dict[str, Any], kind: str, title: str) -> None:
    """Draw one panel with two bars for each power-of-two class: the share of requests or blocks, and the share of bytes."""
    classes = [class_of(start) for start in rows["class_from"]] or [0]
    shares = [rows[name] / max(1, rows[name].sum()) for name in ("count", "bytes")]
    up = max((float(share.max()) for share in shares if len(share)), default=1.0) * 1.05
    first, last = min(classes) - 0.6, max(classes) + 0.6
    panel = Panel(frame, left, TITLE_ROOM, wide, tall, last, up, from_across=first)
    for share, colour, side in zip(shares, (COUNT, BYTES), (-BAR, 0.0), strict=True):
        for at, value in zip(classes, share, strict=False):
            start, top = float(panel.x(at + side)), float(panel.y(value))
            frame.box(start, top, float(panel.x(at + side + BAR)) - start, panel.low - top, colour)
    if not len(rows["count"]):
        frame.text(left + wide / 2, TITLE_ROOM + tall / 2, "none", SMALL, colour=FAINT, align="center")
    panel.ticks_across(_class_ticks(classes, kind) if len(rows["count"]) else [], name=title)
    panel.ticks_up([(level, f"{100 * level:.0f} %") for level in _levels(up)])


def _levels(up: float) -> list[float]:
    """Return the shares at which the vertical scale up to ``up`` is labelled."""
    step = 0.1 if up < 0.5 else 0.2
    return [step * k for k in range(int(up / step) + 1)]


def _class_ticks(classes: list[int], kind: str) -> list[Tick]:
    """Return at most seven ticks for the classes of ``kind``, "size" or "lifetime"."""
    lowest, highest = min(classes), max(classes)
    step = -(-(highest - lowest + 1) // 7)
    smallest = 0 if kind == "size" else 1  # class 0 also holds requests of no bytes
    starts = numpy.arange(lowest, highest + 1, step)
    return [(float(k), class_label(1 << int(k) if k else smallest, kind)) for k in starts]
