"""Lists of `Alloc(SIZE),` and `Free(N),`, N the allocation's number from 0, as made from `valgrind --trace-malloc=yes`.

A realloc is a free and an alloc there. Source: rustwasm/wee_alloc, trace-malloc-free.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from memtrace.contract.calls import out_of_line
from memtrace.formats._reading import LINE, CallFormat, read_rows
from memtrace.formats._text import compiled, decimal, next_line
from memtrace.trace.batches import MISSING, UNREADABLE
from memtrace.trace.model import Op

if TYPE_CHECKING:
    from memtrace.trace.batches import Batch
    from memtrace.trace.sources import Source

NAME = "wee_alloc"
SUFFIXES = (".trace",)

ALLOC, FREE = int(Op.ALLOC), int(Op.FREE)
NEXT = 1  # index in the parser's state of the next allocation's number

_HEAD = re.compile(rb"\s*(Alloc|Free)\(\d+\),?\s*$", re.MULTILINE)


def sniff(head: bytes, path: str) -> bool:
    """Return whether the first line is an allocation or a free."""
    return _HEAD.match(head) is not None


def read(source: Source) -> Iterator[Batch]:
    """Yield events whose ids are the allocations' numbers."""
    return read_rows(source, CallFormat(NAME, parse, ("op", "id", "size")))


@out_of_line
def closes(text, at, end):  # type: ignore[no-untyped-def]
    """Return whether `)` or `),` is all that is left of the line at offset `at`."""
    if at < 0 or at >= end or text[at] != 41:
        return False
    return at + 1 == end or (at + 2 == end and text[at + 1] == 44)


@compiled
def parse(text, at, rows, state):  # type: ignore[no-untyped-def]
    """Parse lines from offset `at` on; returns (offset of the next line, number of rows written).

    `rows` are Calls in which `kind` is an op and `pointer` an id.
    """
    filled = 0
    while at < text.size and filled < rows.kind.size:
        start, end, following = next_line(text, at)
        at, line = following, state[LINE]
        state[LINE] += 1
        if start == end:
            continue
        op, id, size = UNREADABLE, MISSING, start
        if end - start > 6 and text[start] == 65 and text[start + 2] == 108 and text[start + 5] == 40:
            number, place = decimal(text, start + 6, end)
            if closes(text, place, end):
                op, id, size = ALLOC, state[NEXT], number
                state[NEXT] += 1
        elif end - start > 5 and text[start] == 70 and text[start + 1] == 114 and text[start + 4] == 40:
            number, place = decimal(text, start + 5, end)
            if closes(text, place, end):
                op, id, size = FREE, number, MISSING
        rows.kind[filled], rows.pointer[filled], rows.old[filled], rows.size[filled] = op, id, MISSING, size
        rows.thread[filled], rows.time[filled], rows.line[filled] = MISSING, MISSING, line
        filled += 1
    return at, filled
