"""A comparison as text: sentences and tables, JUnit XML, Markdown, and workflow commands of GitHub Actions.

The sentences are for the terminal. JUnit XML is for CI servers: a test suite for each gate, a test case for each row. Markdown is
for a pull request or a job summary. Workflow commands show failed gates as annotations of a pull request.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from xml.etree import ElementTree

from memtrace.comparing.changes import directed, value_text
from memtrace.comparing.comparison import Change, Comparison, Key, Outcome

MOST_NAMED = 4  # rows named in a list
# Characters that XML 1.0 cannot hold: control characters and lone surrogates. The name of a trace may have them.
_FORBIDDEN = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
MOST_ROWS = 30  # of a table of changes
MOST_MEASURES = 4  # of a row
MOST_OUTCOMES = 100  # failed gates that are listed
Place = tuple[str, int]  # a file's path relative to the repository, and a line of it
NO_CAUSES: Mapping[Key, str] = MappingProxyType({})
NO_PLACES: Mapping[str, Place] = MappingProxyType({})
MOST = 10  # GitHub shows at most ten errors of a step


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


def junit(comparison: Comparison, errors: Iterable[Outcome] = ()) -> bytes:
    """Return the bytes of the XML file.

    ``errors`` are outcomes of cells whose replay failed; they become a suite of their own.
    """
    root = ElementTree.Element("testsuites", name="memtrace")
    rules = dict.fromkeys(outcome.rule for outcome in comparison.outcomes)
    for rule in rules:
        _suite(root, rule, [outcome for outcome in comparison.outcomes if outcome.rule == rule], "failure", comparison.causes)
    lost = list(errors)
    if lost:
        _suite(root, "replays", lost, "error", {})
    totals = {name: sum(int(suite.get(name, "0")) for suite in root) for name in ("tests", "failures", "errors", "skipped")}
    for name, total in totals.items():
        root.set(name, str(total))
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="utf-8", xml_declaration=True) + b"\n"


def _suite(root: ElementTree.Element, name: str, outcomes: list[Outcome], problem: str, causes: Mapping[Key, str]) -> None:
    """Append a test suite of this name to the root. ``problem`` is the element of a failed case, "failure" or "error"."""
    failed = [outcome for outcome in outcomes if outcome.state == "failed"]
    counts = {
        "tests": len(outcomes),
        "failures": len(failed) if problem == "failure" else 0,
        "errors": len(failed) if problem == "error" else 0,
        "skipped": sum(outcome.state == "skipped" for outcome in outcomes),
    }
    suite = ElementTree.SubElement(root, "testsuite", {"name": clean(name), **{key: str(n) for key, n in counts.items()}})
    for outcome in outcomes:
        where = {"classname": clean(outcome.trace) or "memtrace", "name": clean(f"{outcome.policy} {outcome.rule}".strip())}
        case = ElementTree.SubElement(suite, "testcase", where)
        if outcome.state == "failed":
            found = ElementTree.SubElement(case, problem, message=clean(outcome.text), type=problem)
            found.text = clean(f"rule {outcome.rule}\n{outcome.text}{why(outcome, causes)}")
        elif outcome.state == "skipped":
            ElementTree.SubElement(case, "skipped", message=clean(outcome.text))


def clean(text: str) -> str:
    """Return the text with each character that XML cannot hold replaced."""
    return _FORBIDDEN.sub("\ufffd", text)


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
    parts.append(_causes(comparison))
    parts += [f"- {escape(note)}" for note in comparison.notes]
    for what, keys in (("Missing", comparison.missing), ("New", comparison.extra)):
        if keys:
            parts.append(f"{what}: {escape(key_list(keys))}.")
    skipped = sum(outcome.state == "skipped" for outcome in comparison.outcomes)
    if skipped:
        parts.append(f"{skipped} of {len(comparison.outcomes)} checks could not be made.")
    return "\n\n".join(part for part in parts if part) + "\n"


def _causes(comparison: Comparison) -> str:
    """Return a list of why footprints changed, or an empty text if none did."""
    lines = [f"- {escape(f'{trace}, {policy}: {text}')}" for (trace, policy), text in comparison.causes.items()]
    if not lines:
        return ""
    return "\n".join(["**Why the footprint changed**", "", *lines[:MOST_ROWS]]) + more(len(lines) - MOST_ROWS)


def why(outcome: Outcome, causes: Mapping[Key, str]) -> str:
    """Return a further line on why the footprint of an outcome's row changed; empty if it did not."""
    found = causes.get((outcome.trace, outcome.policy))
    return "" if found is None else f"\nfootprint: {found}"


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


def workflow_commands(
    outcomes: Iterable[Outcome], causes: Mapping[Key, str] = NO_CAUSES, places: Mapping[str, Place] = NO_PLACES
) -> list[str]:
    """Return a line `::error title=...::...` for each failed outcome, at most MOST; the last line then counts the others.

    ``causes`` is that of the comparison. ``places`` has the file and the line of gates by their texts: annotations stand there.
    """
    failed = [outcome for outcome in outcomes if outcome.state == "failed"]
    shown = failed if len(failed) <= MOST else failed[: MOST - 1]
    lines = []
    for o in shown:
        file, line = places.get(o.rule, ("", 0))
        where = f"file={_property(file)},line={line}," if file else ""
        lines.append(f"::error {where}title={_property(f'gate {o.rule}')}::{_message(o.text + why(o, causes))}")
    if len(shown) < len(failed):
        lines.append(f"::error title=gates::{len(failed) - len(shown)} more checks failed")
    return lines


def _message(text: str) -> str:
    """Escape a text for the message of a workflow command."""
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    """Escape a text for a property of a workflow command."""
    return _message(text).replace(":", "%3A").replace(",", "%2C")
