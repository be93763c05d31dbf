"""The command `memtrace export`, which writes a replay in the format of another tool."""

from __future__ import annotations

from pathlib import Path

import click

from memtrace.cli import report_options
from memtrace.cli.options import option
from memtrace.cli.policies import say_compiling
from memtrace.cli.reading import read_trace
from memtrace.cli.terminal import echo


@click.command()
@click.argument("trace")
@option("policy", default="pytorch", show_default=True, help="The policy, as for memtrace run.")
@option("to", type=click.Choice(["torch-snapshot"]), required=True)
@option("output", required=True, help="The file to write; a .pickle for torch-snapshot.")
@option("capacity", help="Fixed size of memory; a request that fails is in the snapshot as an oom event.")
@option("format")
@option("invalid")
@report_options
def export(
    trace: str,
    policy: str,
    to: str,
    output: str,
    capacity: int | None,
    trace_format: str | None,
    invalid: str,
    as_json: bool,
    quiet: bool,
    verbose: int,
) -> None:
    """Replay TRACE through a policy, and write the replay as a PyTorch memory snapshot.

    PyTorch's viewer (https://docs.pytorch.org/memory_viz) opens it: drag the file into its window.

    \b
    Example:
      memtrace export trace.parquet --to torch-snapshot -p pytorch:expandable_segments:True -o replay.pickle
    """
    from memtrace.cli.output import echo_json
    from memtrace.engine.registry import parse_policy
    from memtrace.gpu.export import export as write

    chosen = parse_policy(policy)
    found = read_trace(trace, trace_format=trace_format, invalid=invalid, bars=False)
    say_compiling(quiet or as_json)
    counts = write(found, chosen, capacity, Path(output))
    if as_json:
        echo_json({"schema": "memtrace.export/1", "policy": chosen.label, "files": [output], **counts})
    elif not quiet:
        said = ", ".join(f"{count:,} {what}" for what, count in counts.items())
        echo(f"wrote {output}: {said}\ntry:  https://docs.pytorch.org/memory_viz opens it", err=True)
