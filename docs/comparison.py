"""Writes docs/comparison.md: every policy of the registry on every trace in traces/. ``python -m docs.comparison [TRACE...]``."""

import sys
from math import exp, log
from pathlib import Path
from typing import NamedTuple

import memtrace
from memtrace.contract import ledger as led
from memtrace.engine import recorder as rec
from memtrace.engine.registry import builtin_policies, group, parse_policy
from memtrace.errors import MemtraceError
from memtrace.measures.declaration import Readings
from memtrace.units import format_size

PAGE = Path(__file__).with_suffix(".md")
TRACES = PAGE.parent.parent / "traces"
HEAD = """# Every policy on the recorded traces

Peak reserved bytes over the lower bound (peak live): 1.00 is perfect. Each policy has its default options and as much memory
as it asks for; a value of `kind` is a row of its own. This page is written by `make comparison`; no figure depends on the
machine. How fast policies are is what `make bench` prints.

"""
NOTES = """
Defaults suit some traces and not others: `paged` has pages of 64 KiB, one at least per block, which is meant for a GPU, and
`compact` slides when holes are above a quarter of the heap (`compact:when=growth` reserves what is allocated and no more).

## How to read the tables

At the first event with the peak of reserved bytes, what is reserved is *live* (requested), lost *inside* blocks (rounding,
headers, padding), lost *between* them (holes), or *held*: kept by the policy in some other way, such as pages that are not
carved yet. The four add up to 100 %. Work is per event: *search*, the holes that a linear free list would inspect, per
request; *cuts*, splits and merges; *moved*, bytes copied by reallocations that moved and by the policy itself; *system*,
calls that get or give back memory, per 1,000 events.
"""
COLUMNS = ("policy", "reserved", "x bound", "live", "inside", "between", "held", "search", "cuts", "moved", "system")


class Row(NamedTuple):
    """One policy on one trace."""

    policy: str
    times: float  # peak reserved over the lower bound
    cells: tuple[str, ...]


def specs() -> list[str]:
    """Every policy of the group `all`, and every kind of those that have kinds."""
    found = []
    for name in group("all"):
        module = builtin_policies()[name]
        found.append(name)
        found += [f"{name}:kind={value}" for value in getattr(module, "VARIANTS", {}).get("kind", {})]
    return found


def trace_files() -> list[Path]:
    return sorted(path for path in TRACES.iterdir() if path.suffix in (".csv", ".parquet"))


def compare(path: Path, policies: list[str]) -> list[Row]:
    """The policies on one trace, the smallest footprint first; those that cannot replay it are left out, and said so."""
    trace = memtrace.read(path)
    rows = []
    for policy in policies:
        try:
            rows.append(row(trace, policy))
        except MemtraceError as error:
            print(f"{path.name}: {policy} is left out: {error}", file=sys.stderr)
    return sorted(rows, key=lambda each: (each.times, each.policy))


def row(trace: memtrace.Trace, policy: str) -> Row:
    placement = memtrace.replay(trace, parse_policy(policy))
    readings, measures = Readings(placement), memtrace.measure(placement)
    peak = readings.at_peak()
    live, allocated, reserved, free = (int(peak.column(name)[0]) for name in ("live", "allocated", "reserved", "free"))
    times = reserved / trace.facts.peak_live_bytes
    parts = (live, allocated - live, free, reserved - allocated - free)
    calls = measures["reserve_calls"] + measures["release_calls"]
    moved = readings.total(rec.MOVED) + readings.booked(led.MOVED)
    cells = (
        format_size(reserved),
        f"{times:,.2f}",
        *(f"{100 * part / reserved:.1f} %" if part else "0" for part in parts),
        f"{measures['search_mean'] or 0:,.1f}",
        f"{(measures['splits'] + measures['merges']) / placement.events:.2f}",
        format_size(moved / placement.events) if moved else "0",
        f"{1000 * calls / placement.events:.2f}",
    )
    return Row(policy, times, cells)


def page(found: dict[str, list[Row]]) -> str:
    """The whole page, from the rows of each trace."""
    sections = [HEAD, overview(found), NOTES]
    for trace, rows in found.items():
        facts = memtrace.read(TRACES / trace).facts
        lines = [f"| {each.policy} | {' | '.join(each.cells)} |" for each in rows]
        bound = f"{facts.events:,} events, lower bound {format_size(facts.peak_live_bytes)}."
        sections += [f"\n## {trace}\n\n{bound}\n\n", table(COLUMNS, lines)]
    return "".join(sections)


def overview(found: dict[str, list[Row]]) -> str:
    """Policies by traces: reserved over the bound, in the order of the geometric mean."""
    times = {trace: {each.policy: each.times for each in rows} for trace, rows in found.items()}
    policies = {each.policy for rows in found.values() for each in rows}
    means = {policy: geometric_mean([column[policy] for column in times.values() if policy in column]) for policy in policies}
    lines = []
    for policy in sorted(policies, key=lambda each: (means[each], each)):
        cells = [f"{column[policy]:,.2f}" if policy in column else "-" for column in times.values()]
        lines.append(f"| {policy} | {' | '.join([f'{means[policy]:,.2f}', *cells])} |")
    return table(("policy", "mean", *(trace.partition(".")[0] for trace in found)), lines)


def geometric_mean(values: list[float]) -> float:
    return exp(sum(log(value) for value in values) / len(values))


def table(columns: tuple[str, ...], lines: list[str]) -> str:
    rule = "|".join(["---", *["---:"] * (len(columns) - 1)])
    return "\n".join([f"| {' | '.join(columns)} |", f"|{rule}|", *lines]) + "\n"


if __name__ == "__main__":
    wanted = sys.argv[1:]
    rows_by_trace = {path.name: compare(path, specs()) for path in trace_files() if not wanted or path.name in wanted}
    text = page(rows_by_trace)
    if wanted:
        print(text)
    else:
        PAGE.write_text(text)
