"""The command `memtrace run`, which replays traces through policies."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from memtrace.cli import report_options
from memtrace.cli.locality import check_locality, locality_rows, print_locality
from memtrace.cli.options import SIZES, option, settings_options
from memtrace.cli.output import write_results
from memtrace.cli.policies import default_policies, say_compiling, say_hints, say_settings
from memtrace.cli.ranking import print_ranked
from memtrace.cli.reading import read_trace, say_assumed
from memtrace.cli.standings import print_standings
from memtrace.cli.terminal import echo

if TYPE_CHECKING:
    from memtrace.results.settings import Settings
    from memtrace.results.tables import Results
    from memtrace.trace import Trace

MOST_TRACES = 12  # up to so many traces each have a table, without -v


@click.command()
@click.argument("traces", nargs=-1, required=True, metavar="TRACE...")
@option("policies")
@option(
    "capacity", callback=SIZES, help="Fixed size of memory, or a sweep: 80GiB, '4GiB|8GiB', 2GiB..8GiB/12; else the heap grows."
)
@settings_options("run", after="capacity", until="on_oom")
@option("invalid")
@option("format", help="The format of the traces; by default it is recognised.")
@option("output", metavar="DIR", help="The results folder; by default reports/<trace name>.")
@option("jobs", help="Number of processes; by default as many as pay. Results do not depend on it.")
@settings_options("run", after="on_oom")
@click.option("--no-report", is_flag=True, help="Write tables only, no plots and no reports.")
@option("force")
@option("no_progress")
@report_options
def run(
    traces: tuple[str, ...],
    policies: tuple[str, ...],
    capacity: tuple[int, ...] | None,
    settings: Settings,
    invalid: str,
    trace_format: str | None,
    output: str | None,
    jobs: int | None,
    no_report: bool,
    force: bool,
    no_progress: bool,
    as_json: bool,
    quiet: bool,
    verbose: int,
) -> None:
    """Replay TRACE through policies, and write measures, plots and a report.

    \b
    Examples:
      memtrace run trace.csv
      memtrace run trace.parquet -p best-fit -p buddy --capacity 80GiB
      memtrace run trace.csv -p ./mine.py -o reports/mine --validate
      memtrace run trace.csv -p 'best-fit:align=16|64|256' --capacity 2GiB..8GiB/12
    """
    from dataclasses import replace

    from memtrace.engine.registry import parse_policies, settings_seen
    from memtrace.results.folder import check_folder
    from memtrace.results.running import check_names, check_options, shortage
    from memtrace.results.running import run as run_cells
    from memtrace.workloads.recipe import each_of

    started = time.perf_counter()
    capacities = capacity or ()
    named = parse_policies(policies)
    if len(capacities) == 1:
        settings, capacities = replace(settings, capacity=capacities[0]), ()
    for size in capacities or [settings.capacity]:
        check_options(named, size)
    if output is not None:
        check_folder(Path(output), force)
    bars = not (no_progress or quiet)
    read = [
        read_trace(path, trace_format=trace_format, invalid=invalid, keep_ids=settings.placements, bars=bars)
        for text in traces
        for path in each_of(text)
    ]
    chosen = named or parse_policies(default_policies(read))
    for size in capacities or [settings.capacity]:
        check_options(chosen, size)
    folder = Path(output) if output is not None else default_folder(read)
    check_folder(folder, force)
    check_names(read)
    check_locality(read, settings)
    for trace in read:
        say_assumed(trace.metadata, quiet or as_json)
    say_hints(chosen, quiet or as_json)
    say_compiling(quiet or as_json)
    say_settings(pair for policy in chosen for pair in settings_seen(policy))
    times = len(chosen) * max(1, len(capacities))
    say_cells(len(read), len(chosen), len(capacities), quiet or as_json)
    with cell_progress(read, times, bars) as progress:
        results = run_cells(read, chosen, settings, jobs, progress, **({"capacities": capacities} if capacities else {}))
    files = write_results(results, folder, () if no_report else ("pdf", "html"))
    if as_json:
        from memtrace.cli.output import echo_json

        echo_json(
            {"schema": "memtrace.run/1", "results": results.summary, **locality_rows(results), "files": [str(f) for f in files]}
        )
        return
    names = results.traces()
    for name in names if verbose or len(names) <= MOST_TRACES else ():
        print_ranked(results, name)
        print_locality(results, name)
    for trace in read:
        say_recorded(results, trace)
    print_standings(results.summary)
    if len(names) > MOST_TRACES and not verbose:
        echo(f"-v shows a table for each of the {len(names):,} traces")
    for size in capacities or [settings.capacity]:
        for policy in chosen:
            reason = shortage(policy, size)
            if reason is not None:
                echo(str(reason))
    if not quiet:
        say_files(folder, files, verbose)
        say_next(results, read)
        if verbose:
            echo(f"{time.perf_counter() - started:.1f} s in all", err=True)


def default_folder(traces: Sequence[Trace]) -> Path:
    """Return the results folder for these traces if none is given."""
    others = f"-and-{len(traces) - 1}-more" if len(traces) > 1 else ""
    return Path("reports") / f"{traces[0].name}{others}"


def say_cells(traces: int, policies: int, capacities: int, silent: bool) -> None:
    """Say how many cells are replayed, if there are several traces or capacities."""
    if not silent and (traces > 1 or capacities > 1):
        count = traces * policies * max(1, capacities)
        parts = [
            f"{number:,} {word if number == 1 else words}"
            for number, word, words in (
                (traces, "trace", "traces"),
                (policies, "policy", "policies"),
                (capacities, "capacity", "capacities"),
            )
            if number
        ]
        echo(f"{count:,} cells: {' x '.join(parts)}", err=True)


def cell_progress(traces: Sequence[Trace], times: int, bars: bool) -> Any:
    """Return a context manager that provides a function of (cell, events done in it), which moves one bar for all cells.

    ``times`` is how often each trace is replayed.
    """
    from contextlib import contextmanager

    from memtrace.cli.output import bar

    @contextmanager
    def progress() -> Any:
        """Draw the bar, and provide the function."""
        total = times * sum(trace.facts.events for trace in traces)
        done: dict[int, int] = {}
        with bar("replaying", bars, total) as advance:

            def note(cell: int, events: int) -> None:
                """Move the bar to the sum of the events done in all cells."""
                done[cell] = events
                advance(sum(done.values()), total)

            yield note

    return progress()


def say_files(folder: Path, files: Sequence[Path], verbose: int) -> None:
    """Print the files that were written; plots are only counted unless ``verbose``."""
    names = [str(file.relative_to(folder)) for file in files]
    plots = [name for name in names if name.startswith("plots/")]
    listed = names if verbose else [name for name in names if name not in plots]
    echo(f"wrote {folder}/: {', '.join(listed)}", err=True)
    if plots and not verbose:
        echo(f"      {folder}/plots/: {len(plots)} PNG", err=True)


def say_recorded(results: Results, trace: Trace) -> None:
    """Print what the recorded allocator held at most, and how much a replay through the policy that models it holds.

    Only a recording of a GPU says the first, in its metadata, and that allocator is PyTorch's.
    """
    from memtrace.units import format_ratio, format_size

    held = int(trace.metadata.get("recorded_reserved_peak_bytes", 0))
    rows = [row for row in results.summary if row["trace"] == trace.name and row["policy"].partition(":")[0] == "pytorch"]
    if not held:
        return
    said = f"recorded: the allocator held at most {format_size(held)}"
    for row in rows[:1]:
        peak = row["peak_reserved_bytes"]
        said += f"; replayed by {row['policy']}, {format_size(peak)} ({format_ratio(peak / held)})"
    echo(said)


def say_next(results: Results, traces: Sequence[Trace]) -> None:
    """Print the commands to try next, for the first trace."""
    from memtrace.results.suggestions import suggestions

    trace = traces[0]
    rows = [row for row in results.summary if row["trace"] == trace.name]
    for tried in suggestions(rows, trace.source, results.manifest.get("policies", {})):
        echo(f"try:  {tried.command}\n      {tried.reason}", err=True)
    echo("      memtrace metrics\n      says what the columns mean", err=True)
