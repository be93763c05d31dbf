"""Calls of malloc and its relatives in a log of ltrace (`ltrace -f -o FILE PROGRAM`), among the calls of other functions.

`malloc(655) = 0x55c44788e2a0`, with or without the object that called (`prog->`), thread and time; the two halves of a call that
another thread interrupted are joined. C++'s operators are read by their mangled or their plain names. The tag is the function.
ltrace sees calls between the program and its libraries only, and writes no pointer that posix_memalign returns.
Source: ltrace 0.7, its output.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from memtrace.formats._logs import LogFormat, read_log
from memtrace.formats._patterns import BEGUN, RESUMED, Line

if TYPE_CHECKING:
    from memtrace.trace.batches import Batch
    from memtrace.trace.sources import Source

NAME = "ltrace"
SUFFIXES = (".ltrace", ".log", ".txt")

WHERE = rb"^ *(\[pid +\d+\] |\d+ +)?([\d:]+\.?\d* +)?(\[(0x)?[0-9a-f]+\] )?([^\s()]+->)?"
_CALL = re.compile(
    WHERE + rb"((malloc|calloc|realloc|memalign|aligned_alloc|valloc|_Zn[wa]\w*|operator new.*\))\((0x)?[\d(n]"
    rb".*(\) += (0x|0$|nil)|<unfinished)|(free|_Zd[la]Pv\w*)\(.*\) += <void>)",
    re.MULTILINE,
)


def call(name: str, arguments: str, kind: str = "alloc", tag: str = "") -> list[Line]:
    """Return the lines of one function, whole and in halves; its arguments are a pattern."""
    tag = tag or name
    begun = f"{name}({arguments}{{*}}"
    return [
        Line(kind, f"{begun}){{ }}= {{ptr}}{{*}}", tag),
        Line(kind, f"{begun}<unfinished ...>", tag, BEGUN, tag),
        Line(kind, f"<... {name} resumed>{{*}}= {{ptr}}{{*}}", tag, RESUMED, tag),
    ]


LINES = (
    *call("malloc", "{size}"),
    Line("free", "free({ptr}{*}"),
    *call("calloc", "{count}, {size}"),
    *call("realloc", "{old}, {size}", "realloc"),
    *call("memalign", "{align}, {size}"),
    *call("aligned_alloc", "{align}, {size}"),
    *call("valloc", "{size}"),
    *call("reallocarray", "{old}, {count}, {size}", "realloc"),
    *call("_ZnwmSt11align_val_t", "{size}, {align}"),
    *call("_ZnamSt11align_val_t", "{size}, {align}"),
    *call("_Znw{word}", "{size}", tag="_Znwm"),
    *call("_Zna{word}", "{size}", tag="_Znam"),
    *call("operator new[]({*})", "{size}", tag="operator new[]"),
    *call("operator new({*})", "{size}", tag="operator new"),
    Line("free", "_ZdlPv{word}({ptr}{*}"),
    Line("free", "_ZdaPv{word}({ptr}{*}"),
    Line("free", "operator delete{*})({ptr}{*}"),
    Line("free", "cfree({ptr}{*}"),
    Line("skip", "posix_memalign({*}", note=1),
    Line("skip", "strdup({*}", note=2),
    Line("skip", "strndup({*}", note=2),
    Line("skip", "{word}({*}<no return{*}"),
    Line("bad", "malloc({*}"),
    Line("bad", "free({*}"),
    Line("bad", "realloc({*}"),
    Line("bad", "calloc({*}"),
)
FORMAT = LogFormat(
    NAME,
    LINES,
    heads=("{lead}",),
    notes=(
        "calls of posix_memalign, whose pointer ltrace does not write, left out",
        "calls of strdup and strndup, which allocate without a call that ltrace sees, left out",
    ),
)


def sniff(head: bytes, path: str) -> bool:
    """Return whether a line is such a call of ltrace's."""
    return _CALL.search(head) is not None


def read(source: Source) -> Iterator[Batch]:
    """Yield events of numbered blocks; the stream is the thread, by first appearance."""
    return read_log(source, FORMAT)
