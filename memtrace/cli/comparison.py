"""A comparison of results at the terminal, and as the files and annotations that CI shows."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from memtrace.cli.terminal import echo
from memtrace.errors import MemtraceError, UsageError

if TYPE_CHECKING:
    from memtrace.comparing.comparison import Change, Comparison, Outcome

MOST_ROWS = 6  # rows of a table of changes without -v
MOST_MEASURES = 3  # measures of a row without -v
MOST_CHECKS = 12  # failed or skipped checks of a gate without -v
GATE_FAILED = MemtraceError.exit_code


def show_comparison(found: Comparison, verbose: int = 0) -> None:
    """Print a comparison: the headline, the changes, notes, rows without a partner, and the gates.

    Gates are last, where they are seen first in a terminal.
    """
    from memtrace.comparing.outputs import headline, key_list

    for trace, policy in found.reference.items():
        echo(f"{trace}: against {policy}")
    echo(headline(found))
    show_changes("worse", found.worse, verbose)
    show_changes("better", found.better, verbose)
    causes = list(found.causes.items())
    for (trace, policy), text in causes if verbose else causes[:MOST_ROWS]:
        echo(f"why: {trace}, {policy}: {text}")
    if not verbose and len(causes) > MOST_ROWS:
        echo(f"and {len(causes) - MOST_ROWS:,} more; -v shows all")
    for note in found.notes:
        echo(f"note: {note}")
    for what, keys in (("missing", found.missing), ("new", found.extra)):
        if keys:
            echo(f"{what}: {key_list(keys)}")
    show_outcomes(found.outcomes, verbose)


def show_changes(title: str, changes: Sequence[Change], verbose: int) -> None:
    """Print a table of changes under a title; with ``verbose`` all of them.

    Where names would have to be cut, each trace and policy is a line of its own above its changes.
    """
    from memtrace.cli.output import console, print_policies, print_table
    from memtrace.comparing.outputs import table_lines

    if not changes:
        return
    lines, left = table_lines(changes, len(changes) if verbose else MOST_ROWS, len(changes) if verbose else MOST_MEASURES)
    columns = ("trace", "policy", title, "base", "head", "change")
    if sum(max(map(len, cells)) + 2 for cells in zip(columns, *lines, strict=True)) - 2 <= console().width:
        print_policies(columns, lines, words=(0, 1, 2, 5))
    else:
        starts = [at for at, line in enumerate(lines) if line[0]]
        for start, end in pairwise([*starts, len(lines)]):
            trace, policy = lines[start][:2]
            print_table(columns[2:], [line[2:] for line in lines[start:end]], words=(0, 3), title=f"{trace}, {policy}")
    if left:
        echo(f"and {left:,} more rows; -v shows all")


def show_outcomes(outcomes: Iterable[Outcome], verbose: int) -> None:
    """Print a line for each gate, and below it the rows that failed or could not be checked."""
    rules: dict[str, list[Outcome]] = {}
    for outcome in outcomes:
        rules.setdefault(outcome.rule, []).append(outcome)
    for rule, found in rules.items():
        failed = [o for o in found if o.state == "failed"]
        skipped = [o for o in found if o.state == "skipped"]
        counts = f"{len(failed)} of {len(found)} failed" if failed else f"{len(found) - len(skipped)} checked"
        counts += f", {len(skipped)} not comparable" if skipped else ""
        echo(f"{'FAIL' if failed else 'ok  '} {rule}: {counts}")
        shown = [*failed, *skipped]
        for o in shown if verbose else shown[:MOST_CHECKS]:
            echo(f"     {'' if o.state == 'failed' else 'not comparable: '}{o.text}")
        if not verbose and len(shown) > MOST_CHECKS:
            echo(f"     and {len(shown) - MOST_CHECKS:,} more; -v shows all")


def write_documents(
    found: Comparison,
    title: str,
    junit_file: str | None,
    markdown_file: str | None,
    errors: Sequence[Outcome] = (),
    places: Mapping[str, tuple[str, int]] = MappingProxyType({}),
) -> list[str]:
    """Write the JUnit and Markdown files that were asked for, and return their paths.

    In GitHub Actions also append the Markdown to the job's summary and print the annotations. ``errors`` are outcomes
    of cells whose replay failed; ``places`` has the file and line of each gate, by its text, at which annotations stand.
    """
    from memtrace.comparing.outputs import junit, markdown, workflow_commands

    written = []
    if junit_file is not None:
        written.append(write_whole(Path(junit_file), junit(found, errors)))
    text = markdown(found, title)
    if markdown_file is not None:
        written.append(write_whole(Path(markdown_file), text.encode()))
    if os.environ.get("GITHUB_STEP_SUMMARY"):
        append(Path(os.environ["GITHUB_STEP_SUMMARY"]), text)
    if os.environ.get("GITHUB_ACTIONS") == "true":
        for line in workflow_commands([*errors, *found.outcomes], found.causes, places):
            echo(line, err=True)
    return written


def write_whole(path: Path, data: bytes) -> str:
    """Write to a temporary file, then rename it, so that a killed command leaves the old file.

    Return the path; raise UsageError if it cannot be written.
    """
    stage = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        stage.write_bytes(data)
        os.replace(stage, path)
    except OSError as error:
        raise UsageError(f"{path}: cannot be written: {error.strerror or error}") from error
    return str(path)


def append(path: Path, text: str) -> None:
    """Append a text to the job's summary; raise UsageError if it cannot be written."""
    try:
        with path.open("a", encoding="utf-8") as file:
            file.write(text + "\n")
    except OSError as error:
        raise UsageError(f"$GITHUB_STEP_SUMMARY ({path}) cannot be written: {error.strerror or error}") from error
