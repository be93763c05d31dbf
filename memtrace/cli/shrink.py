"""The command `memtrace shrink`, which finds a small trace that still shows what a large one shows."""

from __future__ import annotations

from pathlib import Path

import click

from memtrace.cli import report_options
from memtrace.cli.options import option
from memtrace.cli.reading import read_trace
from memtrace.cli.terminal import echo


@click.command()
@click.argument("trace")
@click.option(
    "--keep", required=True, metavar="WHAT", help="oom, or a measure beyond a bound, such as 'external_frag_at_peak>0.3'."
)
@option("policy", required=True, help="The policy that shows WHAT: name:key=value,..., or a file.")
@option("capacity", callback=None)  # kept as text, for the command that is suggested at the end
@option("output", required=True, metavar="OUT", help="The trace to write: .csv or .parquet, compressed or not.")
@click.option(
    "--seconds", type=click.FloatRange(0.1), default=60.0, show_default=True, metavar="N", help="Stop the search after this time."
)
@option("format")
@option("invalid")
@report_options
def shrink(
    trace: str,
    keep: str,
    policy: str,
    capacity: str | None,
    output: str,
    seconds: float,
    trace_format: str | None,
    invalid: str,
    as_json: bool,
    quiet: bool,
    verbose: int,
) -> None:
    """Write the smallest trace found that still shows WHAT of TRACE, with the same policy and capacity.

    First whole blocks are left out; then one block may replace several, with their bytes. If an OOM was due to
    fragmentation, with enough bytes free for the request but only in pieces, the OOM of the smaller trace is too.

    \b
    Examples:
      memtrace shrink trace.parquet --keep oom -p next-fit --capacity 80GiB -o small.csv
      memtrace shrink trace.csv --keep 'external_frag_at_peak>0.3' -p first-fit -o small.csv
    """
    from memtrace.cli.output import bar, echo_json
    from memtrace.engine.registry import parse_policies
    from memtrace.engine.replay import warm
    from memtrace.errors import UsageError
    from memtrace.questions.shrinking import shrink as shrink_trace
    from memtrace.questions.shrinking.conditions import parse_condition
    from memtrace.results.running import check_options
    from memtrace.results.settings import read_capacity
    from memtrace.trace import write
    from memtrace.trace.writing import writer

    condition, chosen = parse_condition(keep), parse_policies([policy])
    if len(chosen) != 1:
        raise UsageError(f"-p {policy} names {len(chosen)} policies; shrink takes one")
    limit = None if capacity is None else read_capacity(capacity)
    check_options(chosen, limit)
    writer(Path(output))  # raises at once for a name that cannot be written
    warm(chosen[0])
    found = read_trace(trace, trace_format=trace_format, invalid=invalid, bars=not quiet)
    with bar("shrinking", not quiet, found.facts.events) as advance:
        shrunk = shrink_trace(
            found,
            chosen[0],
            condition,
            limit,
            seconds=seconds,
            progress=lambda left, of: advance(of - left, of),
        )
    write(shrunk.trace, output)
    before, after = found.facts.events, shrunk.trace.facts.events
    if as_json:
        numbers = {
            "events_before": before,
            "events": after,
            "blocks": shrunk.lives,
            "merged": shrunk.merged,
            "replays": shrunk.replays,
            "seconds": round(shrunk.seconds, 3),
            "complete": shrunk.complete,
        }
        echo_json({"schema": "memtrace.shrink/1", **numbers, "files": [output]})
        return
    echo(f"{condition.text} is kept by {after:,} of {before:,} events ({100 * after / before:.2f} %), {shrunk.lives:,} blocks")
    if quiet:
        return
    if shrunk.merged:
        echo(f"{shrunk.merged:,} further blocks are in them: one block stands for several, with their bytes", err=True)
    echo(f"{shrunk.replays:,} replays in {shrunk.seconds:.1f} s; wrote {output}", err=True)
    if not shrunk.complete:
        echo("the time was up: more --seconds may find a smaller one", err=True)
    again = "" if capacity is None else f" --capacity {capacity}"
    echo(f"try:  memtrace run {output} -p {policy}{again}", err=True)
