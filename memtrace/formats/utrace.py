"""FreeBSD's and NetBSD's utrace records of malloc, as kdump prints them: `0x800b01000 = malloc(34816)`; jemalloc's utrace option.

Lines of kdump's have the process, its name and USER before the call, those of jemalloc's option `<jemalloc>:utrace: PID`. calloc
and posix_memalign are malloc there, a realloc names both pointers. The process of the first call is read, as of valgrind.
Source: FreeBSD, usr.bin/kdump/kdump.c; jemalloc, src/jemalloc.c.
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

NAME = "utrace"
SUFFIXES = (".utrace", ".txt", ".log")

_CALL = re.compile(rb"^(<jemalloc>:utrace:|\s*\d+ .* USER) .*(= (malloc|realloc)\(|free\(0x|malloc_init\()", re.MULTILINE)

FORMAT = LogFormat(
    NAME,
    (
        Line("alloc", "{ptr} = malloc({size})"),
        Line("free", "free({ptr})"),
        Line("realloc", "{ptr} = realloc({old}, {size})"),
        Line("skip", "malloc_init()"),
        Line("bad", "{*}malloc({*}"),
        Line("bad", "{*}realloc({*}"),
        Line("bad", "free({*}"),
    ),
    heads=("<jemalloc>:utrace: {pid} ", "{pid} {*} {fraction} USER {?malloc: }", "{pid} {*} USER {?malloc: }"),
    columns=("op", "id", "size", "time"),
)


def sniff(head: bytes, path: str) -> bool:
    """Return whether a line is a record of malloc's."""
    return _CALL.search(head) is not None


def read(source: Source, part: str = "") -> Iterator[Batch]:
    """Yield events of numbered blocks; `part` is the number of the process, or "all"."""
    return read_log(source, FORMAT, chosen_process(NAME, part))
