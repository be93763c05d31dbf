"""The command `memtrace export`, which writes a replay in the format of another tool."""

from __future__ import annotations

from pathlib import Path

import click

from memtrace.cli import report_options
from memtrace.cli.traces import FORMAT_OPTION, INVALID_OPTION


@click.command()
@click.argument("trace")
@click.option("-p", "--policy", default="pytorch", show_default=True, metavar="POLICY", help="The policy, as for memtrace run.")
@click.option("--to", "target_format", type=click.Choice(["torch-snapshot"]), required=True, help="The format to write.")
@click.option("-o", "--output", required=True, metavar="FILE", help="The file to write; a .pickle for torch-snapshot.")
@click.option("--capacity", metavar="SIZE", help="Fixed size of memory; a request that fails is in the snapshot as an oom event.")
@FORMAT_OPTION
@INVALID_OPTION
@report_options
def export(
    trace: str,
    policy: str,
    target_format: str,
    output: str,
    capacity: str | None,
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
    from memtrace.cli.run import say_compiling
    from memtrace.engine.registry import parse_policy
    from memtrace.gpu.export import export as write
    from memtrace.reading import read
    from memtrace.units import parse_size

    chosen = parse_policy(policy)
    limit = None if capacity is None else parse_size(capacity)
    found = read(trace, format=trace_format, invalid=invalid)
    if not (quiet or as_json):
        say_compiling([chosen])
    counts = write(found, chosen, limit, Path(output))
    if as_json:
        echo_json({"schema": "memtrace.export/1", "policy": chosen.label, "files": [output], **counts})
    elif not quiet:
        said = ", ".join(f"{count:,} {what}" for what, count in counts.items())
        click.echo(f"wrote {output}: {said}\ntry:  https://docs.pytorch.org/memory_viz opens it", err=True)
