"""Compare the answers for several ranks of a job, or devices of a file: the worst first, what differs, one setting for all."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from memtrace.gpu.answer import Answer, Question, answer
from memtrace.gpu.rows import Row, ranked
from memtrace.gpu.screen import name_of, same_as, table_of, why
from memtrace.gpu.settings import DEFAULTS
from memtrace.structures.caching.versions import variable_of
from memtrace.units import format_apart, format_count, format_size
from memtrace.wrapping import folded

ALL = "all"  # in place of a device: each device of a file
SCHEMA = "memtrace.whatif-ranks/1"


@dataclass(frozen=True)
class Rank:
    """Hold the answer for one file, or one device of it."""

    name: str
    answer: Answer

    @property
    def badness(self) -> tuple[int, int, float]:
        """Return by what ranks are ordered: failed requests, flushes, and how much of the memory was reserved."""
        run, row, capacity = self.answer.ended, self.answer.as_recorded, self.answer.capacity.bytes
        peak = (row.peak_reserved or 0) if row is not None else self.answer.trace.facts.peak_live_bytes
        return (run.ooms if run else 0, run.flushes if run else 0, peak / capacity if capacity else float(peak) / 2**60)


@dataclass(frozen=True)
class Ranks:
    """Hold the answers for several ranks, worst first, and the setting that is best for all of them together."""

    ranks: list[Rank]
    rows: list[Row]  # a row for each setting that all ranks have, best first: failures and flushes added up, the largest peak
    line: str | None  # to paste for all ranks; None if nothing is to be changed, or nothing can be trusted

    def __str__(self) -> str:
        """Return the screen, 80 columns wide."""
        return "\n".join(screen(self))


def ranks_of(paths: list[str], asked: Question) -> Ranks:
    """Return the answers for several files, or with the device ALL for each device of each file."""
    found = []
    for path in paths:
        devices = devices_in(path) if asked.device == ALL else [asked.device]
        for device in devices:
            name = Path(path).name + (f" device {device}" if asked.device == ALL else "")
            found.append(Rank(name, answer(path, replace(asked, device=device))))
    found.sort(key=lambda one: one.badness, reverse=True)
    rows = together([one.answer for one in found])
    first = found[0].answer
    same = all((one.answer.recorded or DEFAULTS) == (first.recorded or DEFAULTS) for one in found)
    best = rows[0] if rows and rows[0].status == "ok" and all(one.answer.trusted is not False for one in found) else None
    name = variable_of(min(one.answer.version for one in found))
    line = None
    if best is not None and not (same and best.conf == (first.recorded or DEFAULTS)):
        line = f"{name}={best.conf}" if best.conf else f"unset {name}"
    return Ranks(found, rows, line)


def devices_in(path: str) -> list[str]:
    """Return the numbers of the devices in a snapshot, as text."""
    from memtrace.formats.snapshot.loading import load
    from memtrace.formats.snapshot.records import HOST
    from memtrace.trace.sources import open_source

    with open_source(path) as source:
        return [str(number) for number in load(source).recordings if number != HOST]


def together(answers: list[Answer]) -> list[Row]:
    """Return a row for each setting that all answers have, best first: the sums of failures and flushes, and the largest peak."""
    shared = [row.conf for row in answers[0].rows if all(any(one.conf == row.conf for one in other.rows) for other in answers)]
    found = []
    for conf in shared:
        own = [next(row for row in one.rows if row.conf == conf) for one in answers]
        if any(row.status == "refused" for row in own):
            continue
        failed = sum(row.ooms or 0 for row in own)
        least = [row.smallest_capacity for row in own]
        found.append(
            Row(
                conf,
                "oom" if failed else "ok",
                max(row.peak_reserved or 0 for row in own),
                sum(row.flushes or 0 for row in own),
                failed,
                smallest_capacity=max((one for one in least if one is not None), default=None) if None not in least else None,
            )
        )
    return ranked(found, answers[0].recorded or DEFAULTS)


def differences(ranks: list[Rank]) -> list[str]:
    """Return in what the ranks differ, as sentences; none if they do not."""
    said, text_of = [], reserved_text(ranks)
    told = {
        "the settings": {name_of(one.answer.recorded or "") for one in ranks},
        "the versions of PyTorch": {str(one.answer.versions) for one in ranks},
        "the sizes of memory": {text_of(one.answer.capacity.bytes) for one in ranks if one.answer.capacity.bytes is not None},
    }
    said += [f"{what} differ: {', '.join(sorted(values))}" for what, values in told.items() if len(values) > 1]
    peaks = [one.answer.trace.facts.peak_live_bytes for one in ranks]
    if min(peaks) < 0.99 * max(peaks):
        most = next(one.name for one in ranks if one.answer.trace.facts.peak_live_bytes == max(peaks))
        said.append(
            f"the live bytes differ: {' to '.join(map(format_apart(peaks), (min(peaks), max(peaks))))}, the most on {most}"
        )
    events = [one.answer.trace.facts.events for one in ranks]
    if min(events) < 0.99 * max(events):
        said.append(f"the numbers of events differ: {format_count(min(events))} to {format_count(max(events))}")
    return said


def screen(found: Ranks, width: int = 80) -> list[str]:
    """Return the lines for a terminal: a line a rank, worst first, what differs, and one setting for all."""
    head = ("rank", "failed", "flushes", "reserved", "live", "memory", "trust")
    text_of = reserved_text(found.ranks)
    cells = [cells_of(one, text_of) for one in found.ranks]
    lines = [f"{len(found.ranks)} ranks, worst first", *table_of(head, cells, width), ""]
    for sentence in differences(found.ranks) or ["they do not differ in settings, memory or live bytes"]:
        lines += folded(sentence, width)
    for one in found.ranks:
        if one.answer.full is not None:
            lines += folded(f"{one.name} is {why(one.answer)[0]}", width)
    lines += ["", found.line if found.line is not None else "no one setting does better on all of them than what ran"]
    first: dict[Any, str] = {}
    same: dict[str, list[str]] = {}
    shown = []
    text_of = format_apart(row.peak_reserved for row in found.rows)
    for row in found.rows:
        before = first.setdefault((row.peak_reserved, row.flushes, row.ooms), row.conf)
        if before == row.conf:
            shown.append((name_of(row.conf), text_of(row.peak_reserved), f"{row.flushes:,}", f"{row.ooms:,}"))
        else:
            same.setdefault(before, []).append(name_of(row.conf))
    lines += table_of(("setting, on all ranks", "most reserved", "flushes", "failed"), shown, width)
    return [*lines, *(line for sentence in same_as(same) for line in folded(sentence, width))]


def reserved_text(ranks: list[Rank]) -> Callable[[int | None], str]:
    """Return a function that writes what ranks reserve and can have with as many digits as tell these sizes apart."""
    rows = [one.answer.as_recorded for one in ranks]
    return format_apart([*(one.answer.capacity.bytes for one in ranks), *(row.peak_reserved for row in rows if row)])


def cells_of(rank: Rank, text_of: Callable[[int | None], str]) -> tuple[str, ...]:
    """Return the cells of a rank's line; ``text_of`` writes reserved bytes and capacities."""
    one, run, row = rank.answer, rank.answer.ended, rank.answer.as_recorded
    capacity = text_of(one.capacity.bytes)
    trust = {True: "yes", False: "no", None: "-"}[one.trusted]
    reserved = text_of(row.peak_reserved or 0) if row is not None else "-"
    live = format_size(one.trace.facts.peak_live_bytes)
    return rank.name, f"{run.ooms:,}" if run else "-", f"{run.flushes:,}" if run else "-", reserved, live, capacity, trust


def document(found: Ranks) -> dict[str, Any]:
    """Return the answers for all ranks as a JSON document."""
    from memtrace.gpu.document import document as of_one
    from memtrace.gpu.document import row_document

    return {
        "schema": SCHEMA,
        "ranks": [{"name": one.name, **of_one(one.answer)} for one in found.ranks],
        "differences": differences(found.ranks),
        "rows": [row_document(row) for row in found.rows],
        "line": found.line,
    }
