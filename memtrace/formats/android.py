"""Android's memory_replay and malloc_debug record_allocs text: `TID: malloc POINTER SIZE [START END]`, often in a zip.

Calls malloc, calloc, memalign, realloc, free, thread_done; times, where there are any, are those at which a call
began, in ns. Threads become streams. Source: AOSP, platform/system/extras, memory_replay.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from memtrace.formats._calls import BAD_LINE, FREES, MALLOCS, REALLOCS, THREAD_ENDS
from memtrace.formats._compiling import compiled
from memtrace.formats._reading import LINE, CallFormat, read_calls
from memtrace.formats._scan import decimal, hexadecimal, next_line, product
from memtrace.trace.raw import MISSING

if TYPE_CHECKING:
    from memtrace.trace.raw import Batch
    from memtrace.trace.source import Source

NAME = "android"
SUFFIXES = (".txt",)

_CALL = re.compile(rb"\s*\d+: *(malloc|calloc|memalign|realloc|free|thread_done) (0x)?[0-9a-fA-F]+\b")


def sniff(head: bytes, path: str) -> bool:
    """Whether the first line is a call of a thread."""
    return _CALL.match(head) is not None


def read(source: Source) -> Iterator[Batch]:
    """Events of numbered blocks; the stream is the thread's id."""
    return read_calls(source, CallFormat(NAME, parse, ("op", "id", "size", "time", "align", "stream")))


@compiled
def parse(text, at, calls, state):  # type: ignore[no-untyped-def]
    """Read lines from `at` on."""
    filled = 0
    while at < text.size and filled < calls.kind.size:
        start, end, following = next_line(text, at)
        at, line = following, state[LINE]
        state[LINE] += 1
        if start == end:
            continue
        kind, pointer, old, size, time = BAD_LINE, 0, MISSING, 0, MISSING
        tid, place = decimal(text, start, end)
        good = place >= 0 and place < end and text[place] == 58
        if good:
            place += 1
            while place < end and text[place] == 32:
                place += 1
            word, length = text[place], 0
            while place < end and text[place] != 32:
                place, length = place + 1, length + 1
            pointer, place = hexadecimal(text, place, end)
            # First letter and length tell malloc, free, calloc, realloc, memalign, thread_done apart.
            if word == 109 and length == 6:
                kind = MALLOCS
                size, place = decimal(text, place, end)
            elif word == 102 and length == 4:
                kind = FREES
            elif word == 99 and length == 6:
                kind = MALLOCS
                items, place = decimal(text, place, end)
                size, place = decimal(text, place, end)
                size = product(items, size)
            elif word == 114 and length == 7:
                kind = REALLOCS
                old, place = hexadecimal(text, place, end)
                size, place = decimal(text, place, end)
            elif word == 109 and length == 8:
                kind = MALLOCS
                old, place = decimal(text, place, end)
                size, place = decimal(text, place, end)
            elif word == 116 and length == 11:
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
