"""Say what a file looks like, how sure that is, and what would be read, from its first bytes and its first events."""

from __future__ import annotations

import os
from contextlib import closing
from dataclasses import dataclass

import numpy as np

from memtrace.errors import InputError, UsageError
from memtrace.formats import Format, find, formats, recognises
from memtrace.formats._text import MARK
from memtrace.trace.model import Op
from memtrace.trace.passes import Pass, Raw
from memtrace.trace.sources import open_source

MOST_EVENTS = 100_000  # events that are read to see what a file has

CERTAIN, LIKELY, NAMED = "certain", "likely", "by its name only"


@dataclass(frozen=True)
class Recognised:
    """Describe what a file looks like. Counts are of the events that were read, which are all if `whole`."""

    label: str  # the file as messages name it
    format: str
    sure: str  # CERTAIN, LIKELY or NAMED
    reason: str  # why it is taken for this format
    others: tuple[str, ...]  # further formats that recognise the first bytes
    columns: tuple[str, ...]
    events: int
    ops: dict[str, int]  # name of an op -> number of events
    invalid: int
    whole: bool
    problem: str | None  # what stopped the reading, if anything did
    metadata: dict[str, str]


def recognise(path: str | os.PathLike[str], format: str | None = None) -> Recognised:
    """Return what a file looks like; `format` is the format to take it for, by default the recognised one.

    Raises InputError if there is no such file, or if no format fits.
    """
    with open_source(path) as source:
        found = find(source, format)
        head = source.head().removeprefix(MARK)
        known = [name for name, each in formats().items() if recognises(each, head, "")]
        run = Pass(Raw(source.label, lambda: found.read(source)), None, keep_rows=True)
        ops, whole, problem = np.zeros(256, np.int64), True, None
        try:
            with closing(run.valid()) as coming:  # type: ignore[type-var]
                for batch, kept in coming:
                    ops += np.bincount(batch.rows.op[kept], minlength=256)
                    if ops.sum() >= MOST_EVENTS:
                        whole = False
                        break
        except (InputError, UsageError) as error:
            problem = str(error).removeprefix(f"{source.label}: ")
        named = {op.name.lower(): int(ops[op]) for op in Op if ops[op]}
        events, invalid = int(ops.sum()), run.invalid()
        sure, reason = _sureness(found, known, events, invalid, problem is None)
        return Recognised(
            label=source.label,
            format=found.NAME,
            sure=sure,
            reason=reason,
            others=tuple(name for name in known if name != found.NAME),
            columns=run.columns,
            events=events,
            ops=named,
            invalid=invalid,
            whole=whole,
            problem=problem,
            metadata=run.metadata,
        )


def _sureness(found: Format, known: list[str], events: int, invalid: int, readable: bool) -> tuple[str, str]:
    """Return how sure it is that a file is of the format `found`, and why.

    `known` are the formats that recognise its first bytes; `events` and `invalid` count the events that were read and those that
    could not; `readable`: nothing stopped the reading.
    """
    name = found.NAME
    if name.partition(":")[0] not in known:
        suffixes = " ".join(found.SUFFIXES)
        return NAMED, f"its first bytes do not show it{f'; files of {name} are named {suffixes}' if suffixes else ''}"
    if not events or not readable:
        return LIKELY, "its first bytes are of this format, but nothing could be read" if not events else "a part can be read"
    if invalid:
        return LIKELY, f"its first bytes are of this format, but {invalid:,} of {events + invalid:,} events are invalid"
    if len(known) > 1:
        return LIKELY, "its first bytes are of this format, and of others"
    return CERTAIN, f"its first bytes are of this format and of no other, and {events:,} events were read without a fault"
