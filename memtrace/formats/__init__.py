"""Find the formats that traces are read from. Each format is one file of this folder, which needs no other registration.

Other installed packages add formats by entry points of the group `memtrace.formats`, each of which names a module.

A format's file defines NAME, SUFFIXES, `sniff(head, path)`, which returns whether the first bytes of a file are of this
format, and `read(source)`, which yields `memtrace.trace.batches.Batch`es (`memtrace.trace.records.batches` makes them from rows).
`memtrace formats` prints the first line of the file's docstring.
"""

from __future__ import annotations

import pkgutil
import re
from collections.abc import Callable, Iterator
from functools import cache
from importlib import import_module
from inspect import signature
from types import ModuleType
from typing import TYPE_CHECKING, Protocol, cast

from memtrace import plugins
from memtrace.errors import InputError, UsageError
from memtrace.formats import _others
from memtrace.formats._text import MARK
from memtrace.names import unknown

if TYPE_CHECKING:
    from memtrace.trace.batches import Batch
    from memtrace.trace.sources import Source


class Format(Protocol):
    """Define what a format's file must contain."""

    NAME: str  # what users call the format
    SUFFIXES: tuple[str, ...]  # lower-case suffixes of its files, each with its dot
    __doc__: str | None

    # Returns whether a file with these first (decompressed) bytes, or with this name, is of this format.
    def sniff(self, head: bytes, path: str) -> bool: ...

    # Yields the file's rows in batches; raises InputError if the file cannot be read.
    def read(self, source: Source) -> Iterator[Batch]: ...


# Suffixes that many kinds of files have: such a file gets a format only by its first bytes.
COMMON = {".txt", ".log", ".json", ".bin", ".raw", ".trace"}
_SUFFIX = re.compile(r"\.[^A-Z]+")  # in lower case, with its dot


class Part:
    """Wrap a format whose files contain several traces, to read one of them: `torch-snapshot:1` reads device 1."""

    def __init__(self, whole: Format, part: str) -> None:
        """Wrap the format `whole`; `part` is the text behind the colon. Raises UsageError if the format has no parts."""
        if len(signature(whole.read).parameters) < 2:
            raise UsageError(f"format {whole.NAME!r} takes nothing behind a colon ({part!r})")
        self.NAME, self.SUFFIXES, self.sniff = f"{whole.NAME}:{part}", whole.SUFFIXES, whole.sniff
        self.whole, self.part, self.__doc__ = whole, part, whole.__doc__

    def read(self, source: Source) -> Iterator[Batch]:
        """Yield the batches of the chosen part."""
        chosen = cast("Callable[[Source, str], Iterator[Batch]]", self.whole.read)
        return chosen(source, self.part)


@cache
def builtin_formats() -> dict[str, Format]:
    """Return the package's formats by name; files whose names begin with an underscore are not formats."""
    names = sorted(found.name for found in pkgutil.iter_modules(__path__) if not found.ispkg)
    modules = [cast(Format, import_module(f"{__name__}.{name}")) for name in names if not name.startswith("_")]
    return {module.NAME: module for module in modules}


@cache
def added_formats() -> dict[str, plugins.Plugin]:
    """Return the formats that other installed packages add, by name, without importing them."""
    return plugins.added("formats", builtin_formats())


def formats() -> dict[str, Format]:
    """Return all formats by name: the package's, then those of other installed packages."""
    return {**builtin_formats(), **cast("dict[str, Format]", plugins.usable(added_formats(), check_plugin))}


def check_plugin(module: ModuleType) -> None:
    """Raise UsageError if the module of a plug-in is no format."""
    plugins.check_functions(module, ("sniff", "read"))
    suffixes = getattr(module, "SUFFIXES", None)
    if not isinstance(suffixes, tuple) or not all(isinstance(each, str) and _SUFFIX.fullmatch(each) for each in suffixes):
        raise UsageError(f"SUFFIXES of {module.__name__} is no tuple of suffixes in lower case with their dots: {suffixes!r}")


def load(name: str) -> Format:
    """Return the format of this name; raise UsageError if there is none, or if it is a plug-in that cannot be used."""
    if name in builtin_formats():
        return builtin_formats()[name]
    if name not in added_formats():
        raise unknown("format", name, [*builtin_formats(), *added_formats()])
    return cast(Format, plugins.load(added_formats()[name], check_plugin))


def recognises(format: Format, head: bytes, path: str) -> bool:
    """Return whether a format recognises a file by its first bytes or its name; a plug-in that fails does not."""
    try:
        return format.sniff(head, path)
    except Exception as error:
        if format.NAME in builtin_formats():
            raise
        plugins.leave_out(added_formats()[format.NAME], plugins.reason_of(error))
        return False


def find(source: Source, name: str | None = None, added: bool = True) -> Format:
    """Return the format of this name, or, without a name, the format that recognises the file's first bytes.

    Formats with the file's suffix are tried first. A file that no format recognises, and that is not known to be something else
    (`_others`), gets the format of its suffix, unless the suffix is in COMMON. Without a name and ``added``, those of plug-ins
    are not imported, and not tried. Raises UsageError for an unknown name, InputError, with what the file is, if no format fits.
    """
    if name is not None:
        name, colon, part = name.partition(":")
        return Part(load(name), part) if colon else load(name)
    known = formats() if added else builtin_formats()
    head, path = source.head(), source.file_name
    if not head:
        raise InputError(f"{source.label} is empty")
    head = head.removeprefix(MARK)
    named = [found for found in known.values() if path.lower().endswith(found.SUFFIXES)]
    others = [found for found in known.values() if found not in named]
    pickled = head.startswith(b"\x80") and _others.known(head) is not None  # a pickle that is known to be no snapshot
    for found in [*named, *others] if not pickled else []:
        if recognises(found, head, path):
            return found
    other = _others.known(head)
    if other is not None:
        raise _others.refusal(source.label, other)
    sure = [found for found in named if path.lower().endswith(tuple(set(found.SUFFIXES) - COMMON))]
    if sure:
        return sure[0]  # the error of this format's reader says what is wrong with the file
    other = _others.general(head)
    if other is not None:
        raise _others.refusal(source.label, other)
    raise InputError(
        f"{source.label}: no known format ({', '.join(known)})\n"
        "try: --format NAME, if it is one of them; for a log of your own --template 'alloc {ptr} {size}' --template 'free {ptr}'"
    )
