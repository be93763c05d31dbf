"""Malloc-lab traces (.rep) of CS:APP and the courses after it: a header of numbers, then `a ID SIZE`, `r ID SIZE`, `f ID`.

The header says heap size (or weight), ids, operations, weight; it is compared with what is there. `f -1` frees null.
Ids are kept. Source: CS:APP malloc lab, traces/README.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from memtrace.formats._compiling import compiled
from memtrace.formats._reading import LINE, CallFormat, read_rows
from memtrace.formats._scan import decimal, next_line
from memtrace.trace.model import Int64s, Op
from memtrace.trace.raw import MISSING, UNREADABLE

if TYPE_CHECKING:
    from memtrace.trace.raw import Batch
    from memtrace.trace.source import Source

NAME = "rep"
SUFFIXES = (".rep",)

ALLOC, FREE, REALLOC = int(Op.ALLOC), int(Op.FREE), int(Op.REALLOC)
HEADER, OPERATIONS, ANNOUNCED = 1, 2, 3  # places in the parser's state
HEADER_LINES, MOST_HEADER_LINES = 4, 8

_HEAD = re.compile(rb"\s*(\d+[ \t]*\r?\n\s*){3,8}([ar] \d+ \d+|f -?\d+)\b")


def sniff(head: bytes, path: str) -> bool:
    """Whether a header of numbers is followed by an operation."""
    return _HEAD.match(head) is not None


def read(source: Source) -> Iterator[Batch]:
    """Events with the file's ids."""
    return read_rows(source, CallFormat(NAME, parse, ("op", "id", "size"), notes=notes))


def notes(state: Int64s) -> list[str]:
    said = []
    if state[HEADER] != HEADER_LINES:
        said.append(f"the header has {state[HEADER]} lines, not {HEADER_LINES}: not compared with the operations")
    elif state[ANNOUNCED] != state[OPERATIONS]:
        said.append(f"the header announces {state[ANNOUNCED]:,} operations, the file has {state[OPERATIONS]:,}")
    return said


@compiled
def parse(text, at, rows, state):  # type: ignore[no-untyped-def]
    """Read lines from `at` on."""
    filled = 0
    while at < text.size and filled < rows.kind.size:
        start, end, following = next_line(text, at)
        at, line = following, state[LINE]
        state[LINE] += 1
        if start == end:
            continue
        number, place = decimal(text, start, end)
        if place == end and state[OPERATIONS] == 0 and state[HEADER] < MOST_HEADER_LINES:
            state[HEADER] += 1
            if state[HEADER] == 3:
                state[ANNOUNCED] = number
            continue
        letter, op, id, size = text[start], UNREADABLE, MISSING, MISSING
        if end - start >= 3 and text[start + 1] == 32:
            if letter == 102 and end - start == 4 and text[start + 2] == 45 and text[start + 3] == 49:  # f -1
                op = FREE
            else:
                id, place = decimal(text, start + 1, end)
                if letter == 102:
                    op = FREE
                elif letter == 97 or letter == 114:
                    op = ALLOC if letter == 97 else REALLOC
                    size, place = decimal(text, place, end)
                if place != end:
                    op = UNREADABLE
        if op == UNREADABLE:
            id, size = MISSING, start
        state[OPERATIONS] += op != UNREADABLE
        rows.kind[filled], rows.pointer[filled], rows.old[filled], rows.size[filled] = op, id, MISSING, size
        rows.thread[filled], rows.time[filled], rows.line[filled] = MISSING, MISSING, line
        filled += 1
    return at, filled
