"""The commands `memtrace report` and `memtrace show`, which present a results folder."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from memtrace.cli import report_options
from memtrace.cli.options import option
from memtrace.cli.output import BARS
from memtrace.cli.terminal import echo

if TYPE_CHECKING:
    from memtrace.results.tables import Results
    from memtrace.trace.tags import Grouping

MOST_SHOWN = 12  # policies of a trace
TAGS_HELP = "Group tags by kind or by name in tables, in place of what the run was told; the figure of addresses stays."


@click.command()
@click.argument("folder", metavar="DIR")
@option("output", required=True, help="The file to write; its ending, .pdf, .html or .md, says which kind.")
@option("tags", default=None, show_default=False, help=TAGS_HELP)
@report_options
def report(folder: str, output: str, tags: Grouping | None, as_json: bool, quiet: bool, verbose: int) -> None:
    """Write the report of a results folder again: as PDF, as one HTML page to explore, or as Markdown.

    \b
    Example:
      memtrace report reports/trace -o trace.html
    """
    from memtrace.report import write
    from memtrace.results.folder import read_folder, schema_of
    from memtrace.tiers.results import read_tiers
    from memtrace.trace.arrow import leave_out_pandas

    leave_out_pandas()
    path, source = Path(output), Path(folder)
    if schema_of(source).startswith("memtrace.suite/"):
        from memtrace.comparing.inputs import rows_of
        from memtrace.report import suite, write_document

        written = write_document(suite.build(rows_of(source), source.resolve().name), None, path, None)
    else:
        results = read_tiers(source) if schema_of(source).startswith("memtrace.tiers/") else read_folder(source)
        written = write(regrouped(results, tags), path, source / "plots")
    if as_json:
        from memtrace.cli.output import echo_json

        echo_json({"schema": "memtrace.report/1", "file": str(written), "bytes": written.stat().st_size})
    elif not quiet:
        echo(f"wrote {written}: {written.stat().st_size:,} bytes", err=True)


@click.command()
@click.argument("folder", metavar="DIR")
@option("tags", default=None, show_default=False, help=TAGS_HELP)
@report_options
def show(folder: str, tags: Grouping | None, as_json: bool, quiet: bool, verbose: int) -> None:
    """Show a results folder at the terminal: the ranked table, and reserved bytes and addresses over time.

    For a folder of `memtrace tiers` it shows the tables, and live bytes, traffic and evictions over time; for a memory
    snapshot what `memtrace whatif` says.

    \b
    Example:
      memtrace show reports/trace
    """
    from memtrace.cli import show_tiers
    from memtrace.cli.ranking import print_ranked
    from memtrace.results.folder import read_folder, schema_of
    from memtrace.tiers.results import TierResults, read_tiers
    from memtrace.trace.arrow import leave_out_pandas

    leave_out_pandas()
    source = Path(folder)
    if source.is_file():
        from memtrace.cli.output import console, echo_json
        from memtrace.gpu.answer import whatif
        from memtrace.gpu.screen import screen

        answer = whatif(source)
        if as_json:
            echo_json(answer.document())
        for line in screen(answer, console().width) if not as_json else ():
            echo(line, whole=True)
        return
    if schema_of(source).startswith("memtrace.suite/"):
        show_suite(source, as_json)
        return
    results = regrouped(read_tiers(source) if schema_of(source).startswith("memtrace.tiers/") else read_folder(source), tags)
    if as_json:
        from memtrace.cli.output import echo_json

        held = {
            name: table.to_pylist()
            for name in ("holders", "pins")
            if not isinstance(results, TierResults) and (table := getattr(results, name)) is not None
        }
        echo_json({"schema": "memtrace.show/1", "results": results.summary, **held})
    elif isinstance(results, TierResults):
        show_tiers.show(results)
    else:
        for trace in results.traces():
            print_ranked(results, trace)
            print_holders(results, trace)
            for line in drawn(results, trace):
                echo(line, whole=True)
            echo()


def regrouped(results: Any, tags: Grouping | None) -> Any:
    """Return Results or TierResults that group tags as ``tags`` says in place of what their run was told; None: as that."""
    return results if tags is None else replace(results, manifest={**results.manifest, "tags": tags})


def show_suite(folder: Path, as_json: bool) -> None:
    """Show the results of a suite: the policies over all traces, and which needs least on each trace."""
    from memtrace.cli.output import echo_json, print_table
    from memtrace.cli.standings import print_standings, standings_json
    from memtrace.comparing.inputs import rows_of

    rows = rows_of(folder)
    if as_json:
        echo_json({"schema": "memtrace.show/1", "results": rows, **standings_json(rows)})
        return
    print_standings(rows)
    traces = dict.fromkeys(row["trace"] for row in rows)
    lines = [trace_line(trace, [row for row in rows if row["trace"] == trace]) for trace in traces]
    print_table(("trace", "needs least", "reserved", "x bound", "oom"), lines, words=(0, 1))


def trace_line(trace: str, rows: list[dict[str, Any]]) -> tuple[str, ...]:
    """Return the line of a trace with these summary rows: what needs least, and how many policies ran out of memory."""
    from memtrace.results.verdict import above_bound, best, is_oom, needed, rank, ratio_text
    from memtrace.units import format_size

    winners, failed = best(rank(rows)), sum(is_oom(row) for row in rows)
    least = ["-", "-", "-"]
    if winners:
        others = f" and {len(winners) - 1} more" if len(winners) > 1 else ""
        peak = format_size(needed(winners[0]))
        least = [f"{winners[0]['policy']}{others}", peak, ratio_text(above_bound(winners[0]))]
    return trace, *least, f"{failed} of {len(rows)}" if failed else "-"


def print_holders(results: Results, trace: str) -> None:
    """Print what is live by tag at the peak and at the end, and what pins free memory of the best policy where that is much."""
    from memtrace.cli.output import print_table
    from memtrace.plots.series import summary
    from memtrace.report.holders import LIVE, PINNING, live_by_tag, pinning, sentence, worst_pins

    best = summary(results, trace)[0]
    lines = live_by_tag(results, trace, best)
    if lines:
        print_table([column.title for column in LIVE], lines)
    text = sentence(results, trace, best)
    if text:
        echo(text)
        echo(worst_pins(results, trace, best))
        if lines:
            print_table([column.title for column in PINNING], pinning(results, trace, best))


def drawn(results: Results, trace: str, width: int = 50) -> list[str]:
    """Return the lines of a chart of reserved bytes over time, with a bar of ``width`` characters per policy, all on one scale.

    An x marks a policy that ran out of memory. The address map of the best policy follows.
    """
    from memtrace.plots.series import last_event, sample_at_steps, summary
    from memtrace.units import format_size

    rows, last = summary(results, trace)[:MOST_SHOWN], last_event(results, trace)
    curves: dict[str, Any] = {}
    for row in rows:
        samples = results.rows("timeline", trace, row["policy"])
        if samples["event"].size:
            at = sample_at_steps(samples["event"], last, width)
            curves[row["policy"]] = (samples["reserved_bytes"][at.clip(0)], int(samples["event"][-1]))
    most = max((int(values.max()) for values, _ in curves.values()), default=0)
    lines = [f"reserved bytes over {last + 1:,} events, full height {format_size(most)}"] if most else []
    for policy, (values, end) in curves.items():
        reached = width if end >= last else max(1, width * end // max(1, last))
        bars = "".join(BARS[-(-int(value) * 8 // most) if most else 0] for value in values[:reached])
        lines.append(f"{shortened(policy)} {bars}{'x' if reached < width else ''}")
    if rows:
        lines += page_map(results, trace, rows[0]["policy"], width)
    return lines


def page_map(results: Results, trace: str, policy: str, width: int, height: int = 10) -> list[str]:
    """Return the lines of a map of address by time, the lowest addresses at the bottom: # in use, + half in use, . hole."""
    import numpy as np

    from memtrace.plots.series import cells_of, highest_so_far, last_event
    from memtrace.units import format_size

    cells = cells_of(results.rows("occupancy", trace, policy), last_event(results, trace), width, height)
    if cells is None:
        return []
    share = np.nan_to_num(cells.share)
    signs = np.where(share >= 0.75, "#", np.where(share >= 0.25, "+", "."))
    signs[~highest_so_far(cells)] = " "
    lines = ["", f"addresses of {policy}: # in use, + in part, . hole"]
    for region, count in reversed(cells.ends()):
        if region.row + count < share.shape[0]:
            lines.append(f"{'(gap)':>24} {'-' * width}")
        for i in range(count - 1, -1, -1):
            lines.append(f"{format_size(region.address + cells.row_bytes * i):>24} {''.join(signs[region.row + i])}")
    return lines


def shortened(label: str, width: int = 24) -> str:
    """Return the label in ``width`` columns. Of a longer label its two ends are kept, since the end tells options apart."""
    half = width // 2
    return label.ljust(width) if len(label) <= width else f"{label[: width - half - 1]}…{label[-half:]}"
