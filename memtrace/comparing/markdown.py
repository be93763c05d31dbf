"""Write a comparison as Markdown for a pull request or a job summary."""

from __future__ import annotations

from collections.abc import Sequence

from memtrace.comparing.model import Change, Comparison, Outcome
from memtrace.comparing.sentences import headline, key_list, table_lines

MOST_ROWS = 30  # of a table of changes
MOST_MEASURES = 4  # of a row
MOST_OUTCOMES = 100  # failed gates that are listed


def markdown(comparison: Comparison, title: str = "memtrace") -> str:
    """Return the verdict, failed gates, changes and notes.

    Of long lists only the worst entries are shown, and the number of the others.
    """
    parts = [f"### {escape(title)}: {'gates hold' if comparison.ok else 'a gate failed'}", headline(comparison)]
    if not comparison.outcomes:
        parts[0] = f"### {escape(title)}"
    if comparison.failed:
        parts.append(_gates(comparison.failed))
    parts += [_changes("Worse", comparison.worse), _changes("Better", comparison.better)]
    parts += [f"- {escape(note)}" for note in comparison.notes]
    for what, keys in (("Missing", comparison.missing), ("New", comparison.extra)):
        if keys:
            parts.append(f"{what}: {escape(key_list(keys))}.")
    skipped = sum(outcome.state == "skipped" for outcome in comparison.outcomes)
    if skipped:
        parts.append(f"{skipped} of {len(comparison.outcomes)} checks could not be made.")
    return "\n\n".join(part for part in parts if part) + "\n"


def _gates(outcomes: Sequence[Outcome]) -> str:
    """Return the table of failed gates."""
    lines = ["| gate | trace | policy | measured | limit |", "|---|---|---|---:|---:|"]
    for o in outcomes[:MOST_OUTCOMES]:
        measured = [o.reason, ""] if o.reason else [o.measured, o.limit]
        lines.append(row([code(o.rule), escape(o.trace), escape(o.policy), *map(escape, measured)]))
    return "\n".join(lines) + more(len(outcomes) - MOST_OUTCOMES)


def _changes(title: str, changes: Sequence[Change]) -> str:
    """Return the table of changes under a title, or an empty text if there are none."""
    if not changes:
        return ""
    lines = [f"**{title}**", "", "| trace | policy | measure | base | head | change |", "|---|---|---|---:|---:|---|"]
    shown, left = table_lines(changes, MOST_ROWS, MOST_MEASURES)
    lines += [row([escape(cell) for cell in line]) for line in shown]
    return "\n".join(lines) + more(left)


def row(cells: Sequence[str]) -> str:
    """Return one line of a Markdown table."""
    return f"| {' | '.join(cells)} |"


def more(count: int) -> str:
    """Return a line that counts the entries that are not shown, or an empty text if there are none."""
    return f"\n\nand {count:,} more" if count > 0 else ""


def escape(text: str) -> str:
    """Return the text on one line, with all characters escaped that mean something in Markdown, in HTML or in a table."""
    plain = " ".join(text.split())
    for character in "\\`*_[]<>|~#@":
        plain = plain.replace(character, f"&#{ord(character)};" if character in "<>@`|" else f"\\{character}")
    return plain


def code(text: str) -> str:
    """Return the text as a code span in a table, where only the bar and the backtick have to be replaced."""
    return f"`{' '.join(text.split()).replace('`', chr(39)).replace('|', chr(92) + '|')}`"
