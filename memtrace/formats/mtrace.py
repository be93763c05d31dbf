"""glibc's mtrace text (MALLOC_TRACE): `@ program:[caller] + POINTER SIZE`, `-` frees, `<` and `>` are a realloc.

It holds neither threads nor times nor alignments (memalign and calloc are `+` too). A line is read from its end,
because a program's path may hold anything. Source: glibc, malloc/mtrace-impl.c.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from memtrace.contract.calls import out_of_line
from memtrace.formats._calls import BAD_LINE, FREES, HALF_REALLOC, MALLOCS, REALLOCS
from memtrace.formats._reading import LINE, CallFormat, read_calls
from memtrace.formats._text import compiled, hexadecimal, next_line
from memtrace.trace.batches import MISSING
from memtrace.trace.model import Int64s

if TYPE_CHECKING:
    from memtrace.trace.batches import Batch
    from memtrace.trace.sources import Source

NAME = "mtrace"
SUFFIXES = (".mtrace",)

# Indices in the parser's state: the pointer of a `<` line, whether its `>` line is awaited, and the number of Start lines.
OLD, WAITING, STARTS = 1, 2, 3

_CALL = re.compile(rb"(@ .*)?([+>!] (0x[0-9a-f]+|\(nil\)) (0x[0-9a-f]+|0)|[-<] (0x[0-9a-f]+|\(nil\)))\r?$", re.MULTILINE)


def sniff(head: bytes, path: str) -> bool:
    """Return whether the file begins with mtrace's first line, or with one of its calls."""
    return head.startswith(b"= Start") or _CALL.match(head) is not None


def read(source: Source) -> Iterator[Batch]:
    """Yield events of numbered blocks."""
    return read_calls(source, CallFormat(NAME, parse, ("op", "id", "size"), notes=notes))


def notes(state: Int64s) -> list[str]:
    """Return the sentences for the metadata that the parser's state at the end of the file calls for."""
    said = []
    if state[WAITING]:
        said.append("the file ends in the middle of a realloc: left out")
    if state[STARTS] > 1:
        said.append(f"{state[STARTS]} recordings in one file: blocks that one leaves are live in the next")
    return said


@out_of_line
def word_before(text, start, end):  # type: ignore[no-untyped-def]
    """Return the half-open interval (start, end) of the last word before `end`, not before `start`; empty if there is none."""
    while end > start and (text[end - 1] == 32 or text[end - 1] == 9):
        end -= 1
    at = end
    while at > start and text[at - 1] != 32 and text[at - 1] != 9:
        at -= 1
    return at, end


@compiled
def parse(text, at, calls, state):  # type: ignore[no-untyped-def]
    """Parse lines from offset `at` on into `calls`; returns (offset of the next line, number of calls written).

    A line can make two calls: a first half of a realloc without its second half, and the line's own call.
    """
    filled = 0
    while at < text.size and filled + 1 < calls.kind.size:
        start, end, following = next_line(text, at)
        at, line = following, state[LINE]
        state[LINE] += 1
        if start == end:
            continue
        last, _ = word_before(text, start, end)
        middle, middle_end = word_before(text, start, last)
        first, first_end = word_before(text, start, middle)
        kind, pointer, old, size = BAD_LINE, 0, MISSING, start
        one, stop = hexadecimal(text, last, end)
        if text[last] != 48 and text[last] != 40:  # neither 0x... nor (nil)
            stop = -1
        if stop == end and middle_end - middle == 1 and (text[middle] == 45 or text[middle] == 60):
            kind = FREES if text[middle] == 45 else REALLOCS
            pointer = one
        elif stop == end and first_end - first == 1 and (text[middle] == 48 or text[middle] == 40):
            pointer, stop = hexadecimal(text, middle, middle_end)
            sign = text[first]
            if stop == middle_end:
                size = one
                if sign == 43:  # +
                    kind = MALLOCS
                elif sign == 62:  # >
                    kind = REALLOCS if state[WAITING] else MALLOCS
                    old = state[OLD] if state[WAITING] else MISSING
                    state[WAITING] = 0
                elif sign == 33:  # !
                    kind, pointer = MALLOCS, 0
                else:
                    size = start
        if kind == BAD_LINE and text[start] == 61:  # = Start, = End
            state[STARTS] += text[last] == 83
            continue
        if state[WAITING]:
            # The `<` line that was read before has no `>` line.
            calls.kind[filled], calls.pointer[filled], calls.old[filled] = HALF_REALLOC, state[OLD], MISSING
            calls.size[filled], calls.line[filled] = 0, line - 1
            calls.thread[filled], calls.time[filled] = MISSING, MISSING
            state[WAITING] = 0
            filled += 1
        if kind == REALLOCS and old == MISSING:
            state[OLD], state[WAITING] = pointer, 1  # <
            continue
        calls.kind[filled], calls.pointer[filled], calls.old[filled], calls.size[filled] = kind, pointer, old, size
        calls.thread[filled], calls.time[filled], calls.line[filled] = MISSING, MISSING, line
        filled += 1
    return at, filled
