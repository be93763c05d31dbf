"""Read a trace from any input into a Trace, or list its invalid rows."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import TYPE_CHECKING

from memtrace.errors import InputError, UsageError
from memtrace.trace.inputs import Input, open_input
from memtrace.trace.model import Trace

if TYPE_CHECKING:
    from memtrace.trace.passes import Progress
    from memtrace.trace.problems import Problem

MEMORY_LIMIT = 256 << 20  # bytes of prepared columns that stay in memory
MOST_PROBLEMS = 100  # invalid rows that `check` lists


def read(
    path: str | os.PathLike[str],
    *,
    invalid: str = "error",
    format: str | None = None,
    keep_ids: bool = False,
    memory_limit: int = MEMORY_LIMIT,
    progress: Progress | None = None,
) -> Trace:
    """Read a trace from a file, a URL, "-" (standard input) or a workload (`gpt-train:layers=24`) in one streaming pass.

    An invalid row raises InputError; with invalid="skip" invalid rows are left out and counted in
    `facts.invalid_events`. Prepared columns beyond `memory_limit` bytes go to a temporary file. `keep_ids` keeps the input's ids
    for `Trace.ids`. `progress(done, total)` is called for each batch.
    """
    from memtrace.trace.passes import Raw, prepare

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
        return replace(trace, source=given.given, sha256=given.sha256())


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


def check_invalid(invalid: str) -> None:
    """Raise UsageError unless `invalid` is "error" or "skip"."""
    if invalid not in ("error", "skip"):
        raise UsageError(f"invalid={invalid!r}; it is 'error' or 'skip'")
