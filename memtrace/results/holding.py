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
WORTH = 2  # times the live bytes that a policy has to hold at the end for a sentence on it


def held(row: Row) -> int | None:
    """Return the bytes reserved at the end; None if they are not known."""
    found = row.get("reserved_end_bytes")
    return None if found is None else int(found)


def tells_apart(rows: Sequence[Row]) -> bool:
    """Return whether some policies give more of their peak back than others until the end of the trace."""
    shares = [held(row) / row["peak_reserved_bytes"] for row in rows if held(row) is not None and row["peak_reserved_bytes"]]  # type: ignore[operator]
    return len(shares) > 1 and max(shares) - min(shares) > CLEARLY


def sentence(rows: Sequence[Row]) -> str:
    """Return the sentence on what is held at the end, or an empty text if the load goes on until then or little is held.

    Where nothing is live at the end, as when a program has ended, there is a sentence only if the policies differ.
    """
    known = sorted((row for row in rows if held(row) is not None), key=lambda row: (held(row), row["policy"]))
    if not known or OVER * known[0]["live_end_bytes"] > known[0]["peak_live_bytes"]:
        return ""
    least, most, live = known[0], known[-1], known[0]["live_end_bytes"]
    above, below = int(most["reserved_end_bytes"]), int(least["reserved_end_bytes"])
    apart = above - below > CLEARLY * above
    if above < WORTH * live or (live == 0 and not apart):
        return ""
    what = f"for {format_size(live)} live"
    if apart:
        return (
            f"{START}{least['policy']} holds least, {format_size(below)}, and {most['policy']} most, {format_size(above)}, "
            f"{what}{_pages(most)}."
        )
    who = most["policy"] if len(known) == 1 else "every policy"
    return f"{START}{who} still holds {format_size(above)} {what}{_pages(most)}."


def _pages(row: Row) -> str:
    """Return how much of what is held could go back as whole pages, as the end of a sentence; empty where it is not known."""
    small = row.get("empty_pages_4k_bytes")
    if small is None:
        return ""
    huge = row["empty_pages_2m_bytes"]
    also = f", {format_size(huge)} in those of 2 MiB" if huge else ""
    return f"; {format_size(small)} lie in empty pages of 4 KiB{also}"
