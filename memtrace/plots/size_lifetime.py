"""Plot of sizes against lifetimes of freed blocks: which sizes are short-lived, and whether the long-lived blocks differ."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy

from memtrace.drawing.frame import Frame
from memtrace.drawing.panel import Panel
from memtrace.drawing.scales import class_label, class_of
from memtrace.drawing.style import BODY, BOTTOM, FAINT, LEFT, TITLE_ROOM
from memtrace.plots.hole_sizes import scale, shaded

if TYPE_CHECKING:
    from memtrace.results.tables import Results

ORDER = 65
NAME = "size-lifetime"
TITLE = "Sizes and lifetimes together"
WIDE = 5.2  # inches: the panel's width


def caption(results: Results, trace: str) -> str:
    """Return the text below the figure."""
    return (
        "Freed blocks by size and lifetime (in events), both in classes of powers of two: the darker, the more. Two clouds apart "
        "can be kept in separate arenas; long-lived small blocks among short-lived large ones are what fragments."
    )


def height(results: Results, trace: str) -> float:
    """Return the figure's height in inches, for one panel or one sentence."""
    return 2.6 if _cells(results, trace)[0].size else TITLE_ROOM + 0.3


def draw(results: Results, trace: str, frame: Frame) -> None:
    """Draw the number of blocks as an image, sizes across and lifetimes up."""
    sizes, lives, counts = _cells(results, trace)
    if not sizes.size:
        frame.text(LEFT, TITLE_ROOM + 0.1, "No block was freed, or the results do not say.", BODY, colour=FAINT)
        return
    low, high, short, long = (int(v) for v in (sizes.min(), sizes.max(), lives.min(), lives.max()))
    image = numpy.zeros((long - short + 1, high - low + 1))
    image[lives - short, sizes - low] = counts
    tall = frame.height - TITLE_ROOM - BOTTOM
    panel = Panel(frame, LEFT, TITLE_ROOM, WIDE, tall, high + 1.0, long + 1.0, from_across=float(low), from_up=float(short))
    panel.image(shaded(image, int(counts.max())), short, long + 1.0)
    panel.ticks_across(_ticks(low, high, 8, "size"), name="bytes requested")
    panel.ticks_up(_ticks(short, long, 6, "lifetime"))
    if counts.max() > 1:
        scale(frame, int(counts.max()), "blocks")


def _ticks(low: int, high: int, most: int, kind: str) -> list[tuple[float, str]]:
    """Return at most ``most`` ticks for the classes ``low`` to ``high`` of ``kind``, "size" or "lifetime"."""
    step = -(-(high - low + 1) // most)
    return [(float(k), class_label(1 << k if k else int(kind != "size"), kind)) for k in range(low, high + 1, step)]


def _cells(results: Results, trace: str) -> tuple[numpy.ndarray, numpy.ndarray, numpy.ndarray]:
    """Return size class, lifetime class and number of blocks of each cell that has blocks; empty arrays if there are none."""
    found = results.rows("distributions", trace)
    kept = found["kind"] == "size x lifetime"
    if "lifetime_from" not in found or not kept.any():
        none = numpy.zeros(0, int)
        return none, none, none
    sizes, lives = ([class_of(int(start)) for start in found[name][kept]] for name in ("class_from", "lifetime_from"))
    return numpy.array(sizes), numpy.array(lives), found["count"][kept]
