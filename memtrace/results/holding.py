"""What policies still hold when the load is over: whether it tells them apart, and the sentence on it.

Rows are rows of the summary of one trace, of policies that served every request.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from memtrace.units import format_size

Row = Mapping[str, Any]

START = "After the load "  # of the sentence
CLEARLY = 0.01  # of the peak: policies that give back shares of it that differ by less are held to be alike
OVER = 2  # the load is over if the live bytes at the end are at most the peak of live bytes divided by this
FAR_MORE = 10  # times the live bytes that all policies have to hold at the end for a sentence on it


def held(row: Row) -> int | None:
    """Return the bytes reserved at the end; None if they are not known."""
    found = row.get("reserved_end_bytes")
    return None if found is None else int(found)


def tells_apart(rows: Sequence[Row]) -> bool:
    """Return whether some policies give more of their peak back than others until the end of the trace."""
    known = [(held(row), row["peak_reserved_bytes"]) for row in rows]
    shares = [end / peak for end, peak in known if end is not None and peak]
    return len(shares) > 1 and max(shares) - min(shares) > CLEARLY


def sentence(rows: Sequence[Row]) -> str:
    """Return the sentence on what is held at the end, or an empty text if the load goes on until then or nothing is remarkable.

    Remarkable is that policies give back different shares of their peaks, or that all hold far more than is live.
    """
    known = sorted((row for row in rows if held(row) is not None), key=lambda row: (held(row), row["policy"]))
    if not known or OVER * known[0]["live_end_bytes"] > known[0]["peak_live_bytes"]:
        return ""
    least, most, live = known[0], known[-1], known[0]["live_end_bytes"]
    below, above = int(least["reserved_end_bytes"]), int(most["reserved_end_bytes"])
    what = f"for {format_size(live)} live"
    if tells_apart(known):
        return (
            f"{START}{least['policy']} holds least, {format_size(below)}, and {most['policy']} most, {format_size(above)}, "
            f"{what}{_pages(most)}."
        )
    if live == 0 or below < FAR_MORE * live:
        return ""
    who = least["policy"] if len(known) == 1 else "every policy"
    some = "at least " if above - below > CLEARLY * above else ""
    return f"{START}{who} still holds {some}{format_size(below)} {what}{_pages(least)}."


def _pages(row: Row) -> str:
    """Return how much of what is held could go back as whole pages, as the end of a sentence; empty where it is not known."""
    small = row.get("empty_pages_4k_bytes")
    if small is None:
        return ""
    huge = row["empty_pages_2m_bytes"]
    also = f" and {format_size(huge)} in empty pages of 2 MiB" if huge else ""
    return f"; of that, {format_size(small)} lie in empty pages of 4 KiB{also}"
