"""The colours of tiers: the faster a tier, the darker its colour."""

from __future__ import annotations

from memtrace.plots.colours import Colour, mixed

DEEP: Colour = (0.0, 0.27, 0.45)  # of the fastest tier


def tier_colour(tier: int, count: int) -> Colour:
    """Return the colour of a tier by its index, 0 for the fastest, out of ``count`` tiers."""
    return mixed(DEEP, 0.75 * tier / max(1, count - 1)) if count > 1 else DEEP
