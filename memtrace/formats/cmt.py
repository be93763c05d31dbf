"""Text traces of Compact Memory Traces: `malloc(8) = 81d220b48<6655>`, with the number of the allocation behind each pointer.

They are made of FreeBSD's kdump or of dtrace logs; `# ...` behind a line is a comment. Source: the tool's README and trace2cmt.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from memtrace.formats._logs import LogFormat, read_log
from memtrace.formats._patterns import Line

if TYPE_CHECKING:
    from memtrace.trace.batches import Batch
    from memtrace.trace.sources import Source

NAME = "cmt"
SUFFIXES = (".trace", ".cmt")

_CALL = re.compile(rb"^(\w+\(.*\) = [0-9a-f]+<\d+>|free\((0x)?[0-9a-f]+<\d+>\))", re.MULTILINE)
_END = "<{word}>{*}"

FORMAT = LogFormat(
    NAME,
    (
        Line("alloc", "malloc({size}) = {ptr}" + _END, "malloc"),
        Line("free", "free({ptr}" + _END),
        Line("realloc", "realloc({old}<{word}>, {size}) = {ptr}" + _END, "realloc"),
        Line("alloc", "calloc({count}, {size}) = {ptr}" + _END, "calloc"),
        Line("alloc", "aligned_alloc({align}, {size}) = {ptr}" + _END, "aligned_alloc"),
        Line("alloc", "posix_memalign({align}, {size}) = {ptr}" + _END, "posix_memalign"),
        Line("alloc", "realloc({word}, {size}) = {ptr}" + _END, "realloc"),
        Line("free", "free({ptr})"),
        Line("skip", "#{*}"),
        Line("bad", "{word}({*}"),
    ),
    columns=("op", "id", "size", "align", "tag"),
)


def sniff(head: bytes, path: str) -> bool:
    """Return whether a line is a call with a numbered pointer."""
    return _CALL.search(head) is not None


def read(source: Source) -> Iterator[Batch]:
    """Yield events of numbered blocks."""
    return read_log(source, FORMAT)
