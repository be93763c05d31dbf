"""Plot of the bytes that were evicted from each tier, by tag."""

from __future__ import annotations

from typing import TYPE_CHECKING

from memtrace.drawing.frame import POINTS, Frame, key
from memtrace.drawing.style import FAINT, SMALL, TITLE_ROOM, tier_colour
from memtrace.drawing.text import short_labels
from memtrace.tiers.results import shown_evictions
from memtrace.units import format_size

if TYPE_CHECKING:
    from memtrace.tiers.results import TierResults

ORDER = 40
NAME = "evictions"
TITLE = "Evicted bytes by tag"
CAPTION = "Bytes that left a full tier, by the tag of their block or its kind, and in how many evictions."
# In inches: the distance of bars, the room for tags, the room for numbers. MOST: bars that are drawn.
BAR, NAMES, NUMBERS, MOST = 0.2, 1.3, 1.7, 40


def height(results: TierResults) -> float:
    """Return the figure's height in inches, for a bar per tier and tag; 0 without evictions."""
    bars = min(MOST, len(shown_evictions(results)))
    return TITLE_ROOM + 0.1 + bars * BAR if bars else 0.0


def draw(results: TierResults, frame: Frame) -> None:
    """Draw a bar per tier and tag, the most bytes first."""
    rows = sorted(shown_evictions(results), key=lambda row: (-row["bytes"], row["tier"], row["tag"]))[:MOST]
    count, most = len(results.summary), max(1, rows[0]["bytes"])
    names = short_labels(dict.fromkeys(row["tag"] for row in rows), SMALL, (NAMES - 0.1) * POINTS)
    room = frame.width - NAMES - NUMBERS
    for at, row in enumerate(rows):
        middle = TITLE_ROOM + 0.1 + (at + 0.4) * BAR
        frame.text(NAMES - 0.06, middle, names[row["tag"]], SMALL, align="right")
        wide = room * row["bytes"] / most
        frame.box(NAMES, middle - 0.06, wide, 0.12, tier_colour(row["tier"], count))
        text = f"{format_size(row['bytes'])} in {row['evictions']:,}"
        frame.text(NAMES + wide + 0.06, middle, text, SMALL, colour=FAINT)
    tiers = sorted({(row["tier"], row["name"]) for row in rows})
    key(frame, [(f"from {name}", "area", tier_colour(tier, count)) for tier, name in tiers])
