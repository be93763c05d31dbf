"""Compare two rows of a summary measure by measure: what changed, how much, and how to say so.

Rows are dicts of the columns of summary.parquet. Only measures of which one direction is better are compared.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from functools import cache

from memtrace.comparing.comparison import Change, Row
from memtrace.units import format_ratio, format_size

OUTCOME, FOOTPRINT, MEMORY, WORK = range(4)  # subjects of a change, the most important first
FOOTPRINTS = ("peak_reserved_bytes", "highest_end_bytes", "peak_allocated_bytes")
WORK_UNITS = ("count", "holes")
MOST_FACTOR = 100  # of two ratios: beyond it one of them is next to 0, and the difference says more
LEAST_FACTOR_CHANGE = 0.0005  # a relative change smaller than this is written as a difference, not as a factor
Number = int | float


@cache
def directed() -> dict[str, tuple[str, str, int]]:
    """Return unit, better direction and subject of each measure, by name. Measures without a better direction are left out."""
    from memtrace.measures import declared

    return {m.name: (m.unit, m.direction, _subject(m.name, m.compute.__module__, m.unit)) for m in declared() if m.direction}


def _subject(name: str, module: str, unit: str) -> int:
    """Return the subject of a measure: OUTCOME, FOOTPRINT, MEMORY or WORK. ``module`` is the module that declares the measure."""
    if name in FOOTPRINTS:
        return FOOTPRINT
    if module.endswith(".outcome"):
        return OUTCOME
    return WORK if module.endswith(".work") or unit in WORK_UNITS else MEMORY


def changes(pairs: Iterable[tuple[Row, Row]]) -> list[Change]:
    """Return all changes between pairs of rows (base, head), worse ones first.

    Within worse and better they are ordered by subject: outcome, footprint, fragmentation, work; and within a subject
    the largest change is first.
    """
    found = [change for base, head in pairs for change in row_changes(base, head)]
    return sorted(found, key=lambda c: (not c.worse, c.subject, -c.weight, c.trace, c.policy))


def row_changes(base: Row, head: Row) -> list[Change]:
    """Return the changes from one row to another.

    If the two replays served different parts of the trace, the only change is how they ended, because their sums cannot
    be compared.
    """
    ended = ending(base, head)
    if ended is not None and unequal_parts(base, head):
        return [ended]
    found = [] if ended is None else [ended]
    for name, (unit, direction, subject) in directed().items():
        old, new = number(base, name), number(head, name)
        if old is None or new is None or old == new:
            continue
        worse = (new > old) == (direction == "lower")
        found.append(
            Change(
                trace=head["trace"],
                policy=head["policy"],
                measure=name,
                base=old,
                head=new,
                worse=worse,
                subject=subject,
                weight=weight(unit, old, new),
                words=change_text(unit, old, new),
            )
        )
    return found


def number(row: Row, name: str) -> Number | None:
    """Return the row's value of a measure, or None if it is absent, not a number, or not finite."""
    value = row.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return value


def unequal_parts(base: Row, head: Row) -> bool:
    """Return whether the two replays served different parts of the trace, so that their sums cannot be compared."""
    return progress_key(base) != progress_key(head)


def progress_key(row: Row) -> tuple[float, int]:
    """Return how far a replay came, as a pair that is larger the further it came.

    The first number is the event at which memory ran out, or infinity; the second is minus the number of failed
    requests.
    """
    end = row.get("oom_event") if row.get("status") == "oom" else None
    return math.inf if end is None else float(end), -int(row.get("failed_allocs") or 0)


def ending(base: Row, head: Row) -> Change | None:
    """Return the change of how the replay ended, or None if both ended alike."""
    old, new = progress_key(base), progress_key(head)
    if old == new:
        return None
    gap = abs(old[0] - new[0]) if math.isfinite(old[0] - new[0]) else math.inf
    size = math.inf if math.isinf(old[0]) != math.isinf(new[0]) else gap or float(abs(old[1] - new[1]))
    return Change(
        trace=head["trace"],
        policy=head["policy"],
        measure="status",
        base=ending_text(base),
        head=ending_text(head),
        worse=new < old,
        subject=OUTCOME,
        weight=size,
        words=f"{ending_text(head)}; before: {ending_text(base)}",
    )


def ending_text(row: Row) -> str:
    """Return how a replay ended, in words: "ok", "out of memory at event 1,234", or "3 requests refused"."""
    if row.get("status") == "oom":
        event = row.get("oom_event")
        return "out of memory" + (f" at event {event:,}" if event is not None else "")
    failed = int(row.get("failed_allocs") or 0)
    return f"{failed:,} requests refused" if failed else "ok"


def weight(unit: str, old: Number, new: Number) -> float:
    """Return the size of a change, at least 0, by which changes of one subject are ordered.

    It is the difference for ratios, and for all other units the absolute logarithm of the factor; for small changes the
    two are nearly equal.
    """
    if unit == "ratio":
        return abs(new - old)
    if min(old, new) <= 0:
        return math.inf
    return abs(math.log(new / old))


def change_text(unit: str, old: Number, new: Number) -> str:
    """Return a change in words: "1.25x larger", "+6.0 points", "+16 B"."""
    if unit == "ratio" and abs(old) <= 1 and abs(new) <= 1:
        return points(new - old)
    factor = max(old, new) / min(old, new) if min(old, new) > 0 else math.inf
    if factor - 1 >= LEAST_FACTOR_CHANGE and factor < (MOST_FACTOR if unit == "ratio" else math.inf):
        larger, smaller = ("more", "fewer") if unit in WORK_UNITS else ("larger", "smaller")
        return f"{format_ratio(new / old)} {larger}" if new > old else f"{format_ratio(old / new)} {smaller}"
    if unit == "bytes":
        return f"+{format_size(new - old)}" if new > old else f"-{format_size(old - new)}"
    difference = new - old
    return f"{difference:+,.3g}" if isinstance(difference, float) and abs(difference) < 1000 else f"{difference:+,.0f}"


def points(difference: float) -> str:
    """Return the difference of two shares in percentage points, such as "+6.0 points"."""
    size = abs(100 * difference)
    return f"{100 * difference:+.1f} points" if size >= 0.05 else f"{100 * difference:+.2g} points"


def value_text(unit: str, value: object) -> str:
    """Return a measure's value for people: `7.5 GiB`, `12.5 %`, `1,234`, `51.3`; a dash for None."""
    if value is None:
        return "-"
    if isinstance(value, str) or not isinstance(value, int | float):
        return str(value)
    if unit == "bytes":
        return format_size(value)
    if unit == "ratio":
        return f"{100 * value:.1f} %" if abs(value) <= 1 else f"{value:,.2f}"
    return f"{value:,}" if isinstance(value, int) else f"{value:,.2f}"
