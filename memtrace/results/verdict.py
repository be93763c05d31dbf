"""Rank the policies of one trace and say in sentences which needs least and what failed.

Functions take summary rows of one trace; ``ranked`` are rows in the order of `rank`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from memtrace.results import holding
from memtrace.units import format_ratio, format_size

Row = Mapping[str, Any]

MOST_NAMED = 4  # policies named in one sentence; the table has all
CLEARLY = 1.01  # times the least: a policy that needs less than this counts as equal to the best
REFERENCE = "optimum"  # the policy that knows the future, so it is a bound to compare with and cannot be chosen


def rank(rows: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the rows in order, the best policy first.

    Policies that served all requests come first, by the bytes that they need, peak allocated bytes and name. Those that
    skipped requests follow, by the number of failed requests. Those that ran out of memory are last: the policy that
    came furthest is first among them, since a run that ends early has a small peak.
    """
    return sorted(rows, key=_place)


def _place(row: Row) -> tuple[int, int, int, float, str]:
    """Return the sort key of a row for `rank`. Allocated bytes that are not known come after all that are."""
    failed = int(row.get("failed_allocs") or 0)
    group, progress = (2, -oom_event(row)) if is_oom(row) else (1, failed) if failed else (0, 0)
    allocated = row.get("peak_allocated_bytes")
    return group, progress, needed(row), math.inf if allocated is None else allocated, row["policy"]


def is_pool(row: Row) -> bool:
    """Return whether the policy had a pool of fixed size: all that it reserved was there before the first request."""
    calls = (row.get("reserve_calls"), row.get("release_calls"), row.get("peak_reserved_event"))
    return calls == (0, 0, 0) and row["peak_reserved_bytes"] > 0


def needed(row: Row) -> int:
    """Return the bytes that a policy needs: its peak of reserved bytes, or the high-water mark of a fixed pool.

    That is how far up blocks ever lay. Where addresses do not tell, it is the peak of allocated bytes.
    """
    if is_pool(row):
        for name in ("highest_end_bytes", "peak_allocated_bytes"):
            if row.get(name) is not None:
                return int(row[name])
    return int(row["peak_reserved_bytes"])


def is_oom(row: Row) -> bool:
    """Return whether the replay ended because memory ran out."""
    return bool(row["status"] == "oom")


def oom_event(row: Row) -> int:
    """Return the event at which memory ran out, 0 if it did not."""
    return int(row.get("oom_event") or 0)


def above_bound(row: Row) -> float | None:
    """Return the bytes that are needed as a multiple of the lower bound; None if memory ran out or the bound is 0."""
    bound = row["lower_bound_bytes"]
    return None if is_oom(row) or not bound else float(needed(row) / bound)


def ratio_text(ratio: float | None) -> str:
    """Return the multiple as text, or a dash for None."""
    return "-" if ratio is None else format_ratio(ratio)


def verdict(rows: Sequence[dict[str, Any]]) -> list[str]:
    """Return the sentences on one trace, the most important first."""
    ranked = rank(rows)
    if not ranked:
        return ["Nothing was replayed."]
    found = [_too_small(ranked), _least(ranked), _most(ranked), _reference(ranked), _composition(ranked), _pool(ranked)]
    found += [holding.sentence([row for row in ranked if is_served(row) and not is_pool(row)])]
    found += [_out_of_memory(ranked), _skipped(ranked), *_about_trace(ranked[0])]
    return [sentence for sentence in found if sentence]


def best(ranked: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the policies that need least, several if equal; none if no policy served every request.

    The reference policy counts only if no other served every request.
    """
    served = [row for row in ranked if is_served(row)]
    real = [row for row in served if not _is_reference(row)] or served
    return [row for row in real if needed(row) == needed(real[0])]


def is_served(row: Row) -> bool:
    """Return whether the policy served every request."""
    return not is_oom(row) and not row.get("failed_allocs")


def _is_reference(row: Row) -> bool:
    """Return whether the row is of the policy REFERENCE."""
    return str(row["policy"]).partition(":")[0] == REFERENCE


def _least(ranked: Sequence[dict[str, Any]]) -> str:
    """Return the sentence on the policy that needs least, or an empty text."""
    winners = best(ranked)
    if not winners:
        return ""
    bound, peak = winners[0]["lower_bound_bytes"], needed(winners[0])
    names = _names([row["policy"] for row in winners])
    if len(ranked) == 1:
        start = f"{names} needs {format_size(peak)}"
    else:
        start = f"{names} {'need' if len(winners) > 1 else 'needs'} least: {format_size(peak)}"
    pools = {row["peak_reserved_bytes"] for row in winners}
    if is_pool(winners[0]) and len(pools) == 1:
        start += f" of a pool of {format_size(pools.pop())}"
    if not bound:
        return f"{start}. No bytes were live at any time, so there is no lower bound to compare with."
    if peak == bound:
        return f"{start}, which is the lower bound itself: no placement can do with less."
    return f"{start}, {ratio_text(above_bound(winners[0]))} the lower bound of {format_size(bound)} (peak live)."


def _most(ranked: Sequence[dict[str, Any]]) -> str:
    """Return the sentence on the policy that needs most, or an empty text if it needs hardly more than the best."""
    served = [row for row in ranked if is_served(row)]
    winners = best(ranked)
    if not winners or needed(served[-1]) == needed(winners[0]):
        return ""
    least, most = needed(winners[0]), served[-1]
    if not least or _is_reference(most) or needed(most) < CLEARLY * least:
        return ""
    return f"{most['policy']} needs most: {format_size(needed(most))}, {format_ratio(needed(most) / least)} as much."


def _reference(ranked: Sequence[dict[str, Any]]) -> str:
    """Return the sentence on the reference policy beside others, or an empty text."""
    rows = [row for row in ranked if _is_reference(row) and not is_oom(row)]
    if not rows or len(ranked) == 1:
        return ""
    return f"The best packing found by {rows[0]['policy']}, which knows the future, takes " + (
        f"{format_size(rows[0]['peak_reserved_bytes'])}."
    )


def _composition(ranked: Sequence[dict[str, Any]]) -> str:
    """Return the sentence on the best policy's reserved bytes at their peak: live, rounding, holes."""
    winners = best(ranked)
    if not winners or not winners[0]["peak_reserved_bytes"]:
        return ""
    live, internal = winners[0].get("utilisation_at_peak"), winners[0].get("internal_frag_at_peak")
    if live is None or internal is None or not 0 < live <= 1 or not 0 <= internal < 1:
        return ""
    rounding = live / (1 - internal) - live
    holes = max(0.0, 1 - live - rounding)
    when = "has allocated most" if is_pool(winners[0]) else "holds most"
    what = "its pool" if is_pool(winners[0]) else "that"
    return (
        f"When {winners[0]['policy']} {when}, {live:.1%} of {what} is live, "
        f"{rounding:.1%} is rounding and headers, and {holes:.1%} is holes."
    )


def _pool(ranked: Sequence[dict[str, Any]]) -> str:
    """Return the sentence on how little of the best policy's fixed pool was ever free, or an empty text."""
    winner = next(iter(best(ranked)), None)
    if winner is None or not is_pool(winner) or winner.get("least_largest_hole_bytes") is None:
        return ""
    free, hole = winner["least_free_bytes"], winner["least_largest_hole_bytes"]
    text = f"Of the pool of {winner['policy']} at least {format_size(free)} were free at any time, and at least "
    text += f"{format_size(hole)} in one hole"
    worst = winner.get("external_frag_max")
    return text + (f"; at worst {worst:.1%} of what was free lay outside the largest hole." if worst else ".")


def _out_of_memory(ranked: Sequence[dict[str, Any]]) -> str:
    """Return the sentence on the policies that ran out of memory, or that none did."""
    capacity = ranked[0].get("capacity_bytes")
    failed = [row for row in ranked if is_oom(row)]
    if not failed:
        skipped = any(row.get("failed_allocs") for row in ranked)
        return f"No policy ran out of the {format_size(capacity)}." if capacity and not skipped else ""
    limit = f" (capacity {format_size(capacity)})" if capacity else ""
    events = f"{failed[0]['events']:,}"
    if len(failed) == 1:
        return f"{failed[0]['policy']} ran out of memory at event {oom_event(failed[0]):,} of {events}{limit}."
    if len({oom_event(row) for row in failed}) == 1:
        where = f" at event {oom_event(failed[0]):,} of {events}{limit}."
        return (
            f"Every policy ran out of memory{where}"
            if len(failed) == len(ranked)
            else f"{_names([row['policy'] for row in failed])} ran out of memory{where}"
        )
    where = _names([f"{row['policy']} at event {oom_event(row):,}" for row in failed])
    who = "Every policy" if len(failed) == len(ranked) else f"{len(failed)} policies"
    return f"{who} ran out of memory{limit}: {where}, of {events} events."


def _too_small(ranked: Sequence[dict[str, Any]]) -> str:
    """Return a sentence if the capacity is below the peak of live bytes, so that no policy could have served the trace."""
    capacity, bound = ranked[0].get("capacity_bytes"), max(row["lower_bound_bytes"] for row in ranked)
    if not capacity or bound <= capacity or best(ranked):
        return ""
    return f"No placement can fit: {format_size(bound)} are live at once, more than the capacity."


def _skipped(ranked: Sequence[dict[str, Any]]) -> str:
    """Return the sentence on the policies that refused requests and went on, or an empty text."""
    rows = [row for row in ranked if not is_oom(row) and row.get("failed_allocs")]
    parts = [f"{row['policy']} refused {_number(row['failed_allocs'], 'request')}" for row in rows]
    return f"{_names(parts)}; their blocks were left out of its sums." if parts else ""


def _about_trace(row: Row) -> list[str]:
    """Return the sentences on invalid events and on blocks that were never freed."""
    counts = [
        (row.get("invalid_events") or 0, "invalid event", "skipped"),
        (row.get("never_freed") or 0, "block", "never freed"),
    ]
    return [f"{_number(n, noun)} {'was' if n == 1 else 'were'} {what}." for n, noun, what in counts if n]


def _number(count: int, noun: str) -> str:
    """Return a count with its noun in the singular or plural."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def _names(names: Sequence[str]) -> str:
    """Return names as a list in words: `a`, `a and b`, `a, b and 7 others (see the table)`."""
    if len(names) == 1:
        return names[0]
    if len(names) <= MOST_NAMED:
        return f"{', '.join(names[:-1])} and {names[-1]}"
    return f"{', '.join(names[: MOST_NAMED - 1])} and {len(names) - MOST_NAMED + 1} others (see the table)"
