"""Lines that FreeRTOS's macros traceMALLOC and traceFREE print: `traceMALLOC(0x20001000, 128)`, between any other lines.

FreeRTOS calls traceMALLOC(pvAddress, uiSize) and traceFREE(pvAddress, uiSize), and leaves it to the project what they do; read
are lines with the macro's name and its two arguments, in parentheses or behind blanks. Other lines need a template.
Source: FreeRTOS-Kernel, portable/MemMang/heap_4.c.
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

NAME = "freertos"
SUFFIXES = (".log", ".txt")

_CALL = re.compile(rb"\btrace(MALLOC|FREE)[ (:]+(0x)?[0-9a-fA-F]+,? *\d+")

FORMAT = LogFormat(
    NAME,
    (
        Line("alloc", "{*}traceMALLOC({ }{ptr},{ }{size}{*}"),
        Line("free", "{*}traceFREE({ }{ptr},{*}"),
        Line("alloc", "{*}traceMALLOC{?:} {ptr}{?,} {size}"),
        Line("free", "{*}traceFREE{?:} {ptr}{?,} {word}"),
        Line("bad", "{*}traceMALLOC{*}"),
        Line("bad", "{*}traceFREE{*}"),
    ),
    columns=("op", "id", "size"),
)


def sniff(head: bytes, path: str) -> bool:
    """Return whether a line has such a macro with its arguments."""
    return _CALL.search(head) is not None


def read(source: Source) -> Iterator[Batch]:
    """Yield events of numbered blocks."""
    return read_log(source, FORMAT)
