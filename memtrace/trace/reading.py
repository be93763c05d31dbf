"""A trace file -> a Trace, or the list of what is wrong with it."""

from __future__ import annotations

import os
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING

from memtrace.errors import InputError, UsageError
from memtrace.formats import Format, find
from memtrace.trace.model import Trace
from memtrace.trace.source import Source, open_source

if TYPE_CHECKING:
    from memtrace.trace.passes import Progress
    from memtrace.trace.problems import Problem

MEMORY_LIMIT = 256 << 20
MOST_PROBLEMS = 100


def read(
    path: str | os.PathLike[str],
    *,
    invalid: str = "error",
    format: str | None = None,
    keep_ids: bool = False,
    memory_limit: int = MEMORY_LIMIT,
    progress: Progress | None = None,
) -> Trace:
    """Read a trace from a file, a URL or "-" in one streaming pass.

    An invalid row is an InputError; with invalid="skip" such rows are left out and counted in
    `facts.invalid_events`. Prepared columns beyond `memory_limit` bytes go to a temporary file.
    `progress(done, total)` is called for each batch.
    """
    from memtrace.trace.passes import Raw, prepare

    check_invalid(invalid)
    with open_source(path) as source, ThreadPoolExecutor(1, "memtrace-sha256") as pool:
        found = find(source, format)
        failed = threading.Event()
        digest = pool.submit(source.sha256, failed)
        try:
            trace = prepare(
                Raw(source.label, lambda: found.read(source)),
                name=trace_name(source, found),
                invalid=invalid,
                keep_ids=keep_ids,
                memory_limit=memory_limit,
                progress=progress,
            )
        except BaseException:
            failed.set()
            raise
        if not trace.facts.events:
            raise no_events(source, trace.facts.invalid_events)
        return replace(trace, source=source.given, sha256=digest.result())


def check(
    path: str | os.PathLike[str],
    *,
    format: str | None = None,
    most: int = MOST_PROBLEMS,
    metadata: dict[str, str] | None = None,
) -> list[Problem]:
    """The invalid rows of a trace, the first `most` of them; InputError if the file itself is unreadable.

    What the file or its reader says of the whole trace is added to `metadata`.
    """
    from memtrace.trace.passes import Pass, Raw
    from memtrace.trace.problems import explain

    class Enough(Exception):
        """The list is full."""

    problems: list[Problem] = []

    def collect(found: Problem) -> None:
        if len(problems) >= most:
            raise Enough
        problems.append(found)

    with open_source(path) as source:
        found = find(source, format)
        run = Pass(Raw(source.label, lambda: found.read(source)), collect)
        try:
            for _ in run.outputs():
                pass
        except Enough:
            pass
        if metadata is not None:
            metadata.update(run.metadata)
        if not run.before and not problems:
            raise no_events(source, 0)
        explain(problems, found.read(source))
    return problems


def no_events(source: Source, invalid: int) -> InputError:
    """A trace without a single event is a mistake in the file."""
    if invalid:
        said = f"all of its {invalid:,} events are invalid\ntry: `memtrace check {source.given}`"
        return InputError(f"{source.label}: {said}")
    return InputError(f"{source.label}: it holds no events")


def check_invalid(invalid: str) -> None:
    """UsageError unless it is a way to treat invalid rows."""
    if invalid not in ("error", "skip"):
        raise UsageError(f"invalid={invalid!r}; it is 'error' or 'skip'")


def trace_name(source: Source, found: Format) -> str:
    """The file's name without the suffix of its format."""
    name = source.file_name
    for suffix in found.SUFFIXES:
        if name.lower().endswith(suffix) and len(name) > len(suffix):
            return name[: -len(suffix)]
    return name
