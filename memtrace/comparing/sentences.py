"""Say in words what a comparison found: one sentence, lists of rows, and lines of a table."""

from __future__ import annotations

from collections.abc import Sequence

from memtrace.comparing.changes import directed, value_text
from memtrace.comparing.model import Change, Comparison, Key

MOST_NAMED = 4  # rows named in a list


def headline(comparison: Comparison) -> str:
    """Return a sentence with the numbers of rows that are worse, better, the same, missing or new, and of gates that failed."""
    worse = {(c.trace, c.policy) for c in comparison.worse}
    better = {(c.trace, c.policy) for c in comparison.better} - worse
    same = comparison.rows - len(worse) - len(better)
    counts = [(len(worse), "worse"), (len(better), "better"), (same, "the same")]
    if not comparison.reference:
        counts += [(len(comparison.missing), "missing"), (len(comparison.extra), "new")]
    text = f"Of {_rows(comparison.rows)}, " + ", ".join(f"{n} {what}" for n, what in counts if n or what == "worse") + "."
    if not (comparison.rows or comparison.missing or comparison.extra):
        text = "Nothing to compare with."
    elif not comparison.rows:
        text = f"No row is in both: {len(comparison.missing)} missing, {len(comparison.extra)} new."
    checks = len(comparison.outcomes)
    if checks:
        rules = len({o.rule for o in comparison.outcomes})
        failed = len({o.rule for o in comparison.failed})
        text += f" {failed} of {rules} {'gate' if rules == 1 else 'gates'} failed"
        text += f" ({len(comparison.failed)} of {checks} checks)." if failed else f" ({checks} checks)."
    return text


def _rows(count: int) -> str:
    """Return a number of rows in words."""
    return f"{count:,} row" if count == 1 else f"{count:,} rows"


def key_list(keys: Sequence[Key]) -> str:
    """Return a list of rows in words: `gpt with buddy, gpt with bump and 7 more`."""
    named = [f"{trace} with {policy}" for trace, policy in keys[:MOST_NAMED]]
    left = len(keys) - len(named)
    return ", ".join(named) + (f" and {left:,} more" if left else "")


def table_lines(changes: Sequence[Change], most_rows: int, most_measures: int) -> tuple[list[tuple[str, ...]], int]:
    """Return lines of (trace, policy, measure, base, head, change), and the number of rows left out.

    At most ``most_rows`` rows are shown, in the order of the changes, each with its first ``most_measures`` measures.
    Trace and policy stand in the first line of a row only.
    """
    rows: dict[Key, list[Change]] = {}
    for change in changes:
        rows.setdefault((change.trace, change.policy), []).append(change)
    lines: list[tuple[str, ...]] = []
    for key, found in list(rows.items())[:most_rows]:
        for i, change in enumerate(found[:most_measures]):
            lines.append((*(key if i == 0 else ("", "")), change.measure, *_values(change)))
        if len(found) > most_measures:
            lines.append(("", "", f"and {len(found) - most_measures} more", "", "", ""))
    return lines, max(0, len(rows) - most_rows)


def _values(change: Change) -> tuple[str, str, str]:
    """Return base value, head value and change as text; both values are empty for a measure that is a word."""
    unit = directed()[change.measure][0] if change.measure in directed() else "word"
    if unit == "word":
        return "", "", change.words
    return value_text(unit, change.base), value_text(unit, change.head), change.words
