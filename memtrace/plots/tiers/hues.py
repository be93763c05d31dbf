"""A tier's colour: the faster, the darker."""

from __future__ import annotations

from memtrace.plots.colours import Colour, mixed

DEEP: Colour = (0.0, 0.27, 0.45)


def tier_colour(tier: int, count: int) -> Colour:
    return mixed(DEEP, 0.75 * tier / max(1, count - 1)) if count > 1 else DEEP
