"""A comparison -> Markdown for a pull request or a job summary."""

from __future__ import annotations

from collections.abc import Sequence

from memtrace.comparing.model import Change, Comparison, Outcome
from memtrace.comparing.sentences import headline, key_list, table_lines

MOST_ROWS = 30
MOST_MEASURES = 4
MOST_OUTCOMES = 100


def markdown(comparison: Comparison, title: str = "memtrace") -> str:
    """Verdict, failed gates, changes, notes; of long lists the worst, and how many more."""
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
    lines = ["| gate | trace | policy | measured | limit |", "|---|---|---|---:|---:|"]
    for o in outcomes[:MOST_OUTCOMES]:
        measured = [o.reason, ""] if o.reason else [o.measured, o.limit]
        lines.append(row([code(o.rule), escape(o.trace), escape(o.policy), *map(escape, measured)]))
    return "\n".join(lines) + more(len(outcomes) - MOST_OUTCOMES)


def _changes(title: str, changes: Sequence[Change]) -> str:
    if not changes:
        return ""
    lines = [f"**{title}**", "", "| trace | policy | measure | base | head | change |", "|---|---|---|---:|---:|---|"]
    shown, left = table_lines(changes, MOST_ROWS, MOST_MEASURES)
    lines += [row([escape(cell) for cell in line]) for line in shown]
    return "\n".join(lines) + more(left)


def row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def more(count: int) -> str:
    return f"\n\nand {count:,} more" if count > 0 else ""


def escape(text: str) -> str:
    """Text that means nothing in Markdown, HTML or a table."""
    plain = " ".join(text.split())
    for character in "\\`*_[]<>|~#@":
        plain = plain.replace(character, f"&#{ord(character)};" if character in "<>@`|" else f"\\{character}")
    return plain


def code(text: str) -> str:
    """In a code span, where only the bar of the table and the backtick are special."""
    return f"`{' '.join(text.split()).replace('`', chr(39)).replace('|', chr(92) + '|')}`"
