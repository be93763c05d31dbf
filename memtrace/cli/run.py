"""The command `memtrace run`, which replays traces through policies."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from memtrace.cli import report_options
from memtrace.cli.locality import check_locality, locality_model, locality_rows, print_locality
from memtrace.errors import UsageError

if TYPE_CHECKING:
    from memtrace.engine.registry import Policy
    from memtrace.results.tables import Results
    from memtrace.trace import Trace

DEFAULT_POLICIES = ("default",)  # groups of policies
GPU_POLICIES = ("classic", "gpu")  # groups for a trace that is known to come from a GPU
GPU_FORMATS = ("torch-snapshot",)  # formats whose traces come from a GPU
MOST_ROWS = 12  # of the table; summary.parquet has all


@click.command()
@click.argument("traces", nargs=-1, required=True, metavar="TRACE...")
@click.option(
    "-p",
    "--policy",
    "policies",
    multiple=True,
    metavar="POLICY",
    help="name:key=value,..., a .py file, or a group: classic, default, gpu, all. Repeatable.",
)
@click.option("--capacity", metavar="SIZE", help="Fixed size of memory, such as 80GiB; without it the heap grows as needed.")
@click.option(
    "--on-oom",
    type=click.Choice(["stop", "skip"]),
    default="stop",
    show_default=True,
    help="What a request that fails does: it ends the replay, or it is skipped and counted.",
)
@click.option(
    "--invalid",
    type=click.Choice(["error", "skip"]),
    default="error",
    show_default=True,
    help="What an invalid event does: it is an error, or it is skipped and counted.",
)
@click.option("--format", "trace_format", metavar="NAME", help="The format of the traces; by default it is recognised.")
@click.option("-o", "--output", metavar="DIR", help="The results folder; by default reports/<trace name>.")
@click.option(
    "-j",
    "--jobs",
    type=click.IntRange(1),
    metavar="N",
    help="Number of processes; by default as many as pay. Results do not depend on it.",
)
@click.option(
    "--samples", default="2000", show_default=True, metavar="N", help="Number of events at which the timeline is sampled, or all."
)
@click.option(
    "--validate", is_flag=True, help="Check every placement with an independent validator; exit 4 at the first offence."
)
@click.option("--placements", is_flag=True, help="Also write the address of every block (placements.parquet).")
@click.option(
    "--locality",
    metavar="MODEL",
    help="Also count misses of caches and TLBs: skylake or skylake-sp, or one with changes, such as skylake:reach=4KiB.",
)
@click.option("--no-report", is_flag=True, help="Write tables only, no plots and no reports.")
@click.option("--force", is_flag=True, help="Write into the folder even if memtrace did not make it.")
@click.option("--no-progress", is_flag=True, help="Show no progress bar.")
@report_options
def run(
    traces: tuple[str, ...],
    policies: tuple[str, ...],
    capacity: str | None,
    on_oom: Any,
    invalid: str,
    trace_format: str | None,
    output: str | None,
    jobs: int | None,
    samples: str,
    validate: bool,
    placements: bool,
    locality: str | None,
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
    """
    from memtrace.cli.traces import say_assumed
    from memtrace.engine.registry import parse_policies
    from memtrace.results.folder import check_folder
    from memtrace.results.running import Settings, check_names, check_options
    from memtrace.results.running import run as run_cells
    from memtrace.units import parse_size

    started = time.perf_counter()
    named = parse_policies(policies)
    limit = None if capacity is None else parse_size(capacity)
    check_options(named, limit)
    settings = Settings(
        capacity=limit,
        on_oom=on_oom,
        samples=sample_count(samples),
        validate=validate,
        placements=placements,
        locality=locality_model(locality),
    )
    if output is not None:
        check_folder(Path(output), force)
    bars = not (no_progress or quiet)
    read = [read_trace(path, invalid, trace_format, placements, bars) for path in traces]
    chosen = named or parse_policies(default_policies(read))
    check_options(chosen, limit)
    folder = Path(output) if output is not None else default_folder(read)
    check_folder(folder, force)
    check_names(read)
    check_locality(read, settings)
    for trace in read:
        say_assumed(trace.metadata, quiet or as_json)
    if not (quiet or as_json):
        say_compiling(chosen)
    with cell_progress(read, len(chosen), bars) as progress:
        results = run_cells(read, chosen, settings, jobs, progress)
    files = write(results, folder, () if no_report else ("pdf", "html"))
    if as_json:
        from memtrace.cli.output import echo_json

        echo_json(
            {"schema": "memtrace.run/1", "results": results.summary, **locality_rows(results), "files": [str(f) for f in files]}
        )
        return
    for trace in read:
        print_ranked(results, trace.name)
        print_locality(results, trace.name)
    if not quiet:
        say_files(folder, files, verbose)
        say_next(results, read)
        if verbose:
            click.echo(f"{time.perf_counter() - started:.1f} s in all", err=True)


def default_policies(traces: Sequence[Trace]) -> tuple[str, ...]:
    """Return the groups of policies to compare if no policy is named: those for GPUs if a trace comes from a GPU."""
    return GPU_POLICIES if any(comes_from_gpu(trace.metadata) for trace in traces) else DEFAULT_POLICIES


def comes_from_gpu(metadata: Mapping[str, str]) -> bool:
    """Return whether a trace's metadata say that it was recorded on a GPU, or from a program written for one."""
    return metadata.get("format") in GPU_FORMATS or metadata.get("recorded", "").startswith("torch ")


def say_compiling(policies: Sequence[Policy]) -> None:
    """Announce the policies that have to be compiled first, which is the one long wait of a new version."""
    from memtrace.results.running import uncompiled

    names = uncompiled(policies)
    if names:
        click.echo(f"compiling {', '.join(names)}: some ten seconds each, once for this version", err=True)


def sample_count(text: str) -> int:
    """Return the number of samples that the option --samples asks for; raise UsageError if it is neither a number nor "all"."""
    from memtrace.engine.replay import ALL_SAMPLES

    if text == "all":
        return ALL_SAMPLES
    if not text.isdigit() or int(text) < 1:
        raise UsageError(f"--samples {text} is neither a number above 0 nor all")
    return int(text)


def read_trace(path: str, invalid: str, trace_format: str | None, keep_ids: bool, bars: bool) -> Trace:
    """Read one trace under a progress bar; ``keep_ids`` keeps the trace's own ids of blocks."""
    from memtrace.cli.output import bar
    from memtrace.reading import read

    with bar(f"reading {Path(path).name}", bars) as progress:
        return read(path, invalid=invalid, format=trace_format, keep_ids=keep_ids, progress=progress)


def default_folder(traces: Sequence[Trace]) -> Path:
    """Return the results folder for these traces if none is given."""
    others = f"-and-{len(traces) - 1}-more" if len(traces) > 1 else ""
    return Path("reports") / f"{traces[0].name}{others}"


def cell_progress(traces: Sequence[Trace], policies: int, bars: bool) -> Any:
    """Return a context manager that provides a function of (cell, events done in it), which moves one bar for all cells."""
    from contextlib import contextmanager

    from memtrace.cli.output import bar

    @contextmanager
    def progress() -> Any:
        """Draw the bar, and provide the function."""
        total = policies * sum(trace.facts.events for trace in traces)
        done: dict[int, int] = {}
        with bar("replaying", bars, total) as advance:

            def note(cell: int, events: int) -> None:
                """Move the bar to the sum of the events done in all cells."""
                done[cell] = events
                advance(sum(done.values()), total)

            yield note

    return progress()


def write(results: Results, folder: Path, reports: Sequence[str]) -> list[Path]:
    """Write all tables, and reports of these kinds (pdf, html, md), and return the paths."""
    from functools import partial

    from memtrace.report import render
    from memtrace.results.folder import write_folder

    return write_folder(results, folder, partial(render, results, kinds=reports) if reports else None)


def print_ranked(results: Results, trace: str) -> None:
    """Print the ranked table of a trace, and the first sentence of the verdict."""
    from memtrace.cli.output import print_policies
    from memtrace.results.verdict import rank, verdict

    ranked = rank([row for row in results.summary if row["trace"] == trace])
    shown = ranked[:MOST_ROWS]
    columns = ("policy", "reserved", "x bound", "external", "internal", "holes", "search", "status")
    print_policies(columns, [table_row(row) for row in shown], words=(0, 7), title=headline(ranked[0]))
    if len(ranked) > len(shown):
        click.echo(f"and {len(ranked) - len(shown)} more in summary.parquet")
    click.echo(verdict(ranked)[0])


def headline(row: dict[str, Any]) -> str:
    """Return the table's title: the trace, its events, the lower bound, the capacity."""
    from memtrace.units import format_count, format_size

    text = f"{row['trace']}: {format_count(row['events'])} events, lower bound {format_size(row['lower_bound_bytes'])}"
    if row["capacity_bytes"] is not None:
        text += f", capacity {format_size(row['capacity_bytes'])}"
    if row["invalid_events"]:
        text += f", {row['invalid_events']:,} invalid events skipped"
    return text


def table_row(row: dict[str, Any]) -> tuple[str, ...]:
    """Return a policy's line in the table."""
    from memtrace.results.verdict import above_bound, is_oom, ratio_text
    from memtrace.units import format_size

    status = row["status"]
    if is_oom(row):
        status = f"oom @{row['oom_event']:,}"
    elif row["failed_allocs"]:
        status = f"{row['failed_allocs']:,} failed"
    return (
        row["policy"],
        format_size(row["peak_reserved_bytes"]),
        ratio_text(above_bound(row)),
        percent(row["external_frag_at_peak"]),
        percent(row["internal_frag_at_peak"]),
        "-" if row["holes_max"] is None else f"{row['holes_max']:,}",
        "-" if row["search_mean"] is None else f"{row['search_mean']:.1f}",
        status,
    )


def percent(share: float | None) -> str:
    """Return a share as a percentage, or a dash."""
    return "-" if share is None else f"{100 * share:.1f} %"


def say_files(folder: Path, files: Sequence[Path], verbose: int) -> None:
    """Print the files that were written; plots are only counted unless ``verbose``."""
    names = [str(file.relative_to(folder)) for file in files]
    plots = [name for name in names if name.startswith("plots/")]
    listed = names if verbose else [name for name in names if name not in plots]
    click.echo(f"wrote {folder}/: {', '.join(listed)}", err=True)
    if plots and not verbose:
        click.echo(f"      {folder}/plots/: {len(plots)} PNG", err=True)


def say_next(results: Results, traces: Sequence[Trace]) -> None:
    """Print the commands to try next, for the first trace."""
    from memtrace.report.document import suggestions

    trace = traces[0]
    for tried in suggestions([row for row in results.summary if row["trace"] == trace.name], trace.source):
        click.echo(f"try:  {tried.command}\n      {tried.reason}", err=True)
    click.echo("      memtrace metrics\n      says what the columns mean", err=True)
