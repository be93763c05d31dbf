"""Mozilla's replace-malloc log: `PID TID malloc(SIZE)=POINTER`, and as logalloc_munge.py leaves it (`#1` for pointers).

malloc, calloc, realloc, free, memalign, posix_memalign, aligned_alloc, valloc; older logs have no TID. As in
logalloc-replay, only the process of the first line is read; lines of others are left out. Threads are numbered by first
appearance, because pthread ids do not fit a stream. Source: mozilla-central, memory/replace/logalloc.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from memtrace.contract.calls import out_of_line
from memtrace.formats._calls import BAD_LINE, FREES, MALLOCS, REALLOCS
from memtrace.formats._reading import LINE, CallFormat, read_calls
from memtrace.formats._text import after, code_of, compiled, decimal, hexadecimal, next_line, product, word
from memtrace.trace.batches import MISSING
from memtrace.trace.model import Int64s

if TYPE_CHECKING:
    from memtrace.trace.batches import Batch
    from memtrace.trace.sources import Source

NAME = "logalloc"
SUFFIXES = (".log",)

# Indices in the parser's state: whether a call was read, the process's id, and numbers of lines left out.
BEGUN, PROCESS, OTHER_PROCESSES, OTHER_CALLS = 1, 2, 3, 4
MALLOC, VALLOC, CALLOC, FREE = code_of(b"malloc"), code_of(b"valloc"), code_of(b"calloc"), code_of(b"free")
REALLOC, MEMALIGN = code_of(b"realloc"), code_of(b"memalign")
POSIX_MEMALIGN, ALIGNED_ALLOC = code_of(b"posix_memalign"), code_of(b"aligned_alloc")
PAGE = 4096  # alignment of valloc's blocks, in bytes

_HEAD = re.compile(rb"\s*\d+ (\d+ )?[a-z_]+\([#x0-9a-f,() nil]*\)(=\S+)?\s*$", re.MULTILINE)


def sniff(head: bytes, path: str) -> bool:
    """Return whether the first line is a call of a process."""
    return _HEAD.match(head) is not None


def read(source: Source) -> Iterator[Batch]:
    """Yield events of numbered blocks of the first process."""
    columns = ("op", "id", "size", "align", "stream")
    return read_calls(source, CallFormat(NAME, parse, columns, code_threads=True, notes=notes))


def notes(state: Int64s) -> list[str]:
    """Return the sentences for the metadata that the parser's state at the end of the file calls for."""
    said = []
    if state[OTHER_PROCESSES]:
        said.append(f"calls of other processes than {state[PROCESS]}, left out: {state[OTHER_PROCESSES]:,}")
    if state[OTHER_CALLS]:
        said.append(f"calls that move no memory, left out: {state[OTHER_CALLS]:,}")
    return said


@out_of_line
def handle(text, at, end):  # type: ignore[no-untyped-def]
    """Return (number, offset behind) of a pointer, or of `#` and a decimal number; the offset is -1 if there is none."""
    if at >= 0 and at < end and text[at] == 35:
        return decimal(text, at + 1, end)
    return hexadecimal(text, at, end)


@compiled
def parse(text, at, calls, state):  # type: ignore[no-untyped-def]
    """Parse lines from offset `at` on into `calls`; returns (offset of the next line, number of calls written)."""
    filled = 0
    while at < text.size and filled < calls.kind.size:
        start, end, following = next_line(text, at)
        at, line = following, state[LINE]
        state[LINE] += 1
        if start == end:
            continue
        kind, pointer, old, size, other = BAD_LINE, 0, MISSING, 0, False
        process, place = decimal(text, start, end)
        thread, behind = decimal(text, place, end)
        if behind >= 0:
            place = behind
        else:
            thread = process
        name, place = word(text, place + 1, end) if after(text, place, end, 32) >= 0 else (np.int64(0), np.int64(-1))
        place = after(text, place, end, 40)
        if place >= 0:
            if name == MALLOC or name == VALLOC:
                kind, old = MALLOCS, (PAGE if name == VALLOC else MISSING)
                size, place = decimal(text, place, end)
            elif name == CALLOC:
                kind = MALLOCS
                size, place = decimal(text, place, end)
                items, place = decimal(text, after(text, place, end, 44), end)
                size = product(size, items)
            elif name == FREE:
                kind = FREES
                pointer, place = handle(text, place, end)
            elif name == REALLOC:
                kind = REALLOCS
                old, place = handle(text, place, end)
                size, place = decimal(text, after(text, place, end, 44), end)
            elif name == MEMALIGN or name == POSIX_MEMALIGN or name == ALIGNED_ALLOC:
                kind = MALLOCS
                old, place = decimal(text, place, end)
                size, place = decimal(text, after(text, place, end, 44), end)
            else:
                other = text[end - 1] == 41
            if kind != BAD_LINE:
                place = after(text, place, end, 41)
                if kind != FREES:
                    pointer, place = handle(text, after(text, place, end, 61), end)
                if place != end:
                    kind = BAD_LINE
        if other:
            state[OTHER_CALLS] += 1
            continue
        if kind == BAD_LINE:
            size, thread = start, MISSING
        elif not state[BEGUN]:
            state[BEGUN], state[PROCESS] = 1, process
        elif process != state[PROCESS]:
            state[OTHER_PROCESSES] += 1
            continue
        calls.kind[filled], calls.pointer[filled], calls.old[filled], calls.size[filled] = kind, pointer, old, size
        calls.thread[filled], calls.time[filled], calls.line[filled] = thread, MISSING, line
        filled += 1
    return at, filled
