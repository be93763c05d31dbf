"""The commands `memtrace info`, `check` and `convert`, which work on a trace without replaying it."""

from __future__ import annotations

import sys
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from memtrace.cli import report_options
from memtrace.cli.options import option
from memtrace.cli.reading import read_trace, say_assumed
from memtrace.cli.terminal import echo
from memtrace.trace.tags import kind_of, kinds_of

if TYPE_CHECKING:
    from memtrace.gpu.autopsy import Autopsy
    from memtrace.trace import Trace

MOST_KINDS = 12  # of tags, that are named


@click.command()
@click.argument("trace")
@option("format")
@option("invalid")
@report_options
def info(trace: str, trace_format: str | None, invalid: str, as_json: bool, quiet: bool, verbose: int) -> None:
    """Show what is in TRACE: events, sizes, the peak of live bytes.

    \b
    Example:
      memtrace info trace.csv
    """
    from memtrace.cli.output import echo_json, print_table

    found = read_trace(trace, trace_format=trace_format, invalid=invalid, bars=not quiet)
    say_assumed(found.metadata, quiet or as_json)
    if as_json:
        echo_json(
            {
                "schema": "memtrace.info/1",
                "name": found.name,
                "sha256": found.sha256,
                "columns": list(found.columns),
                "tags": list(found.tags),
                "metadata": found.metadata,
                **numbers(found),
                **({"state": asdict(state)} if (state := state_in(found, trace, trace_format)) is not None else {}),
            }
        )
        return
    print_table(
        ("", ""),
        [*rows_of(found), *rows_of_state(found, trace, trace_format)],
        words=(0,),
        title=f"{found.name} ({', '.join(found.columns)})",
    )


def state_in(found: Trace, path: str, trace_format: str | None) -> Autopsy | None:
    """Return the state at the dump if the trace was read from a memory snapshot without events, else None."""
    if found.metadata.get("events_recorded") != "0":
        return None
    from memtrace.gpu.recorded import read_recorded
    from memtrace.gpu.state import state_of

    recorded = read_recorded(path, (trace_format or "").partition(":")[2])
    return state_of(recorded.recording, recorded.snapshot.sites)


def rows_of_state(found: Trace, path: str, trace_format: str | None) -> list[tuple[str, str]]:
    """Return the lines of the table on the state at the dump; none if there are events."""
    from memtrace.gpu.state import state_rows

    state = state_in(found, path, trace_format)
    return state_rows(state) if state is not None else []


def numbers(trace: Trace) -> dict[str, Any]:
    """Return the facts of a trace that are integers, by name."""
    return {name: value for name, value in vars(trace.facts).items() if isinstance(value, int)}


def rows_of(trace: Trace) -> list[tuple[str, str]]:
    """Return the lines of the table: a name and a value each."""
    from memtrace.units import format_seconds, format_size

    facts = trace.facts
    counts = (
        "allocs",
        "frees",
        "reallocs",
        "copies",
        "swaps",
        "accesses",
        "trims",
        "records",
        "completes",
        "null_frees",
        "invalid_events",
        "never_freed",
    )
    rows = [("events", f"{facts.events:,}")]
    rows += [(f"  {name.replace('_', ' ')}", f"{getattr(facts, name):,}") for name in counts if getattr(facts, name)]
    rows += [
        ("blocks live at most", f"{facts.max_live:,}"),
        ("peak live", f"{format_size(facts.peak_live_bytes)} at event {facts.peak_live_event:,}"),
        ("requested in all", format_size(facts.total_bytes)),
        ("request, smallest", format_size(facts.smallest_request)),
        ("request, median", format_size(facts.median_request)),
        ("request, 99th percentile", format_size(facts.p99_request)),
        ("request, largest", format_size(facts.largest_request)),
    ]
    if "time" in trace.columns:
        rows.append(("time", format_seconds((facts.last_time - facts.first_time) / 1e9)))
    if trace.tags:
        kinds = kinds_of(trace.tags)
        rows.append(("tags", f"{len(trace.tags):,}"))
        if len(kinds) <= MOST_KINDS:
            of_kind = Counter(map(kind_of, trace.tags))
            rows += [(f"  {kind}", f"{of_kind[kind]:,}") for kind in kinds]
    rows += [(name, trace.metadata[name]) for name in ("threads", "format") if name in trace.metadata]
    return rows


@click.command()
@click.argument("trace")
@option("format")
@click.option(
    "--most", type=click.IntRange(1), default=20, show_default=True, metavar="N", help="Maximum number of problems listed."
)
@report_options
def check(trace: str, trace_format: str | None, most: int, as_json: bool, quiet: bool, verbose: int) -> None:
    """List the invalid events of TRACE; exit 3 if there are any.

    \b
    Example:
      memtrace check trace.csv
    """
    from memtrace.cli.output import echo_json
    from memtrace.errors import InputError
    from memtrace.reading import check as check_trace

    metadata: dict[str, str] = {}
    problems = check_trace(trace, format=trace_format, most=most, metadata=metadata)
    say_assumed(metadata, quiet or as_json)
    name = Path(trace).name if trace != "-" else "stdin"
    texts = [problem.at(name) for problem in problems]
    if as_json:
        echo_json({"schema": "memtrace.check/1", "problems": texts, "complete": len(texts) < most, "metadata": metadata})
    for text in texts if not as_json else ():
        echo(text)
    if not problems:
        if not as_json and not quiet:
            echo(f"{name} is valid")
        return
    if not quiet:
        more = " or more" if len(texts) == most else ""
        echo(f"{len(texts)}{more} invalid events; --invalid skip leaves them out", err=True)
    sys.exit(InputError.exit_code)


@click.command()
@click.argument("source", metavar="IN")
@click.argument("target", metavar="OUT")
@option("format")
@option("to", metavar="NAME", help="The format to write: csv, parquet or minimalloc; by default the suffix of OUT says which.")
@option("invalid")
@report_options
def convert(
    source: str,
    target: str,
    trace_format: str | None,
    to: str | None,
    invalid: str,
    as_json: bool,
    quiet: bool,
    verbose: int,
) -> None:
    """Write the trace IN as OUT: .csv, .csv.gz, .csv.zst or .parquet.

    \b
    Examples:
      memtrace convert trace.csv.gz trace.parquet
      memtrace convert trace.csv lifetimes.csv --to minimalloc
    """
    from memtrace.cli.output import bar, echo_json
    from memtrace.reading import convert as convert_trace

    metadata: dict[str, str] = {}
    with bar(f"converting {Path(source).name}", not quiet) as progress:
        events = convert_trace(source, target, format=trace_format, to=to, invalid=invalid, metadata=metadata, progress=progress)
    say_assumed(metadata, quiet or as_json)
    if as_json:
        echo_json({"schema": "memtrace.convert/1", "events": events, "files": [target], "metadata": metadata})
    elif not quiet:
        echo(f"wrote {target}: {events:,} events", err=True)
