"""Say of a footprint that changed whether the program asks for other memory, or the allocator makes more or less of it."""

from __future__ import annotations

from collections.abc import Iterable

from memtrace.comparing.changes import number
from memtrace.comparing.comparison import Row
from memtrace.units import format_size

FOOTPRINT, LIVE = "peak_reserved_bytes", "peak_live_bytes"
DIGITS = 12  # of a trace's SHA-256 that are compared; a baseline has few more


def causes(pairs: Iterable[tuple[Row, Row]]) -> dict[tuple[str, str], str]:
    """Return a sentence for each pair of rows (base, head) whose footprints differ, by the head's trace and policy."""
    found = {(head["trace"], head["policy"]): cause(base, head) for base, head in pairs}
    return {key: text for key, text in found.items() if text is not None}


def cause(base: Row, head: Row) -> str | None:
    """Return the sentence for one pair of rows; None if the footprint is the same, or is not known of both.

    What the program asks for is the most bytes that are live at once, which no allocator can do with less than; what the
    footprint has on top of it is the allocator's.
    """
    values = [number(row, name) for name in (FOOTPRINT, LIVE) for row in (base, head)]
    if any(value is None for value in values):
        return None
    old, new, old_live, new_live = (int(value) for value in values if value is not None)
    if old == new:
        return None
    whole, asked = new - old, new_live - old_live
    over = f"{format_size(old - old_live)} over the live bytes before, {format_size(new - new_live)} now"
    first, second = (str(row.get("trace_sha256") or "")[:DIGITS] for row in (base, head))
    if first and first == second:
        return f"the allocator, since the trace is the same: {over}"
    if not asked:
        return f"not how much the program needs: the most live bytes are {format_size(new_live)} on both sides; {over}"
    live = f"the most live bytes were {format_size(old_live)}, now {format_size(new_live)}"
    if whole == asked:
        return f"the program: {live}"
    share = f"{signed(asked)} of {signed(whole)}"
    return f"the program, for {share}: {live}; the allocator: {over}" if asked * whole > 0 else f"the allocator: {over}; {live}"


def signed(size: int) -> str:
    """Return a number of bytes with its sign."""
    return f"{'-' if size < 0 else '+'}{format_size(abs(size))}"
