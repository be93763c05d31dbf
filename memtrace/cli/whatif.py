"""The command `memtrace whatif`, which replays a recorded GPU program under other settings of PyTorch's allocator."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from memtrace.cli import report_options
from memtrace.cli.options import SIZE, option
from memtrace.cli.policies import say_compiling
from memtrace.cli.terminal import echo
from memtrace.errors import UsageError

if TYPE_CHECKING:
    from memtrace.gpu.answer import Answer, Question


@click.command()
@click.argument("snapshots", nargs=-1, required=True, metavar="SNAPSHOT...")
@click.option(
    "--conf",
    "confs",
    multiple=True,
    metavar="STR",
    help="Settings in the syntax of PYTORCH_CUDA_ALLOC_CONF; '' stands for the defaults. Repeatable.",
)
@option(
    "capacity",
    help="Memory that the program can have, such as 24GiB: what PyTorch's message calls total capacity, less what the CUDA "
    "context and other processes take; by default what the recording proves.",
)
@click.option(
    "--device",
    default="",
    metavar="N",
    help="The device to take from a snapshot of several; by default the one that ran out of memory, else the busiest; all: each.",
)
@option("format")
@click.option(
    "--recorded", metavar="STR", help="The settings in force during the recording, if the file does not contain all of them."
)
@click.option(
    "--recorded-capacity",
    metavar="SIZE",
    callback=SIZE,
    help="The memory that the recorded program could have, if the recording does not show it.",
)
@click.option(
    "--pytorch", metavar="VERSION", help="The version of PyTorch that recorded, such as 2.9; by default the file shows it."
)
@click.option("--search", is_flag=True, help="Search for the best setting over all options that this version has.")
@click.option(
    "--tries", type=click.IntRange(1), default=200, show_default=True, metavar="N", help="Settings that --search tries at most."
)
@click.option(
    "--kept", metavar="FILE", help="A file for the results of --search; if it is there, the search goes on from what it holds."
)
@click.option(
    "--sizes",
    metavar="N,N,...",
    help="The batch size or sequence length of each SNAPSHOT: what others need, and with --capacity the largest that fits.",
)
@option("output", help="A folder for a report as PDF and HTML, with the replays of what ran and of the best setting.")
@option("invalid")
@report_options
def whatif(
    snapshots: tuple[str, ...],
    as_json: bool,
    quiet: bool,
    verbose: int,
    device: str,
    trace_format: str | None,
    output: str | None,
    sizes: str | None,
    **asked: Any,
) -> None:
    """Replay SNAPSHOT, or any trace, under several settings of PyTorch's allocator.

    First it says what ran, whether a replay of that is the recording, why memory ran out, and what to do. Then each
    setting gets a row, best first: peak of reserved bytes, how often the cache was emptied, how many requests failed, and the
    smallest device that is enough. Several snapshots are the ranks of a job, and get a line each, with one setting for all.

    \b
    Examples:
      memtrace whatif snapshot.pickle
      memtrace whatif snapshot.pickle --capacity 24GiB --conf expandable_segments:True --conf max_split_size_mb:128
      memtrace whatif rank*.pickle
      memtrace whatif snapshot.pickle --search
      memtrace whatif batch8.pickle batch16.pickle batch24.pickle --sizes 8,16,24 --capacity 24GiB
    """
    from memtrace.cli.output import console, echo_json
    from memtrace.gpu import ranks
    from memtrace.gpu.answer import Question, answer
    from memtrace.gpu.document import document
    from memtrace.gpu.screen import screen

    say_compiling(quiet or as_json)
    asked["version"] = asked.pop("pytorch")
    tries = asked.pop("tries")
    asked["search"] = tries if asked["search"] else None
    question = Question(device=device_of(device, trace_format), **asked)
    if output is not None and (len(snapshots) > 1 or question.device == ranks.ALL):
        raise UsageError("-o writes the report of one device of one snapshot; name one file, and --device N")
    if sizes is not None:
        show_growth(snapshots, sizes, question, as_json)
        return
    if len(snapshots) > 1 or question.device == ranks.ALL:
        several = ranks.ranks_of(list(snapshots), question)
        if as_json:
            echo_json(ranks.document(several))
        for line in ranks.screen(several, console().width) if not as_json else ():
            echo(line, whole=True)
        return
    found = answer(snapshots[0], question)
    if output is not None:
        write_report(found, Path(output), quiet or as_json)
    if as_json:
        echo_json(document(found))
    for line in screen(found, console().width, verbose > 0) if not as_json else ():
        echo(line, whole=True)


def show_growth(snapshots: tuple[str, ...], sizes: str, asked: Question, as_json: bool) -> None:
    """Print how the memory of each setting grows from snapshot to snapshot; ``sizes`` are theirs, separated by commas."""
    from memtrace.cli.output import console, echo_json
    from memtrace.gpu import growth
    from memtrace.gpu.answer import version_named
    from memtrace.gpu.settings import grid
    from memtrace.reading import read
    from memtrace.structures.caching.versions import LATEST

    try:
        numbers = [int(part) for part in sizes.split(",")]
    except ValueError:
        raise UsageError(f"--sizes {sizes}: no whole numbers separated by commas") from None
    version = version_named(asked.version) or LATEST
    part = f"torch-snapshot:{asked.device}" if asked.device else None
    traces = [read(path, invalid=asked.invalid, format=part) for path in snapshots]
    confs = list(dict.fromkeys(asked.confs)) or grid(asked.recorded, version)
    found = growth.growth_of(traces, numbers, confs, asked.capacity, version)
    if as_json:
        echo_json(growth.document(found, numbers, asked.capacity))
    for line in growth.screen(found, numbers, asked.capacity, console().width) if not as_json else ():
        echo(line, whole=True)


def write_report(found: Answer, folder: Path, silent: bool) -> None:
    """Replay what ran and the best setting with all measures, and write the report, its figures and tables into a folder."""
    from functools import partial

    from memtrace.engine.registry import parse_policies
    from memtrace.report.whatif import policies_of, render
    from memtrace.results.folder import write_folder
    from memtrace.results.running import run
    from memtrace.results.settings import Settings

    policies = parse_policies(policies_of(found))
    results = run([found.trace], policies, Settings(capacity=found.capacity.bytes), 1)
    files = write_folder(results, folder, partial(render, found, results))
    if not silent:
        echo(f"wrote {folder}/: report.pdf, report.html, blocks.html and {len(files) - 3} more", err=True)


def device_of(device: str, trace_format: str | None) -> str:
    """Return the number of the device that the user names, as text, empty if none; ``--format torch-snapshot:N`` names one too.

    Raises UsageError if both name one, and not the same.
    """
    name, _, chosen = (trace_format or "").partition(":")
    if name not in ("", "torch-snapshot"):
        raise UsageError(f"--format {trace_format}: only torch-snapshot:N has a meaning here, which chooses device N")
    if device and chosen and device != chosen:
        raise UsageError(f"--device {device} and --format {trace_format} name two devices")
    return device or chosen
