"""The table of policies on one trace, the best first."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from memtrace.cli.terminal import echo

if TYPE_CHECKING:
    from memtrace.results.tables import Results

MOST_ROWS = 24  # of the table; summary.parquet has all
MOST_PARTS = 8  # of the memory of a policy that ran out of it
NEEDS = "needs"  # the column where some policies have a pool of fixed size, and others grow
DISPENSABLE = ("search", "holes", "min free", "internal")  # columns that a narrow terminal does without, in this order


def print_ranked(results: Results, trace: str) -> None:
    """Print the ranked table of a trace, and the first sentence of the verdict."""
    from memtrace.cli.output import console, print_policies
    from memtrace.results.verdict import rank

    ranked = rank([row for row in results.summary if row["trace"] == trace])
    shown = ranked[:MOST_ROWS]
    columns = fitting(columns_for(ranked), shown, console().width)
    cells = [tuple(CELLS[name](row) for name in columns) for row in shown]
    print_policies(columns, cells, words=(0, len(columns) - 1), title=headline(ranked))
    if len(ranked) > len(shown):
        echo(f"and {len(ranked) - len(shown)} more in summary.parquet")
    if NEEDS in columns:
        echo("needs: the most that was reserved; of a pool of fixed size how far up it was used")
    for sentence in said(ranked):
        echo(sentence)
    for row in shown:
        for line in parts_said(results, trace, row["policy"]):
            echo(line)


def fitting(columns: tuple[str, ...], rows: list[dict[str, Any]], width: int) -> tuple[str, ...]:
    """Return the columns that fit into so many columns of the terminal, with at least the start of the policies' names.

    Where not all names fit, columns without any value are left out; then those of DISPENSABLE, one after the other, until no
    cell is cut.
    """
    from memtrace.cli.output import KEPT_WIDTH

    texts = {name: [CELLS[name](row) for row in rows] for name in columns}
    wide = {name: max(len(name), *map(len, texts[name])) for name in columns}
    kept = list(columns)
    if sum(wide[each] + 2 for each in kept) - 2 > width:
        kept = [name for name in columns if name == "policy" or set(texts[name]) != {"-"}]
    wide["policy"] = min(wide["policy"], KEPT_WIDTH)
    for name in DISPENSABLE:
        if sum(wide[each] + 2 for each in kept) - 2 <= width:
            break
        kept = [each for each in kept if each != name]
    return tuple(kept)


def parts_said(results: Results, trace: str, policy: str) -> list[str]:
    """Return the lines on the parts of the memory in which a policy could not serve its last request; none for other policies."""
    from memtrace.units import format_size

    parts = results.rows("parts", trace, policy)
    names = ("address", "bytes", "free_bytes", "largest_hole_bytes")
    rows = list(zip(*(parts[name].tolist() for name in names), strict=True))
    lines = [
        f"  at {address:,}: {format_size(size)}, {format_size(free)} free, the largest hole {format_size(largest)}"
        for address, size, free, largest in rows[:MOST_PARTS]
    ]
    more = [f"  and {len(rows) - MOST_PARTS} more in parts.parquet"] if len(rows) > MOST_PARTS else []
    return [f"{policy}: no part could serve the last request:", *lines, *more] if lines else []


def said(ranked: list[dict[str, Any]]) -> list[str]:
    """Return the sentences below the table: the first of the verdict, and that on what is held after the load, if any."""
    from memtrace.results import holding
    from memtrace.results.verdict import verdict

    sentences = verdict(ranked)
    return [sentences[0], *(each for each in sentences[1:] if each.startswith(holding.START))]


def pool_of(rows: list[dict[str, Any]]) -> int | None:
    """Return the bytes of the fixed pool that all policies have; None if they have none, or pools of several sizes."""
    from memtrace.results.verdict import is_pool

    sizes = {row["peak_reserved_bytes"] if is_pool(row) else None for row in rows}
    return sizes.pop() if len(sizes) == 1 else None


def columns_for(rows: list[dict[str, Any]]) -> tuple[str, ...]:
    """Return the columns of the table: of fixed pools those of the high-water marks, and what is held where that differs."""
    from memtrace.results.holding import tells_apart
    from memtrace.results.verdict import is_pool, is_served

    if all(is_pool(row) for row in rows):
        second = "reserved" if pool_of(rows) is None else "min free"
        return ("policy", "high water", "x bound", second, "min largest", "max external", "status")
    first = NEEDS if any(is_pool(row) for row in rows) else "reserved"
    if tells_apart([row for row in rows if is_served(row)]):
        return ("policy", first, "x bound", "at end", "external", "internal", "holes", "status")
    return ("policy", first, "x bound", "external", "internal", "holes", "search", "status")


def headline(rows: list[dict[str, Any]]) -> str:
    """Return the table's title: the trace, its events, the lower bound, the capacity or the size of the pool."""
    from memtrace.units import format_count, format_size

    row, pool = rows[0], pool_of(rows)
    text = f"{row['trace']}: {format_count(row['events'])} events, lower bound {format_size(row['lower_bound_bytes'])}"
    if pool is not None:
        text += f", pool {format_size(pool)}"
    elif row["capacity_bytes"] is not None:
        text += f", capacity {format_size(row['capacity_bytes'])}"
    if row["invalid_events"]:
        text += f", {row['invalid_events']:,} invalid events skipped"
    return text


def ending(row: dict[str, Any]) -> str:
    """Return how a policy's replay ended."""
    from memtrace.results.verdict import is_oom

    if is_oom(row):
        return f"oom @{row['oom_event']:,}"
    return f"{row['failed_allocs']:,} failed" if row["failed_allocs"] else str(row["status"])


def bytes_of(name: str) -> Callable[[dict[str, Any]], str]:
    """Return a function that returns a row's value of a measure in bytes as text, a dash where there is none."""

    def text(row: dict[str, Any]) -> str:
        """Return the value as text."""
        from memtrace.units import format_size

        return "-" if row.get(name) is None else format_size(row[name])

    return text


def need(row: dict[str, Any]) -> str:
    """Return the high-water mark of a fixed pool as text."""
    from memtrace.results.verdict import needed
    from memtrace.units import format_size

    return format_size(needed(row))


def multiple(row: dict[str, Any]) -> str:
    """Return what a policy needs as a multiple of the lower bound."""
    from memtrace.results.verdict import above_bound, ratio_text

    return ratio_text(above_bound(row))


def percent(share: float | None) -> str:
    """Return a share as a percentage, or a dash."""
    return "-" if share is None else f"{100 * share:.1f} %"


# Column of the table -> what it shows of a row of the summary.
CELLS: dict[str, Callable[[dict[str, Any]], str]] = {
    "policy": lambda row: str(row["policy"]),
    "reserved": bytes_of("peak_reserved_bytes"),
    "high water": need,
    NEEDS: need,
    "x bound": multiple,
    "at end": bytes_of("reserved_end_bytes"),
    "min free": bytes_of("least_free_bytes"),
    "min largest": bytes_of("least_largest_hole_bytes"),
    "external": lambda row: percent(row["external_frag_at_peak"]),
    "max external": lambda row: percent(row["external_frag_max"]),
    "internal": lambda row: percent(row["internal_frag_at_peak"]),
    "holes": lambda row: "-" if row["holes_max"] is None else f"{row['holes_max']:,}",
    "search": lambda row: "-" if row["search_mean"] is None else f"{row['search_mean']:.1f}",
    "status": ending,
}
