"""The command `memtrace compare`, which shows what changed between two results and checks gates."""

from __future__ import annotations

import sys

import click

from memtrace.cli import report_options
from memtrace.cli.comparison import GATE_FAILED, show_comparison, write_documents
from memtrace.cli.options import option
from memtrace.cli.terminal import echo


@click.command()
@click.argument("base")
@click.argument("head", required=False)
@click.option(
    "--fail-if",
    "fail_if",
    multiple=True,
    metavar="GATE",
    help="Exit 1 if this is true of any row, such as 'peak_reserved_bytes>+1%'. Repeatable; docs/ci.md has the grammar.",
)
@click.option("--reference", metavar="POLICY", help="Without HEAD: compare with this policy, not with the one that needs least.")
@option("junit")
@option("markdown")
@report_options
def compare(
    base: str,
    head: str | None,
    fail_if: tuple[str, ...],
    reference: str | None,
    junit_file: str | None,
    markdown_file: str | None,
    as_json: bool,
    quiet: bool,
    verbose: int,
) -> None:
    """Show what changed from BASE to HEAD, the worst first; exit 1 if a gate failed.

    Each is a results folder, its summary.parquet, or a baseline file. Without HEAD, the policies of BASE are compared
    with each other. In GitHub Actions, failed gates become annotations, and the Markdown is added to the job's summary.

    \b
    Examples:
      memtrace compare reports/main reports/branch --fail-if 'peak_reserved_bytes>+1%'
      memtrace compare reports/gpt --fail-if 'peak_reserved_bytes > 1.05 * policy("best-fit")'
      memtrace compare main branch --fail-if 'external_frag_at_peak>0.15 where policy="best-*"'
    """
    from memtrace.comparing import compare as compare_results

    found = compare_results(base, head, fail_if, reference)
    title = f"{base} to {head}" if head is not None else base
    files = write_documents(found, title, junit_file, markdown_file)
    if as_json:
        from memtrace.cli.output import echo_json

        echo_json({**found.to_json(), "files": files})
    else:
        show_comparison(found, verbose)
        for file in files if not quiet else ():
            echo(f"wrote {file}", err=True)
    if not found.ok:
        sys.exit(GATE_FAILED)
