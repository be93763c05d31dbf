"""The formats that traces are read from, one file each: the file is the registration.

A format has NAME, SUFFIXES, `sniff(head, path)`, which says whether these first bytes are its own, and
`read(source)`, which yields `memtrace.trace.raw.Batch`es (`memtrace.trace.rows.batches` makes them of rows).
Its first docstring line is what `memtrace formats` prints.
"""

from __future__ import annotations

import pkgutil
from collections.abc import Callable, Iterator
from functools import cache
from importlib import import_module
from inspect import signature
from typing import TYPE_CHECKING, Protocol, cast

from memtrace.errors import InputError, UsageError
from memtrace.formats._lines import MARK
from memtrace.names import unknown

if TYPE_CHECKING:
    from memtrace.trace.raw import Batch
    from memtrace.trace.source import Source


class Format(Protocol):
    """What a format's file has."""

    NAME: str
    SUFFIXES: tuple[str, ...]
    __doc__: str | None

    def sniff(self, head: bytes, path: str) -> bool: ...

    def read(self, source: Source) -> Iterator[Batch]: ...


# Suffixes that do not say what a file is: its first bytes must.
COMMON = {".txt", ".log", ".json", ".bin", ".raw", ".trace"}


class Part:
    """A format of files that hold several traces, set on one of them: `torch-snapshot:1` reads device 1."""

    def __init__(self, whole: Format, part: str) -> None:
        if len(signature(whole.read).parameters) < 2:
            raise UsageError(f"format {whole.NAME!r} takes nothing behind a colon ({part!r})")
        self.NAME, self.SUFFIXES, self.sniff = f"{whole.NAME}:{part}", whole.SUFFIXES, whole.sniff
        self.whole, self.part, self.__doc__ = whole, part, whole.__doc__

    def read(self, source: Source) -> Iterator[Batch]:
        chosen = cast("Callable[[Source, str], Iterator[Batch]]", self.whole.read)
        return chosen(source, self.part)


@cache
def formats() -> dict[str, Format]:
    """All formats by name."""
    names = sorted(module.name for module in pkgutil.iter_modules(__path__))
    modules = [cast(Format, import_module(f"{__name__}.{name}")) for name in names if not name.startswith("_")]
    return {module.NAME: module for module in modules}


def find(source: Source, name: str | None = None) -> Format:
    """The format of this name; without one that which knows the file's first bytes, or else its suffix."""
    known = formats()
    if name is not None:
        name, colon, part = name.partition(":")
        if name not in known:
            raise unknown("format", name, known)
        return Part(known[name], part) if colon else known[name]
    head, path = source.head(), source.file_name
    if not head:
        raise InputError(f"{source.label} is empty")
    head = head.removeprefix(MARK)
    named = [found for found in known.values() if path.lower().endswith(found.SUFFIXES)]
    others = [found for found in known.values() if found not in named]
    for found in [*named, *others]:
        if found.sniff(head, path):
            return found
    sure = [found for found in named if path.lower().endswith(tuple(set(found.SUFFIXES) - COMMON))]
    if sure:
        return sure[0]  # its reader says what is wrong with the file
    raise InputError(f"{source.label}: no known format ({', '.join(known)})\ntry: --format NAME, if it is one of them")
