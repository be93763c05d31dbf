"""The command `memtrace anonymize`, which writes a trace that can be given away."""

from __future__ import annotations

import click

from memtrace.cli import report_options
from memtrace.cli.options import option
from memtrace.cli.reading import read_trace
from memtrace.cli.terminal import echo


@click.command()
@click.argument("source", metavar="IN")
@click.argument("target", metavar="OUT")
@option("format")
@option("invalid")
@report_options
def anonymize(source: str, target: str, trace_format: str | None, invalid: str, as_json: bool, quiet: bool, verbose: int) -> None:
    """Write the trace IN as OUT without anything that could identify its owner.

    Ids, tags, streams and times are numbered anew; frames and most metadata are dropped. The order of events, sizes,
    alignments and differences of times stay, so every policy places the blocks as before.

    \b
    Example:
      memtrace anonymize mine.parquet for-you.parquet
    """
    from memtrace.cli.output import echo_json
    from memtrace.reading.conversion import SAID
    from memtrace.reading.conversion import anonymize as write_anonymous

    trace = read_trace(source, trace_format=trace_format, invalid=invalid, bars=not quiet)
    write_anonymous(trace, target)
    facts = trace.facts
    if as_json:
        document = {"schema": "memtrace.anonymize/1", "events": facts.events, "tags": len(trace.tags), "files": [target]}
        echo_json(document)
    elif not quiet:
        echo(f"wrote {target}: {facts.events:,} events, {len(trace.tags):,} tags; {SAID}", err=True)
        echo("sizes and their order are as they were: they may still tell a program to one who knows it", err=True)
