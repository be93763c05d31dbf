"""What stands where a trace is expected, a file or a workload, -> raw rows that can be read again, and their digest."""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass

from memtrace.errors import InputError
from memtrace.formats import Format, find
from memtrace.trace.raw import Batch
from memtrace.trace.source import Source, open_source


@dataclass(frozen=True)
class Input:
    """Raw rows and what to call them."""

    given: str  # as the user named it
    label: str  # what messages call it
    name: str  # of the trace
    batches: Callable[[], Iterator[Batch]]  # from the start
    sha256: Callable[[], str]  # once all batches were read: of a file's stored bytes, of a workload's columns


@contextmanager
def open_input(path: str | os.PathLike[str], format: str | None = None, *, digest: bool = False) -> Iterator[Input]:
    """The input behind a path, a URL, "-", or a workload such as `gpt-train:layers=24`; a file of that name goes first."""
    from memtrace.workloads.recipe import likely, named

    text = os.fspath(path)
    there = os.path.lexists(text)
    if not there and named(text):
        yield _workload(text)
        return
    meant = likely(text) if text != "-" and not there else None
    if meant is not None:
        raise InputError(f"{text}: no such file or workload; did you mean the workload {meant!r}?")
    with open_source(path) as source, _digested(source, digest) as sha256:
        found = find(source, format)
        yield Input(source.given, source.label, trace_name(source, found), lambda: found.read(source), sha256)


def _workload(text: str) -> Input:
    from memtrace.workloads.recipe import parse

    recipe = parse(text)
    digests: list[str] = []

    def batches() -> Iterator[Batch]:
        digest = hashlib.sha256()
        yield from recipe.batches(digest.update)
        digests.append(digest.hexdigest())

    return Input(text, recipe.label, recipe.name, batches, lambda: digests[0])


@contextmanager
def _digested(source: Source, wanted: bool) -> Iterator[Callable[[], str]]:
    """The digest of the stored bytes, taken beside the reading; given up if that fails."""
    if not wanted:
        yield lambda: source.sha256()
        return
    failed = threading.Event()
    with ThreadPoolExecutor(1, "memtrace-sha256") as pool:
        digest = pool.submit(source.sha256, failed)
        try:
            yield digest.result
        except BaseException:
            failed.set()
            raise


def trace_name(source: Source, found: Format) -> str:
    """The file's name without the suffix of its format."""
    name = source.file_name
    for suffix in found.SUFFIXES:
        if name.lower().endswith(suffix) and len(name) > len(suffix):
            return name[: -len(suffix)]
    return name
