"""Valgrind's own log of calls (`valgrind --trace-malloc=yes`): `--PID-- malloc(655) = 0x4A41040`, between any other lines.

The tag is the function that was called, as it is mangled. The process of the first call is read; `--format valgrind:PID` reads
another, `valgrind:all` all of them, each with pointers of its own. It holds neither threads nor times.
Source: valgrind, coregrind/m_replacemalloc/vg_replace_malloc.c, of versions 2.0 to 3.26.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from memtrace.formats._logs import LogFormat, chosen_process, read_log
from memtrace.formats._patterns import Line

if TYPE_CHECKING:
    from memtrace.trace.batches import Batch
    from memtrace.trace.sources import Source

NAME = "valgrind"
SUFFIXES = (".log", ".txt")

_CALL = re.compile(rb"^--(\S+ )?\d+-- [A-Za-z_]\w*(\[simd=\d\])?\((0x|\d|al |size )", re.MULTILINE)

LINES = (
    # A realloc of null is a malloc within the line; one to size 0 is a free, and the line ` = 0` follows.
    Line("alloc", "realloc(0x0,{word}){name}({size}) = {ptr}"),
    Line("free", "realloc(0x{word},{word})free({ptr})"),
    Line("realloc", "realloc({old},{size}) = {ptr}", tag="realloc"),
    Line("alloc", "calloc({count},{size}) = {ptr}", tag="calloc"),
    Line("skip", "malloc_usable_size({*}"),
    Line("alloc", "{name}({size}) = {ptr}"),
    Line("free", "{word}({ptr})"),
    Line("alloc", "{name}(al {align}, size {size}) = {ptr}"),
    Line("alloc", "{name}(size {size}, al {align}) = {ptr}"),
    Line("realloc", "reallocf({old},{size}) = {ptr}", tag="reallocf"),
    Line("realloc", "reallocarray({old},{count},{size}) = {ptr}", tag="reallocarray"),
    Line("realloc", "zone_realloc({word},{old},{size}) = {ptr}", tag="realloc"),
    Line("realloc", "realloc({word},{old},{size}) = {ptr}", tag="realloc"),
    Line("alloc", "{name}({word}, {count},{size}) = {ptr}"),
    Line("alloc", "{name}({word}, al {align}, size {size}) = {ptr}"),
    Line("alloc", "zone_malloc({word}, {size}) = {ptr}", tag="malloc"),
    Line("alloc", "malloc({word}, {size}) = {ptr}", tag="malloc"),
    Line("free", "zone_free({word}, {ptr})"),
    Line("free", "free({word}, {ptr})"),
    Line("free", "{word}({ptr}, {*})"),
    Line("skip", "{word}(al {word}, size {word})", note=1),
    Line("skip", "= {*}"),
    Line("bad", "{word}(0x{word}"),
    Line("bad", "{word}({word})"),
)
FORMAT = LogFormat(
    NAME,
    LINES,
    heads=("--{pid}-- ", "--{any} {pid}-- "),  # the second one with --time-stamp=yes
    columns=("op", "id", "size", "align", "tag"),
    notes=("aligned requests whose pointer is not in the log, left out",),
)


def sniff(head: bytes, path: str) -> bool:
    """Return whether a line is a call of Valgrind's."""
    return _CALL.search(head) is not None


def read(source: Source, part: str = "") -> Iterator[Batch]:
    """Yield events of numbered blocks; `part` is the number of the process, or "all"."""
    return read_log(source, FORMAT, chosen_process(NAME, part))
