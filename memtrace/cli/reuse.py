"""The command `memtrace reuse`, which lists the blocks that a trace need not keep in memory at its peak."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import TYPE_CHECKING

import click

from memtrace.cli import report_options
from memtrace.cli.options import option
from memtrace.cli.reading import read_trace
from memtrace.cli.terminal import echo

if TYPE_CHECKING:
    from memtrace.questions.reuse import Idle, InPlace, Plan, TagShare
    from memtrace.trace.tags import Grouping

MOST_TAGS = 8  # that are printed


@click.command()
@click.argument("trace")
@click.option(
    "--window",
    type=click.IntRange(1, 1000),
    default=1,
    show_default=True,
    metavar="N",
    help="A block may take over the bytes of a block that is freed up to N events after its own alloc.",
)
@click.option(
    "--idle",
    type=click.IntRange(1),
    default=100,
    show_default=True,
    metavar="N",
    help="A block is a candidate if it is idle over the peak for more than N events.",
)
@click.option(
    "--keep",
    multiple=True,
    metavar="TAG",
    help="Blocks of this tag, of this kind of tags, or of tags of this pattern, such as 'opt*', are never dropped. Repeatable.",
)
@option("tags")
@option("format")
@option("invalid")
@report_options
def reuse(
    trace: str,
    window: int,
    idle: int,
    keep: tuple[str, ...],
    tags: Grouping,
    trace_format: str | None,
    invalid: str,
    as_json: bool,
    quiet: bool,
    verbose: int,
) -> None:
    """List the blocks of TRACE that need not be in memory at its peak, by tag, and how far the peak would fall.

    In place: the block takes over the bytes of another block that is freed right after its alloc. Recompute: the block
    is idle over the peak and used again later. Free early: the block is not used again before its free. All are
    candidates without proof: a trace does not say what a block is computed from.

    \b
    Example:
      memtrace reuse traces/gpt-6x512-fp32.csv --window 2
    """
    from memtrace.cli.output import echo_json
    from memtrace.questions.reuse import grouped, plan
    from memtrace.trace.tags import shown_as

    asked = read_trace(trace, trace_format=trace_format, invalid=invalid, bars=not quiet)
    found = plan(asked, window, idle, matching(keep, asked.tags))
    names = shown_as(asked.tags, MOST_TAGS, "name" if as_json and tags == "auto" else tags)
    parts = {part: getattr(found, part) for part in ("in_place", "recompute", "free_early")}
    found = replace(found, **{part: replace(kind, tags=grouped(kind.tags, names)) for part, kind in parts.items()})
    if as_json:
        echo_json({"schema": "memtrace.reuse/1", **asdict(found)})
        return
    show(found)


def matching(patterns: tuple[str, ...], tags: tuple[str, ...]) -> tuple[str, ...]:
    """Return the tags that the patterns name, as tags or kinds too; raise UsageError for a pattern that names no tag."""
    from memtrace.names import unknown
    from memtrace.trace.tags import is_named, kinds_of

    for pattern in patterns:
        if not any(is_named(tag, (pattern,)) for tag in tags):
            raise unknown("tag", pattern, dict.fromkeys((*kinds_of(tags), *tags)))
    return tuple(tag for tag in tags if is_named(tag, patterns))


def show(found: Plan) -> None:
    """Print the table of the three kinds of candidates, a table of tags for each kind, and the cost of recomputing."""
    from memtrace.cli.output import print_table
    from memtrace.units import format_count, format_size

    kinds: dict[str, InPlace | Idle] = {"in place": found.in_place, "recompute": found.recompute, "free early": found.free_early}
    rows = []
    for name, kind in kinds.items():
        saved = found.peak_live_bytes - kind.peak_live_bytes
        share = 100 * saved / found.peak_live_bytes if found.peak_live_bytes else 0
        blocks = sum(tag.blocks for tag in kind.tags)
        rows.append((name, format_count(blocks), format_size(kind.peak_live_bytes), format_size(saved), f"{share:.1f} %"))
    title = f"{found.trace}: peak live {format_size(found.peak_live_bytes)} at event {found.peak_live_event:,}"
    print_table(("if all are taken", "blocks", "peak live", "saved", "of the peak"), rows, title=title)
    for name, kind in kinds.items():
        print_shares(name, kind.tags)
    echo(cost(found.recompute))


def print_shares(name: str, tags: tuple[TagShare, ...]) -> None:
    """Print the table of one kind's candidates, by the names under which tags are shown."""
    from memtrace.cli.output import print_table
    from memtrace.units import format_count, format_size

    if not tags:
        return
    rows = [(tag.tag, format_count(tag.blocks), format_size(tag.bytes), format_size(tag.peak_bytes)) for tag in tags[:MOST_TAGS]]
    print_table((f"{name}, by tag", "blocks", "bytes", "away at the peak"), rows)
    if len(tags) > MOST_TAGS:
        echo(f"and {len(tags) - MOST_TAGS} tags more; --json has all, --tags kind adds them up")


def cost(recompute: Idle) -> str:
    """Return a sentence on the bytes, and if known the modelled time, that recomputing takes."""
    from memtrace.units import format_seconds, format_size

    time = ""
    if recompute.rebuilt_ns is not None:
        time = f", {format_seconds(recompute.rebuilt_ns / 1e9)} modelled as the time from each block's alloc to the next event"
    return f"recomputing writes {format_size(recompute.rebuilt_bytes)} again{time}; the three peaks do not add up"
