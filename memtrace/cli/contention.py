"""The command `memtrace contention`, which models lock conflicts and memory for several numbers of arenas."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from memtrace.cli import report_options
from memtrace.cli.options import option
from memtrace.cli.reading import read_trace
from memtrace.cli.terminal import echo

if TYPE_CHECKING:
    from memtrace.questions.contention import Row, Timing
    from memtrace.trace import Trace


@click.command()
@click.argument("trace")
@click.option("--arenas", default="1,2,4,8", show_default=True, metavar="N,N,...", help="Numbers of arenas, 1 to 32.")
@option("policy", default="best-fit", show_default=True, help="The policy of each arena.")
@click.option(
    "--cache",
    type=click.IntRange(0, 64),
    default=0,
    show_default=True,
    metavar="N",
    help="Freed blocks that a thread keeps in each size class, and serves without a lock; classes are 16 bytes apart up to 1024.",
)
@click.option(
    "--hold",
    default="100,50,150,10",
    show_default=True,
    metavar="NS,NS,NS,NS",
    help="Nanoseconds that an alloc, a free and a realloc take, and an operation that a thread's cache serves.",
)
@click.option(
    "--gap",
    type=click.IntRange(0),
    default=100,
    show_default=True,
    metavar="NS",
    help="Nanoseconds between two events of a trace without times.",
)
@option("jobs", default=1, show_default=True)
@option("output", help="Also draw conflicts and blow-up as a PNG file.")
@option("format")
@option("invalid")
@report_options
def contention(
    trace: str,
    arenas: str,
    policy: str,
    cache: int,
    hold: str,
    gap: int,
    jobs: int,
    output: str | None,
    trace_format: str | None,
    invalid: str,
    as_json: bool,
    quiet: bool,
    verbose: int,
) -> None:
    """Model the locks of arenas that the threads of TRACE share: conflicts, the time waited, and the reserved memory.

    An alloc goes to the arena whose number is that of the thread modulo the number of arenas; a free or realloc goes to
    the arena that its block came from. An operation holds the arena's lock for a given time. Another thread's operation
    that arrives meanwhile is a conflict, and waits. All times are modelled.

    \b
    Example:
      memtrace contention traces/arrow-query.parquet --arenas 1,2,4 --cache 7
    """
    from memtrace.cli.output import echo_json
    from memtrace.questions.contention import compare, frees_name_threads, policies_for

    counts, timing = numbers("--arenas", arenas, 1, 32), timing_of(hold, gap)
    policies_for(policy, counts, 65536)
    found = read_trace(trace, trace_format=trace_format, invalid=invalid, bars=not quiet)
    rows = compare(found, counts, policy, timing, cache, jobs=jobs)
    files = [] if output is None else [str(draw(rows, found.name, Path(output)))]
    if as_json:
        shown = [
            {**asdict(row.contention), "peak_reserved_bytes": row.peak_reserved_bytes, "blow_up": row.blow_up} for row in rows
        ]
        document = {"schema": "memtrace.contention/1", "trace": found.name, "policy": policy, "cache": cache}
        echo_json({**document, "timing": asdict(timing), "rows": shown, "files": files})
        return
    show(found, rows, policy)
    echo(model(found, timing, cache, frees_name_threads(found)))
    if files and not quiet:
        echo(f"wrote {files[0]}", err=True)


def numbers(option: str, text: str, least: int, most: int) -> list[int]:
    """Return the numbers of an option such as "1,2,4"; for --arenas they are sorted, each once.

    Raise UsageError if one is not between ``least`` and ``most``.
    """
    from memtrace.errors import UsageError

    parts = text.split(",")
    if not all(part.isdigit() and least <= int(part) <= most for part in parts):
        raise UsageError(f"{option} {text} is no list of numbers from {least} to {most}; try: 1,2,4")
    return sorted({int(part) for part in parts}) if option == "--arenas" else [int(part) for part in parts]


def timing_of(hold: str, gap: int) -> Timing:
    """Return the times of the model from the options --hold and --gap, in nanoseconds."""
    from memtrace.errors import UsageError
    from memtrace.questions.contention import Timing

    held = numbers("--hold", hold, 0, 10**9)
    if len(held) != 4:
        raise UsageError(f"--hold {hold} has {len(held)} times; it takes 4: alloc, free, realloc, cached")
    alloc, free, realloc, cached = held
    return Timing(alloc, free, realloc, cached, gap)


def draw(rows: list[Row], trace: str, path: Path) -> Path:
    """Draw the figure into a PNG file, and return its path. Raise UsageError for another ending."""
    from memtrace.errors import UsageError
    from memtrace.plots.contention import write

    if path.suffix != ".png":
        raise UsageError(f"{path} is drawn as PNG; try: -o {path.with_suffix('.png')}")
    return write(rows, trace, path)


def show(trace: Trace, rows: list[Row], inner: str) -> None:
    """Print the table with a line for each number of arenas."""
    from memtrace.cli.output import print_table
    from memtrace.units import format_count, format_ratio, format_seconds, format_size

    lines = [
        (
            str(row.contention.arenas),
            format_count(row.contention.lock_operations),
            format_count(row.contention.conflicts),
            f"{100 * row.contention.conflicts / max(row.contention.lock_operations, 1):.2f} %",
            format_seconds(row.contention.waited_ns / 1e9),
            format_seconds(row.contention.longest_wait_ns / 1e9),
            format_size(row.peak_reserved_bytes),
            format_ratio(row.blow_up),
        )
        for row in rows
    ]
    columns = ("arenas", "lock ops", "conflicts", "share", "waited", "longest", "reserved", "blow-up")
    print_table(columns, lines, words=(), title=f"{trace.name}: arenas of {inner}")


def model(trace: Trace, timing: Timing, cache: int, named: bool) -> str:
    """Return a sentence on what the figures are based on. ``named``: some free in the trace says which thread it is by."""
    times = "the trace's own times" if "time" in trace.columns else f"events {timing.gap} ns apart"
    caches = f", caches of {cache} per size class ({timing.cached} ns)" if cache else ""
    frees = "" if named else "; no free names its thread, so each is by its block's owner"
    return f"modelled: {times}; locks held {timing.alloc}/{timing.free}/{timing.realloc} ns by alloc/free/realloc{caches}{frees}"
