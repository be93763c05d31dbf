"""Open what a user gives as a trace: a file, a URL, "-" (standard input), or a workload such as `gpt-train:layers=24`.

The result is an Input, whose raw rows can be read several times, with a name for messages and a digest.
"""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from memtrace.errors import InputError
from memtrace.formats import Format, find
from memtrace.trace.batches import Batch
from memtrace.trace.model import Trace
from memtrace.trace.passes import MEMORY_LIMIT, check_invalid
from memtrace.trace.sources import Source, open_source

if TYPE_CHECKING:
    from memtrace.trace.passes import Progress
    from memtrace.trace.problems import Problem
    from memtrace.workloads.recipe import Recipe


@dataclass(frozen=True)
class Input:
    """Describe an opened input: its raw rows, its names and its digest."""

    given: str  # the path, URL, "-" or workload as the user typed it
    label: str  # the name of the input in messages
    name: str  # the name of the trace
    batches: Callable[[], Iterator[Batch]]  # yields all raw rows; every call starts anew
    # The digest in hexadecimal, of a file's stored bytes or a workload's columns; to be called after all batches were read.
    sha256: Callable[[], str]


@contextmanager
def open_input(path: str | os.PathLike[str], format: str | None = None, *, digest: bool = False) -> Iterator[Input]:
    """Provide the Input for a path, a URL, "-", or a workload such as `gpt-train:layers=24`, in a `with` block.

    A file goes before a workload of the same name. `format` names the file's format, which is else recognised.
    With `digest` the SHA-256 of a file is computed in a thread while the rows are read.
    Raises InputError if there is no such file or workload.
    """
    from memtrace.workloads.recipe import is_workload, nearest_workload

    text = os.fspath(path)
    there = os.path.lexists(text)
    if not there and is_workload(text):
        yield _workload(text)
        return
    meant = nearest_workload(text) if text != "-" and not there else None
    if meant is not None:
        raise InputError(f"{text}: no such file or workload; did you mean the workload {meant!r}?")
    with open_source(path) as source, _digested(source, digest) as sha256:
        found = find(source, format)
        yield Input(source.given, source.label, trace_name(source, found), lambda: found.read(source), sha256)


def recipe_of(text: str, more: Mapping[str, str] | None = None, seed: int | None = None) -> Recipe:
    """Return the recipe of a workload given as text; the options in `more` and `seed` overrule those in the text.

    Raises UsageError, which says what to try, for an unknown workload or option, and for values that are not allowed.
    """
    from memtrace.workloads.recipe import parse

    return parse(text, more, seed, read=read)


def _workload(text: str) -> Input:
    """Return the Input of a workload given as text, NAME:OPTION=VALUE,...; its digest is that of the generated columns."""
    recipe = recipe_of(text)
    digests: list[str] = []

    def batches() -> Iterator[Batch]:
        """Yield the workload's batches from the start, and append their digest to `digests` at the end."""
        digest = hashlib.sha256()
        yield from recipe.batches(digest.update)
        digests.append(digest.hexdigest())

    return Input(text, recipe.label, recipe.name, batches, lambda: digests[0])


@contextmanager
def _digested(source: Source, wanted: bool) -> Iterator[Callable[[], str]]:
    """Provide a function that returns the SHA-256 of the source's stored bytes.

    If `wanted`, a thread computes the digest during the `with` block, and stops early if the block fails; else it is computed
    when the function is called.
    """
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
    """Return the name of a trace: the source's file name without the suffix of its format."""
    name = source.file_name
    for suffix in found.SUFFIXES:
        if name.lower().endswith(suffix) and len(name) > len(suffix):
            return name[: -len(suffix)]
    return name


MOST_PROBLEMS = 100  # invalid rows that `check` lists


def read(
    path: str | os.PathLike[str],
    *,
    invalid: str = "error",
    format: str | None = None,
    keep_ids: bool = False,
    keep_plan: bool = False,
    memory_limit: int = MEMORY_LIMIT,
    progress: Progress | None = None,
) -> Trace:
    """Read a trace from a file, a URL, "-" (standard input) or a workload (`gpt-train:layers=24`) in one streaming pass.

    An invalid row raises InputError; with invalid="skip" invalid rows are left out and counted in
    `facts.invalid_events`. Prepared columns beyond `memory_limit` bytes go to a temporary file. `keep_ids` keeps the input's ids
    for `Trace.ids`, `keep_plan` where the file itself puts the blocks, for `Trace.plan`, for which a file that says so is read
    once more. `progress(done, total)` is called for each batch.
    """
    from memtrace.trace.passes import Pass, Raw, prepare

    check_invalid(invalid)
    with open_input(path, format, digest=True) as given:
        trace = prepare(
            Raw(given.label, given.batches),
            name=given.name,
            invalid=invalid,
            keep_ids=keep_ids,
            memory_limit=memory_limit,
            progress=progress,
        )
        if not trace.facts.events:
            raise no_events(given, trace.facts.invalid_events)
        plan = Pass(Raw(given.label, given.batches), None, keep_rows=True).plan() if keep_plan else None
        return replace(trace, source=given.given, sha256=given.sha256(), plan=plan)


def check(
    path: str | os.PathLike[str],
    *,
    format: str | None = None,
    most: int = MOST_PROBLEMS,
    metadata: dict[str, str] | None = None,
) -> list[Problem]:
    """Return the first `most` invalid rows of a trace; raises InputError if the file itself cannot be read or has no events.

    Metadata that the file or its reader gives is added to `metadata`.
    """
    from memtrace.trace.passes import Pass, Raw
    from memtrace.trace.problems import explain

    class Enough(Exception):
        """Raised to stop reading when the list of problems is full."""

    problems: list[Problem] = []

    def collect(found: Problem) -> None:
        """Append a problem to the list, or raise Enough if the list is full."""
        if len(problems) >= most:
            raise Enough
        problems.append(found)

    with open_input(path, format) as given:
        run = Pass(Raw(given.label, given.batches), collect)
        try:
            for _ in run.outputs():
                pass
        except Enough:
            pass
        if metadata is not None:
            metadata.update(run.metadata)
        if not run.before and not problems:
            raise no_events(given, 0)
        explain(problems, given.batches())
    return problems


def no_events(given: Input, invalid: int) -> InputError:
    """Return (not raise) the InputError for a trace without a valid event; `invalid` is its number of invalid rows."""
    if invalid:
        said = f"all of its {invalid:,} events are invalid\ntry: `memtrace check {given.given}`"
        return InputError(f"{given.label}: {said}")
    return InputError(f"{given.label}: it holds no events")
