"""The command `memtrace tiers`, which replays a trace over tiers of memory."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from memtrace.cli import report_options
from memtrace.cli.options import SIZE, option, settings_options
from memtrace.cli.reading import read_trace
from memtrace.cli.terminal import echo

if TYPE_CHECKING:
    from memtrace.results.settings import Settings
    from memtrace.tiers.results import TierResults


@click.command()
@click.argument("trace")
@click.option(
    "--tier",
    "given",
    multiple=True,
    metavar="TIER",
    help="NAME=SIZE@BANDWIDTH[,LATENCY][,policy=P][,ratio=R][,compress=RATE][,decompress=RATE], the fastest first. Repeatable.",
)
@click.option("--tiers", "file", metavar="FILE", help="Read the tiers from a TOML file with tables [[tier]].")
@click.option("--preset", metavar="NAME", help="Use the tiers of a machine: a100, a100-40, h100, gh200, rtx4090, laptop.")
@click.option("--top", metavar="SIZE", callback=SIZE, help="Capacity of the first tier, in place of the given one.")
@option("policy", help="Placement policy of the tiers that name none; by default best-fit.")
@click.option(
    "--evict",
    default="lru",
    show_default=True,
    metavar="RULE",
    help="Rule for the block that leaves a full tier: lru, fifo, clock, largest, cost, belady (the last two know the future).",
)
@click.option(
    "--uses",
    default="auto",
    show_default=True,
    metavar="RULE",
    help="The events that use a block: access, lifetimes or training (docs/tiers.md); auto chooses.",
)
@click.option("--pin", "pinned", multiple=True, metavar="TAG", help="Blocks with this tag never leave their tier. Repeatable.")
@click.option(
    "--prefetch",
    type=click.IntRange(0),
    default=0,
    show_default=True,
    metavar="N",
    help="Bring blocks to a faster tier N events before their use.",
)
@click.option(
    "--overlap/--no-overlap", default=False, show_default=True, help="Let transfers run at the same time as the program."
)
@click.option("--event-time", metavar="TIME", help="The program's own time per event, such as 10us, for a trace without times.")
@option("curve", help="Also replay with N capacities of the first tier.")
@settings_options("tiers")
@option("invalid")
@option("format")
@option("output", metavar="DIR", help="The results folder; by default reports/<trace name>-tiers.")
@option("force")
@report_options
def tiers(
    trace: str,
    given: tuple[str, ...],
    file: str | None,
    preset: str | None,
    top: int | None,
    policy: str | None,
    evict: str,
    uses: str,
    pinned: tuple[str, ...],
    prefetch: int,
    overlap: bool,
    event_time: str | None,
    points: int | None,
    settings: Settings,
    invalid: str,
    trace_format: str | None,
    output: str | None,
    force: bool,
    as_json: bool,
    quiet: bool,
    verbose: int,
) -> None:
    """Replay TRACE over tiers of memory: blocks that do not fit the first tier are evicted to the next, and come back when used.

    Each tier places its blocks by a policy of its own. Times are modelled from bandwidths and latencies.

    \b
    Examples:
      memtrace tiers gpt-train:preset=gpt3-6.7b,batch=1,steps=2 --preset h100
      memtrace tiers trace.parquet --tier hbm=24GiB@3.35TB/s --tier dram=1TiB@60GB/s,10us --evict belady --curve 12
    """
    from dataclasses import replace

    from memtrace.cli.output import bar
    from memtrace.cli.show_tiers import print_tables
    from memtrace.results.folder import check_folder
    from memtrace.tiers.curve import curve
    from memtrace.tiers.description import parse_time, tiers_from_options
    from memtrace.tiers.eviction import rule
    from memtrace.tiers.replay import is_compiled, known_uses, replay_tiers
    from memtrace.tiers.results import gather, manifest_of
    from memtrace.tiers.tier import Plan
    from memtrace.units import format_size

    started = time.perf_counter()
    chosen = tiers_from_options(given, file, preset, policy)
    if top is not None:
        chosen = (replace(chosen[0], capacity=top), *chosen[1:])
    rule(evict)
    plan = Plan(evict, uses, pinned, prefetch, overlap, parse_time(event_time) if event_time else 0)
    if output is not None:
        check_folder(Path(output), force)
    asked = read_trace(trace, trace_format=trace_format, invalid=invalid, bars=not quiet)
    folder = Path(output) if output is not None else Path("reports") / f"{asked.name}-tiers"
    check_folder(folder, force)
    known = known_uses(asked, chosen, plan)  # a trace that does not say when blocks are used is refused before anything compiles
    compiled = is_compiled(chosen, plan)
    if not (quiet or as_json or compiled):
        echo(f"compiling {evict} over the tiers' policies, once for this version", err=True)
    with bar("replaying", not quiet, asked.facts.events) as progress:
        replayed = replay_tiers(asked, chosen, plan, on_oom=settings.on_oom, progress=progress, known=known)
    rows: list[dict[str, Any]] = []
    if points:
        with bar("capacities", not quiet, points) as progress:
            rows = curve(asked, chosen, plan, points, settings.on_oom, progress, replayed.uses)
    about = manifest_of(asked, time.perf_counter() - started, replayed.policies)
    results = gather(replayed, rows, about | ({"tags": settings.tags} if settings.tags != "auto" else {}))
    files = write(results, folder)
    if as_json:
        from memtrace.cli.output import echo_json

        found = {"results": results.summary, "curve": results.curve, "files": [str(path) for path in files]}
        echo_json({"schema": "memtrace.tiers/1", **found})
        return
    peak = format_size(asked.facts.peak_live_bytes)
    print_tables(results, f"{asked.name}: {replayed.events:,} events, peak live {peak}, evict {evict}")
    if not quiet:
        names = ", ".join(str(path.relative_to(folder)) for path in files)
        echo(f"wrote {folder}/: {names}", err=True)
        if verbose:
            rate = replayed.events / max(replayed.seconds, 1e-9) / 1e6
            note = "" if compiled else ", compiling included"
            echo(f"{replayed.seconds:.2f} s in the replay itself, {rate:.2f} M events/s{note}", err=True)


def write(results: TierResults, folder: Path) -> list[Path]:
    """Write the tables and the reports into the folder, and return the paths."""
    from functools import partial

    from memtrace.report import render
    from memtrace.results.folder import write_tables
    from memtrace.tiers.results import tables

    return write_tables(tables(results), results.manifest, folder, partial(render, results))
