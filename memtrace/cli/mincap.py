"""The command `memtrace mincap`, which finds the smallest capacity at which a trace runs without a failure."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from memtrace.cli import report_options
from memtrace.cli.options import option
from memtrace.cli.policies import DEFAULT_POLICIES, say_compiling, say_settings
from memtrace.cli.reading import read_trace
from memtrace.cli.serving_pool import show_pools
from memtrace.cli.terminal import echo

if TYPE_CHECKING:
    from memtrace.questions.mincap import Mincap, Refusal


@click.command()
@click.argument("trace")
@option("policies", help="The policy, as for memtrace run; by default the group default. Repeatable.")
@option("capacity", help="Also say how much of this is left over, and what is refused first in it, or just below the smallest.")
@option("curve", help="Also list N evenly spaced capacities, and whether each works.")
@click.option(
    "--runs",
    type=click.IntRange(8),
    default=400,
    show_default=True,
    metavar="N",
    help="Maximum number of replays per policy, besides those of --curve.",
)
@click.option(
    "--hit-rate",
    type=click.FloatRange(0, 1),
    metavar="SHARE",
    help="Of gpt-serve:engine=vllm: also find the smallest pool in which this share of the tokens is found in pages.",
)
@option("format")
@option("invalid")
@report_options
def mincap(
    trace: str,
    policies: tuple[str, ...],
    capacity: int | None,
    points: int | None,
    runs: int,
    hit_rate: float | None,
    trace_format: str | None,
    invalid: str,
    as_json: bool,
    quiet: bool,
    verbose: int,
) -> None:
    """Find the smallest capacity at which TRACE runs without a failure, for each policy.

    A larger capacity may fail where a smaller one works. So two capacities are given: the smallest that works, and the
    smallest from which on all larger ones work too. Heaps that take a pool whole, as most of the group embedded do, are tried
    in steps of 8 bytes, and above the smallest that works up to a quarter more.

    For the workload gpt-serve:engine=vllm and no policy, the pool of key-value pages is what is looked for: a table of
    preemptions and of the hit rate of prefixes against its size, and the smallest without a preemption.

    \b
    Examples:
      memtrace mincap trace.csv -p best-fit -p buddy
      memtrace mincap trace.csv -p best-fit --curve 20
      memtrace mincap trace.csv -p embedded --capacity 64KiB
      memtrace mincap gpt-serve:engine=vllm,rate=4,turns=3 --hit-rate 0.5
    """
    from memtrace.cli.output import bar
    from memtrace.engine.registry import parse_policies, settings_seen
    from memtrace.errors import UsageError
    from memtrace.questions.mincap import find, first_refusal
    from memtrace.questions.serving_pool import WORKLOAD, is_served
    from memtrace.reading.traces import recipe_of
    from memtrace.results.running import shortage

    if not policies and trace.startswith(f"{WORKLOAD}:"):
        recipe = recipe_of(trace)
        if is_served(recipe):
            show_pools(recipe, points, hit_rate, as_json, quiet)
            return
    if hit_rate is not None:
        raise UsageError(f"--hit-rate is a question about {WORKLOAD}:engine=vllm, without -p")
    chosen = parse_policies(policies or DEFAULT_POLICIES)
    asked = read_trace(trace, trace_format=trace_format, invalid=invalid, bars=False)
    say_compiling(quiet or as_json)
    say_settings(pair for policy in chosen for pair in settings_seen(policy))
    found: list[Mincap] = []
    refusals: Refusals = {}
    shortages: dict[str, str] = {}
    with bar("searching", not quiet, len(chosen)) as progress:
        for number, policy in enumerate(chosen, 1):
            one = find(asked, policy, points or 0, runs)
            found.append(one)
            lacks = None if capacity is None else shortage(policy, capacity)
            if lacks is not None:
                shortages[one.policy] = str(lacks)
            elif capacity is not None and one.smallest is not None and one.safe is not None:
                refusals[one.policy] = first_refusal(asked, policy, capacity) or first_refusal(
                    asked, policy, one.smallest - one.step
                )
            progress(number, len(chosen))
    found.sort(key=lambda one: (one.safe is None, one.safe, one.smallest))
    if as_json:
        from memtrace.cli.output import echo_json

        echo_json(
            {"schema": "memtrace.mincap/1", "trace": asked.name, "rows": [document(one, capacity, refusals) for one in found]}
        )
        return
    show(asked.name, found, capacity, refusals)
    for text in shortages.values():
        echo(text)


Refusals = dict[str, "Refusal | None"]  # by policy


def show(name: str, found: list[Mincap], capacity: int | None, refusals: Refusals) -> None:
    """Print the table of policies, what is refused first if a capacity is given, notes on sampled capacities, and the curves."""
    from memtrace.cli.output import print_policies, print_table
    from memtrace.units import format_size

    bound = found[0].lower_bound
    rows = [(*row_of(one), *([margin(one, capacity, refusals)] if capacity is not None else [])) for one in found]
    title = f"{name}: no placement needs less than {format_size(bound)} ({bound:,} bytes)"
    columns: tuple[str, ...] = ("policy", "smallest that works", "all above work", "x bound", "replays")
    if capacity is not None:
        columns = (*columns, "to spare")
    print_policies(columns, rows, title=title)
    for label, refusal in refusals.items():
        if refusal is not None:
            echo(f"{label}: {said(refusal)}")
    for one in found:
        if one.stride > 1:
            apart = one.stride * one.step
            echo(f"{one.policy}: above {one.safe:,} bytes pools were tried {apart:,} bytes apart; a larger --runs tries all")
        if one.step > 1 and not one.exact:
            echo(f"{one.policy}: not all pools below {one.settled:,} bytes were tried; --runs sets how many")
        elif one.smallest is not None and not one.exact:
            echo(sampled(one))
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
    """Return a policy's line in the table; a ~ marks a capacity that is not exact."""
    from memtrace.units import format_ratio

    if one.smallest is None or one.safe is None:
        return one.policy, "fails at any", "-", "-", str(one.runs)
    ratio = format_ratio(one.safe / one.lower_bound) if one.lower_bound else "-"
    exact = one.exact and one.stride == 1
    return one.policy, f"{'' if one.exact else '~'}{one.smallest:,}", f"{'' if exact else '~'}{one.safe:,}", ratio, str(one.runs)


def margin(one: Mincap, capacity: int, refusals: Refusals) -> str:
    """Return what a capacity has beyond the smallest from which on all work, or that a request fails in it."""
    refusal = refusals.get(one.policy)
    if one.safe is None or capacity < (one.smallest or 0) or (refusal is not None and refusal.capacity == capacity):
        return "fails"
    return f"{capacity - one.safe:,}" if capacity >= one.safe else "may fail"


def said(refusal: Refusal) -> str:
    """Return a refusal in words."""
    more = refusal.needed is not None and refusal.needed > refusal.size
    needed = f" ({refusal.needed:,} with what the heap adds)" if more else ""
    text = f"with {refusal.capacity:,} bytes, event {refusal.event:,} is refused, a request of {refusal.size:,} bytes{needed}"
    if refusal.free is None:
        return text
    holes = "1 hole" if refusal.holes == 1 else f"{refusal.holes:,} holes, the largest of {refusal.largest:,}"
    return f"{text}; {refusal.free:,} are free in {holes}"


def document(one: Mincap, capacity: int | None, refusals: Refusals) -> dict[str, Any]:
    """Return a policy's entry in the JSON document."""
    refusal = refusals.get(one.policy)
    asked = {
        "capacity_bytes": capacity,
        "spare_bytes": None if one.safe is None else capacity - one.safe,
        "first_refusal": None if refusal is None else asdict(refusal),
    } if capacity is not None else {}  # fmt: skip
    return {
        **asked,
        "policy": one.policy,
        "lower_bound_bytes": one.lower_bound,
        "unbounded_peak_reserved_bytes": one.unbounded,
        "smallest_bytes": one.smallest,
        "safe_bytes": one.safe,
        "exact": one.exact,
        "settled_from_bytes": one.settled,
        "within_bytes": one.within,
        "apart_bytes": one.stride * one.step,  # of the capacities tried above safe_bytes
        "replays": one.runs,
        "windows": [{"low": w.low, "high": w.high, "works": w.works, "oom_event": w.oom_event} for w in one.windows],
        "curve": [{"capacity_bytes": o.capacity, "works": o.works, "oom_event": o.oom_event} for o in one.curve],
    }
