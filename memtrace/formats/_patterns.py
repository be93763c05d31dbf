"""A small language for lines of a log, such as `malloc({size}) = {ptr}`, and its compiler, to tables that `_matching` runs.

Text stands for itself, and a blank for one or more. `{FIELD}` reads a value (FIELDS), `{*}` any text, as little as possible,
`{ }` blanks or nothing, `{?TEXT}` the text or nothing, `{{` a brace. A line must fit from its first to its last character.
If a line does not fit, only what the last `{*}` took is tried again, one character more at a time, and fields have an upper bound
of characters, so the time grows with the length of the line times that of the pattern. Nothing of a pattern is run as code.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from memtrace.errors import UsageError
from memtrace.formats._calls import BAD_LINE, FREES, FREES_AGAIN, MALLOCS, REALLOCS
from memtrace.names import nearest
from memtrace.trace.model import Int64s

# Codes of operations.
END, CUT, TEXT, BLANKS, GAP, STAR, POINTER, NUMBER, TIME, CLOCK, WORD, OPTION, LEAD = range(13)
# What is read from a line, by index in its values. TAG and TAG_END are offsets in the text.
PTR, SIZE, OLD, ALIGN, COUNT, THREAD, WHEN, PROCESS, TAG, TAG_END, DELTA = range(11)
VALUES = 11

# Field -> operation, index of its value (of WORD: whether it is a tag), and a parameter: of TIME the unit in ns (0: seconds if
# there is a fraction, else ns; -1: seconds, with a fraction), of WORD the kind of word (IDENTIFIER; 0: up to a blank or the next
# character of the pattern). LEAD is what ltrace and strace write before a call.
IDENTIFIER = 1
FIELDS = {
    "ptr": (POINTER, PTR, 0),
    "old": (POINTER, OLD, 0),
    "size": (NUMBER, SIZE, 0),
    "align": (NUMBER, ALIGN, 0),
    "at": (POINTER, ALIGN, 0),  # of brk, where the program wants the break
    "count": (NUMBER, COUNT, 0),
    "thread": (NUMBER, THREAD, 0),
    "pid": (NUMBER, PROCESS, 0),
    "time": (TIME, WHEN, 0),
    "ns": (TIME, WHEN, 1),
    "us": (TIME, WHEN, 1000),
    "ms": (TIME, WHEN, 1_000_000),
    "s": (TIME, WHEN, 1_000_000_000),
    "clock": (CLOCK, WHEN, 0),
    "tag": (WORD, 1, 0),
    "name": (WORD, 1, IDENTIFIER),
    "word": (WORD, 0, IDENTIFIER),
    "any": (WORD, 0, 0),
    "fraction": (TIME, WHEN, -1),
    "lead": (LEAD, 0, 0),
    "pfn": (NUMBER, PTR, 0),
    "order": (NUMBER, SIZE, 0),
}
PUBLIC = ("ptr", "old", "size", "align", "count", "thread", "pid", "time", "ns", "us", "ms", "s", "clock", "tag")
MOST_TEXT = 200  # upper bound of the characters of a pattern

SKIPPED = 100  # kind of a line that is known and makes no event; the other kinds are those of `_calls`
KINDS = {"alloc": MALLOCS, "free": FREES, "again": FREES_AGAIN, "realloc": REALLOCS, "skip": SKIPPED, "bad": BAD_LINE}
WHOLE, BEGUN, RESUMED = range(3)  # whether a line is a whole call, or its first or second half

_PART = re.compile(r"\{\{|\}\}|\{([^{}]*)\}|([^{}]+)")


@dataclass(frozen=True)
class Line:
    """Describe one kind of line."""

    kind: str  # a key of KINDS
    text: str  # the pattern
    tag: str = ""  # tag of the block, if the line has none of its own
    half: int = WHOLE
    call: str = ""  # of a half line what joins it with its other half, on the same thread
    note: int = 0  # which of the format's notes counts it; 0: none
    pages: bool = False  # the pointer counts pages, and the size is the logarithm of the number of pages


class Program(NamedTuple):
    """Store compiled patterns."""

    ops: Int64s  # [n, 4] code and parameters
    text: NDArray[np.uint8]  # the literal texts
    heads: Int64s  # index of the first operation of each head
    lines: Int64s  # [m, 8] index of the first operation, first byte or 0, kind, half, call, note, pages, tag


def compiled_patterns(heads: Iterable[str], lines: Iterable[Line], tags: list[str]) -> Program:
    """Return the tables of some lines, each of which stands behind one of `heads`; the lines' tags are appended to `tags`."""
    ops: list[tuple[int, int, int, int]] = []
    text = bytearray()
    calls: list[str] = []
    begins = []
    for head in heads:
        begins.append(len(ops))
        ops += [*parsed(head, text), (CUT, 0, 0, 0)]
    rows = []
    for line in lines:
        first = len(ops)
        ops += [*parsed(line.text, text), (END, 0, 0, 0)]
        byte = text[ops[first][1]] if ops[first][0] == TEXT else 0
        for known, new in ((calls, line.call), (tags, line.tag)):
            if new and new not in known:
                known.append(new)
        call, tag = (known.index(new) if new else -1 for known, new in ((calls, line.call), (tags, line.tag)))
        rows.append((first, byte, KINDS[line.kind], line.half, call, line.note, int(line.pages), tag))
    return Program(
        ops=np.array(ops, np.int64).reshape(-1, 4),
        text=np.frombuffer(bytes(text) or b"\0", np.uint8),
        heads=np.array(begins, np.int64),
        lines=np.array(rows, np.int64).reshape(-1, 8),
    )


def parsed(pattern: str, text: bytearray) -> list[tuple[int, int, int, int]]:
    """Return the operations of a pattern; its literal texts are appended to `text`. Raises UsageError if it is malformed."""
    parts = split(pattern)
    ops = []
    for place, (field, literal) in enumerate(parts):
        following = parts[place + 1] if place + 1 < len(parts) else (None, "")
        if field is None:
            for piece in re.findall(r"[ \t]+|[^ \t]+", literal):
                ops.append((BLANKS, 0, 0, 0) if piece.isspace() else (TEXT, *_put(piece, text), 0))
        elif field == "*":
            ops.append((STAR, 0, 0, 0))
        elif field == " ":
            ops.append((GAP, 0, 0, 0))
        elif field.startswith("?"):
            ops.append((OPTION, *_put(field[1:], text), 0))
        else:
            code, value, parameter = FIELDS[field]
            stop = ord(following[1][0]) if following[0] is None and following[1] and ord(following[1][0]) < 128 else 0
            last = stop if code == WORD and not parameter else int(following[0] is not None or not following[1])
            ops.append((code, value, parameter, last))
    return ops


def _put(piece: str, text: bytearray) -> tuple[int, int]:
    """Append a literal to `text`, and return its place and length in bytes."""
    data = piece.encode()
    text += data
    return len(text) - len(data), len(data)


def split(pattern: str) -> list[tuple[str | None, str]]:
    """Return the parts of a pattern: (field, "") or (None, literal text). Raises UsageError if it is malformed."""
    if len(pattern) > MOST_TEXT:
        raise UsageError(f"the template has {len(pattern):,} characters, of at most {MOST_TEXT}: {pattern[:40]}...")
    parts: list[tuple[str | None, str]] = []
    at = 0
    for found in _PART.finditer(pattern):
        if found.start() != at:
            break
        at = found.end()
        field, literal = found[1], found[2] or (found[0][0] if found[1] is None else "")
        if field is None and parts and parts[-1][0] is None:
            parts[-1] = (None, parts[-1][1] + literal)
        else:
            parts.append((field, literal))
        if field is not None and field not in ("*", " ") and not field.startswith("?") and field not in FIELDS:
            near = nearest(field, PUBLIC)
            hint = f"; did you mean {{{near}}}?" if near else ""
            raise UsageError(
                f"{pattern!r}: no field {{{field}}}{hint}\ntry: one of {', '.join(f'{{{name}}}' for name in PUBLIC)}"
            )
    if at != len(pattern):
        raise UsageError(f"{pattern!r}: a brace without its other half at character {at + 1}\ntry: {{{{ for a brace")
    for (one, _), (other, _) in pairwise(parts):
        if one == "*" and other == "*":
            raise UsageError(f"{pattern!r}: {{*}} twice in a row")
    return parts
