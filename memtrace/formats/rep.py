"""Malloc-lab traces (.rep) of CS:APP and the courses after it: a header of numbers, then `a ID SIZE`, `r ID SIZE`, `f ID`.

The header says heap size (or weight), ids, operations, weight (or peak), in lines or in one line, as fscanf reads it;
some courses keep ids and operations only, or none. The announced number of operations is compared with that in the file.
`f -1` frees null, `#` begins a comment. Ids are kept. Source: CS:APP malloc lab, traces/README.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from memtrace.contract.calls import out_of_line
from memtrace.formats._reading import LINE, CallFormat, read_rows
from memtrace.formats._text import compiled, decimal, next_line
from memtrace.trace.batches import MISSING, UNREADABLE
from memtrace.trace.model import Int64s, Op

if TYPE_CHECKING:
    from memtrace.trace.batches import Batch
    from memtrace.trace.sources import Source

NAME = "rep"
SUFFIXES = (".rep",)

ALLOC, FREE, REALLOC = int(Op.ALLOC), int(Op.FREE), int(Op.REALLOC)
# Indices in the parser's state: numbers in the header, operations in the file, the header's second and third number, comments.
HEADER, OPERATIONS, SECOND, THIRD, COMMENTS = 1, 2, 3, 4, 5
MOST_HEADER = 8  # upper bound of the numbers in the header

_CALL = rb"([ar][ \t]+\d+[ \t]+\d+|f[ \t]+-?\d+)[ \t]*\r?$"
_HEAD = re.compile(rb"\s*(\d+\s+){2,8}" + _CALL, re.MULTILINE)
_BARE = re.compile(rb"a[ \t]+\d+[ \t]+\d+[ \t]*\r?\n\s*" + _CALL, re.MULTILINE)
_COMMENTS = re.compile(rb"(\s*#[^\n]*\n)*\s*")


def sniff(head: bytes, path: str) -> bool:
    """Return whether a header of numbers is followed by an operation, or two operations come first; comments may come before."""
    start = _COMMENTS.match(head)
    at = start.end() if start else 0
    return _HEAD.match(head, at) is not None or _BARE.match(head, at) is not None


def read(source: Source) -> Iterator[Batch]:
    """Yield events with the file's ids."""
    return read_rows(source, CallFormat(NAME, parse, ("op", "id", "size"), notes=notes))


def notes(state: Int64s) -> list[str]:
    """Return the sentences for the metadata that the parser's state at the end of the file calls for."""
    said = []
    announced = {2: state[SECOND], 4: state[THIRD]}.get(int(state[HEADER]))
    if announced is None:
        said.append(f"the header has {state[HEADER]} numbers, not 4: not compared with the operations")
    elif announced != state[OPERATIONS]:
        said.append(f"the header announces {announced:,} operations, the file has {state[OPERATIONS]:,}")
    if state[HEADER] == 2:
        said.append("the header has 2 numbers, not 4: taken as ids and operations")
    if state[COMMENTS]:
        said.append(f"comments, left out: {state[COMMENTS]:,}")
    return said


@out_of_line
def header(text, at, end, state):  # type: ignore[no-untyped-def]
    """Read a line `text[at:end]` as numbers of the header into `state`, in place.

    Returns False if the line contains anything else or the header more than MOST_HEADER numbers; the count then stays.
    """
    count = state[HEADER]
    place = at
    while place < end:
        number, place = decimal(text, place, end)
        count += 1
        if place < 0 or count > MOST_HEADER or (place < end and text[place] != 32 and text[place] != 9):
            return False
        if count == 2:
            state[SECOND] = number
        elif count == 3:
            state[THIRD] = number
    state[HEADER] = count
    return True


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
        if text[start] == 35:  # '#'
            state[COMMENTS] += 1
            continue
        if state[OPERATIONS] == 0 and np.uint8(text[start] - 48) <= 9 and header(text, start, end, state):
            continue
        letter, op, id, size = text[start], UNREADABLE, MISSING, MISSING
        place = start + 1
        while place < end and (text[place] == 32 or text[place] == 9):
            place += 1
        if place > start + 1:
            if letter == 102 and end - place == 2 and text[place] == 45 and text[place + 1] == 49:  # f -1
                op = FREE
            else:
                id, place = decimal(text, place, end)
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
