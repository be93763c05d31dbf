"""The command `memtrace mincap`, which finds the smallest capacity at which a trace runs without a failure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from memtrace.cli import report_options
from memtrace.cli.options import option
from memtrace.cli.policies import DEFAULT_POLICIES, say_compiling
from memtrace.cli.reading import read_trace

if TYPE_CHECKING:
    from memtrace.questions.mincap import Mincap


@click.command()
@click.argument("trace")
@option("policies", help="The policy, as for memtrace run; by default the group default. Repeatable.")
@option("curve", help="Also list N evenly spaced capacities, and whether each works.")
@click.option(
    "--runs",
    type=click.IntRange(8),
    default=400,
    show_default=True,
    metavar="N",
    help="Maximum number of replays per policy, besides those of --curve.",
)
@option("format")
@option("invalid")
@report_options
def mincap(
    trace: str,
    policies: tuple[str, ...],
    points: int | None,
    runs: int,
    trace_format: str | None,
    invalid: str,
    as_json: bool,
    quiet: bool,
    verbose: int,
) -> None:
    """Find the smallest capacity at which TRACE runs without a failure, for each policy.

    A larger capacity may fail where a smaller one works. So two capacities are given: the smallest that works, and the
    smallest from which on all larger ones work too.

    \b
    Examples:
      memtrace mincap trace.csv -p best-fit -p buddy
      memtrace mincap trace.csv -p best-fit --curve 20
    """
    from memtrace.cli.output import bar
    from memtrace.engine.registry import parse_policies
    from memtrace.questions.mincap import find

    chosen = parse_policies(policies or DEFAULT_POLICIES)
    asked = read_trace(trace, trace_format=trace_format, invalid=invalid, bars=False)
    say_compiling(quiet or as_json)
    found = []
    with bar("searching", not quiet, len(chosen)) as progress:
        for number, policy in enumerate(chosen, 1):
            found.append(find(asked, policy, points or 0, runs))
            progress(number, len(chosen))
    found.sort(key=lambda one: (one.safe is None, one.safe, one.smallest))
    if as_json:
        from memtrace.cli.output import echo_json

        echo_json({"schema": "memtrace.mincap/1", "trace": asked.name, "rows": [document(one) for one in found]})
        return
    show(asked.name, found)


def show(name: str, found: list[Mincap]) -> None:
    """Print the table of policies, notes on sampled capacities, and the curves."""
    from memtrace.cli.output import print_policies, print_table
    from memtrace.units import format_size

    bound = found[0].lower_bound
    rows = [row_of(one) for one in found]
    title = f"{name}: no placement needs less than {format_size(bound)} ({bound:,} bytes)"
    print_policies(("policy", "smallest that works", "all above work", "x bound", "replays"), rows, title=title)
    for one in found:
        if one.smallest is not None and not one.exact:
            click.echo(sampled(one))
    for one in found:
        if one.curve:
            lines = [(f"{o.capacity:,}", "works" if o.works else f"oom @{o.oom_event:,}") for o in one.curve]
            print_table(("capacity, bytes", ""), lines, words=(1,), title=one.policy)


def sampled(one: Mincap) -> str:
    """Return what was tried of a policy whose capacities are not all known: a line, and another if success is not monotone."""
    assert one.smallest is not None and one.safe is not None
    next_below = f"{one.smallest - one.within:,} is the next that fails"
    text = f"{one.policy}: sampled below {one.settled:,} bytes: {one.tried} tried; {next_below}"
    if one.safe == one.smallest:
        return text
    fails = next(window.low for window in reversed(one.windows) if not window.works and window.low > one.smallest)
    return f"{text}\n{one.policy}: not monotone: {fails:,} bytes fail too, though fewer work"


def row_of(one: Mincap) -> tuple[str, ...]:
    """Return a policy's line in the table; a ~ marks a smallest capacity that is not exact."""
    from memtrace.units import format_ratio

    if one.smallest is None or one.safe is None:
        return one.policy, "fails at any", "-", "-", str(one.runs)
    ratio = format_ratio(one.safe / one.lower_bound) if one.lower_bound else "-"
    return one.policy, f"{'' if one.exact else '~'}{one.smallest:,}", f"{one.safe:,}", ratio, str(one.runs)


def document(one: Mincap) -> dict[str, Any]:
    """Return a policy's entry in the JSON document."""
    return {
        "policy": one.policy,
        "lower_bound_bytes": one.lower_bound,
        "unbounded_peak_reserved_bytes": one.unbounded,
        "smallest_bytes": one.smallest,
        "safe_bytes": one.safe,
        "exact": one.exact,
        "settled_from_bytes": one.settled,
        "within_bytes": one.within,
        "replays": one.runs,
        "windows": [{"low": w.low, "high": w.high, "works": w.works, "oom_event": w.oom_event} for w in one.windows],
        "curve": [{"capacity_bytes": o.capacity, "works": o.works, "oom_event": o.oom_event} for o in one.curve],
    }
