"""Any log, by templates of its lines: `--template 'alloc {ptr} {size}' --template 'free {ptr}'`, or named in memtrace.toml.

A template is a whole line. Text stands for itself, a blank for one or more, `{*}` for any text, and these read values: {ptr},
{size}, {old} (what a realloc was given), {align}, {count} (times the size), {thread}, {pid}, {tag}, {time} (ns, or seconds with a
fraction), {ns}, {us}, {ms}, {s}, {clock} (14:21:19.5). A template with {old} is a realloc, one with {size} an alloc, one with a
word such as free or delete, or with {ptr} alone, a free; `free=LINE`, `alloc=LINE`, `realloc=LINE` and `skip=LINE` say so. Of
several templates the first that fits a line counts; lines that none fits are left out, counted. Nothing of it is run as code.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from memtrace.errors import InputError, UsageError
from memtrace.formats._logs import LogFormat, read_log
from memtrace.formats._matching import ALL
from memtrace.formats._patterns import PUBLIC, Line, split
from memtrace.formats._reading import shown
from memtrace.names import unknown

if TYPE_CHECKING:
    from memtrace.trace.batches import Batch
    from memtrace.trace.sources import Source

NAME = "template"
SUFFIXES = ()

FILE, PROJECT, TABLE = "memtrace.toml", "pyproject.toml", "template"  # where templates are named
# Column of a trace -> fields that fill it.
COLUMNS = {"time": {"time", "ns", "us", "ms", "s", "clock"}, "align": {"align"}, "stream": {"thread"}, "tag": {"tag"}}
TRY = "try: --template 'alloc {ptr} {size}' --template 'free {ptr}'"
_KIND = re.compile(r"(alloc|free|realloc|skip)=")
_FREES = re.compile(r"free|dealloc|delete|release|unmap|destroy", re.IGNORECASE)


def sniff(head: bytes, path: str) -> bool:
    """Return False: no file is known to be of a template."""
    return False


def read(source: Source, part: str = "") -> Iterator[Batch]:
    """Yield events of numbered blocks; `part` has the templates, one a line, or the name of some in memtrace.toml.

    Raises UsageError for malformed templates, InputError if no line fits any.
    """
    format = format_of(templates_of(part))
    found = 0
    for batch in read_log(source, format, ALL):
        found += batch.rows.op.size
        yield batch
    if not found:
        first = source.head().split(b"\n", 1)[0]
        raise InputError(f"{source.label}: no line fits {' or '.join(map(repr, (line.text for line in format.lines)))}\n"
                         f"the first line is {shown(first)}")  # fmt: skip


def templates_of(part: str) -> list[str]:
    """Return the templates in a text, one a line, or those of this name in memtrace.toml or pyproject.toml of this folder."""
    if not part.strip():
        raise UsageError(f"format {NAME!r} needs templates\n{TRY}")
    if "{" in part or "=" in part:
        return [line for line in part.split("\n") if line.strip()]
    tables: dict[str, Any] = {}
    for file in (Path(PROJECT), Path(FILE)):
        try:
            document = tomllib.loads(file.read_text(encoding="utf-8"))
        except FileNotFoundError:
            continue
        except (OSError, ValueError) as error:
            raise UsageError(f"{file} cannot be read: {error}") from error
        if file.name == PROJECT:
            document = document.get("tool", {}).get("memtrace", {})
        tables |= document.get(TABLE, {})
    if part not in tables:
        raise (
            unknown("template", part, list(tables))
            if tables
            else UsageError(f"{FILE} of this folder has no table [{TABLE}] with {part!r}\n{TRY}")
        )
    lines = tables[part]
    if not isinstance(lines, list) or not lines or not all(isinstance(line, str) for line in lines):
        raise UsageError(
            f"{TABLE}.{part} of {FILE} is no list of texts\ntry: {part} = ['alloc {{ptr}} {{size}}', 'free {{ptr}}']"
        )
    return lines


def format_of(templates: list[str]) -> LogFormat:
    """Return the format of the lines that some templates describe. Raises UsageError for a malformed one."""
    lines = tuple(line_of(template) for template in templates)
    fields = {field for line in lines for field, _ in split(line.text)}
    columns = ["op", "id", "size"]
    columns += [column for column, given in COLUMNS.items() if fields & given]
    return LogFormat(NAME, lines, columns=tuple(columns), foreign="lines that fit no template, left out")


def line_of(template: str) -> Line:
    """Return the line that a template describes. Raises UsageError if it is malformed, or lacks a field that its kind needs."""
    said = _KIND.match(template)
    text = template[said.end() :] if said else template
    parts = split(text.strip())
    fields = [field for field, _ in parts if field is not None]
    if private := [field for field in fields if field not in (*PUBLIC, "*", " ") and not field.startswith("?")]:
        raise UsageError(f"{template!r}: no field {{{private[0]}}}\ntry: one of {', '.join(f'{{{name}}}' for name in PUBLIC)}")
    if twice := [field for field in PUBLIC if fields.count(field) > 1]:
        raise UsageError(f"{template!r}: {{{twice[0]}}} stands twice\ntry: {{*}} in one place")
    words = " ".join(literal for field, literal in parts if field is None)
    if said:
        kind = said[1]
    elif "old" in fields:
        kind = "realloc"
    elif {"size", "count", "align"}.intersection(fields) and not _FREES.search(words):
        kind = "alloc"
    else:
        kind = "free"
    needed = {"alloc": ("ptr", "size"), "free": ("ptr",), "realloc": ("old", "ptr", "size"), "skip": ()}[kind]
    if missing := [field for field in needed if field not in fields]:
        raise UsageError(f"{template!r}: a line of {kind} needs {{{missing[0]}}}\n{TRY}")
    return Line(kind, text.strip())
