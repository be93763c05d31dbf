"""Android's memory_replay and malloc_debug record_allocs text: `TID: malloc POINTER SIZE [START END]`, often in a zip.

Calls malloc, calloc, memalign, realloc, free, thread_done; times, where there are any, are those at which a call
began, in ns. Threads become streams. Source: AOSP, platform/system/extras, memory_replay.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from memtrace.formats._calls import BAD_LINE, FREES, MALLOCS, REALLOCS, THREAD_ENDS
from memtrace.formats._reading import LINE, CallFormat, read_calls
from memtrace.formats._text import after, code_of, compiled, decimal, hexadecimal, next_line, product, word
from memtrace.trace.batches import MISSING

if TYPE_CHECKING:
    from memtrace.trace.batches import Batch
    from memtrace.trace.sources import Source

NAME = "android"
SUFFIXES = (".txt",)

# Hashes of the names of calls.
MALLOC, CALLOC, MEMALIGN = code_of(b"malloc"), code_of(b"calloc"), code_of(b"memalign")
REALLOC, FREE, THREAD_DONE = code_of(b"realloc"), code_of(b"free"), code_of(b"thread_done")

_CALL = re.compile(rb"\s*\d+: *(malloc|calloc|memalign|realloc|free|thread_done) (0x)?[0-9a-fA-F]+\b")


def sniff(head: bytes, path: str) -> bool:
    """Return whether the first line is a call of a thread."""
    return _CALL.match(head) is not None


def read(source: Source) -> Iterator[Batch]:
    """Yield events of numbered blocks; the stream is the thread's id."""
    return read_calls(source, CallFormat(NAME, parse, ("op", "id", "size", "time", "align", "stream")))


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
        kind, pointer, old, size, time = BAD_LINE, 0, MISSING, 0, MISSING
        tid, place = decimal(text, start, end)
        place = after(text, place, end, 58)
        good = place >= 0
        if good:
            while place < end and text[place] == 32:
                place += 1
            name, place = word(text, place, end)
            pointer, place = hexadecimal(text, place, end)
            if name == MALLOC:
                kind = MALLOCS
                size, place = decimal(text, place, end)
            elif name == FREE:
                kind = FREES
            elif name == CALLOC:
                kind = MALLOCS
                items, place = decimal(text, place, end)
                size, place = decimal(text, place, end)
                size = product(items, size)
            elif name == REALLOC:
                kind = REALLOCS
                old, place = hexadecimal(text, place, end)
                size, place = decimal(text, place, end)
            elif name == MEMALIGN:
                kind = MALLOCS
                old, place = decimal(text, place, end)
                size, place = decimal(text, place, end)
            elif name == THREAD_DONE:
                kind = THREAD_ENDS
            if place >= 0 and place < end:
                time, place = decimal(text, place, end)
                if kind != THREAD_ENDS:
                    _, place = decimal(text, place, end)
            good = place == end and kind != BAD_LINE
        if kind == THREAD_ENDS:
            time = MISSING
        if not good:
            kind, size, tid, time = BAD_LINE, start, MISSING, MISSING
        calls.kind[filled], calls.pointer[filled], calls.old[filled], calls.size[filled] = kind, pointer, old, size
        calls.thread[filled], calls.time[filled], calls.line[filled] = tid, time, line
        filled += 1
    return at, filled
