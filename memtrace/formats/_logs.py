"""Read logs of calls whose lines are described by patterns: in blocks of whole lines, with tags, and one process of several."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cache
from typing import TYPE_CHECKING

import numpy as np

from memtrace.errors import UsageError
from memtrace.formats._calls import FREES, MALLOCS, Calls, new_calls
from memtrace.formats._matching import (
    ALL,
    FIRST,
    FOREIGN,
    FRESH,
    LINE,
    MOST_TAGS,
    NOTES,
    OTHERS,
    PIDS,
    UNJOINED,
    UNTAGGED,
    Memory,
    match_lines,
    new_memory,
    tag_of,
)
from memtrace.formats._patterns import Line, Program, compiled_patterns
from memtrace.formats._reading import BATCH_ROWS, EventBatcher, bad_lines, without_cut_line
from memtrace.formats._text import blocks
from memtrace.trace.batches import MISSING
from memtrace.trace.model import Int32s, Int64s, read_only

if TYPE_CHECKING:
    from memtrace.trace.batches import Batch
    from memtrace.trace.sources import Source

SHOWN_PIDS = 3  # other processes that a note names
COLUMNS = ("op", "id", "size", "time", "align", "stream", "tag")


@dataclass(frozen=True)
class LogFormat:
    """Describe a log by the patterns of its lines."""

    name: str
    lines: tuple[Line, ...]
    heads: tuple[str, ...] = ("",)  # patterns, of which the first that fits stands before each line
    columns: tuple[str, ...] = COLUMNS
    notes: tuple[str, ...] = ()  # sentences for the notes 1, 2, ... of the lines; a count is appended
    always: tuple[str, ...] = ()  # sentences that hold for every file
    foreign: str = "other lines, left out"
    counted: str = "threads"  # key of the number of threads in the metadata
    code_threads: bool = True  # number threads by first appearance
    addresses: bool = False  # pointers are where the blocks lie in the memory that is handed out, and are kept as offsets


@cache
def program_of(format: LogFormat) -> tuple[Program, tuple[str, ...]]:
    """Return the compiled patterns of a format, and the tags that they name."""
    tags: list[str] = []
    return compiled_patterns(format.heads, format.lines, tags), tuple(tags)


def chosen_process(format: str, part: str) -> int:
    """Return which process the text behind the colon of `--format` chooses: a number, or all; without a text the first."""
    if not part:
        return FIRST
    if part == "all":
        return ALL
    if not part.isascii() or not part.isdecimal() or len(part) > 15:
        raise UsageError(f"format {format!r} takes the number of a process behind its colon, or all, not {part!r}")
    return int(part)


def as_they_are(calls: Calls, count: int) -> Iterator[tuple[Calls, int]]:
    """Yield the first `count` calls."""
    yield calls, count


def read_log(
    source: Source,
    format: LogFormat,
    process: int = FIRST,
    convert: Callable[[Calls, int], Iterator[tuple[Calls, int]]] = as_they_are,
) -> Iterator[Batch]:
    """Yield all events of a log, and then an empty batch whose metadata is complete.

    `convert` makes other calls of those in the lines; their column `line` is the row of the call that they come from.
    """
    program, first_tags = program_of(format)
    memory, tags = _memory_of(first_tags), list(first_tags)
    used = _UsedTags()
    said: list[str] = []
    events = EventBatcher(format.name, format.columns, format.code_threads, source.size)
    events.counted = format.counted
    for block in blocks(source, said.append):
        text = np.frombuffer(block.text, np.uint8)
        at = 0
        while at < text.size:
            calls, tag = new_calls(BATCH_ROWS), np.empty(BATCH_ROWS, np.int64)
            with np.errstate(over="ignore"):
                at, count = match_lines(text, at, calls, tag, program, memory, process)
            for start, end in memory.fresh[: memory.state[FRESH]].tolist():
                tags.append(block.text[start:end].decode(errors="replace"))
            if block.cut:
                count = without_cut_line(block, calls.kind, count, int(memory.state[LINE]) - 1, said)
            lines = calls.line
            # In place of line numbers, so that each row has the index of its call.
            numbered = calls._replace(line=np.arange(BATCH_ROWS))
            for some, number in convert(numbered, count):
                for rows in events.settled(some, number):
                    which = rows.line
                    made = np.where((rows.op == 0) | (rows.op == 2), tag[which], -1)
                    made[calls.kind[which] == FREES] = -1
                    batch = events.batch(rows._replace(line=lines[which]), bad_lines(rows, block.text), block.done)
                    if format.addresses:
                        given = (rows.op == 0) & (calls.kind[which] == MALLOCS)
                        batch = replace(batch, offset=np.where(given, calls.pointer[which], MISSING))
                    if "tag" in events.columns:
                        batch = replace(
                            batch, rows=batch.rows._replace(tag=read_only(used.codes(made, tags))), tags=tuple(used.names)
                        )
                    yield batch
    more = {}
    if memory.state[PIDS]:
        more["processes"] = str(memory.state[PIDS])
    yield events.last([*said, *_notes(format, memory, process)], more)


class _UsedTags:
    """Number the tags that blocks have, by first appearance, so that tags that a format could have are not listed."""

    def __init__(self) -> None:
        """Start without tags."""
        self.names: list[str] = []
        self.code = np.full(1, -1, np.int32)  # number of each tag that the parser knows, -1: not used yet

    def codes(self, given: Int64s, tags: list[str]) -> Int32s:
        """Return the numbers of the parser's codes, of which -1 is no tag; `tags` are the names of the parser's codes."""
        if self.code.size < len(tags) + 1:
            self.code = np.concatenate((self.code, np.full(len(tags) + 1 - self.code.size, -1, np.int32)))
        seen = np.bincount(given + 1, minlength=len(tags) + 1) > 0
        for tag in np.flatnonzero(seen[1:] & (self.code[1:] < 0)).tolist():
            self.code[tag + 1] = len(self.names)
            self.names.append(tags[tag])
        found: Int32s = self.code[given + 1]
        return found


def _memory_of(tags: tuple[str, ...]) -> Memory:
    """Return what is known before the first line of a format that names these tags."""
    memory = new_memory()
    with np.errstate(over="ignore"):
        for tag in tags:
            data = np.frombuffer(tag.encode(), np.uint8).astype(np.int64)
            tag_of(data, 0, data.size, memory)
    return memory


def _notes(format: LogFormat, memory: Memory, process: int) -> list[str]:
    """Return the sentences for the metadata on what was left out and assumed."""
    counts = memory.counts
    said = list(format.always)
    for place, text in enumerate(format.notes):
        if counts[NOTES + place]:
            said.append(f"{text}: {counts[NOTES + place]:,}")
    if counts[OTHERS]:
        rows = memory.pids[: memory.state[PIDS]].tolist()
        read = process if process >= 0 else rows[0][0]
        others = sorted((row for row in rows if row[0] != read), key=lambda row: -row[1])
        named = ", ".join(f"{pid} with {calls:,}" for pid, calls in others[:SHOWN_PIDS]) + (
            ", ..." if others[SHOWN_PIDS:] else ""
        )
        said.append(
            f"calls of other processes than {read}, left out: {counts[OTHERS]:,} ({named}; --format {format.name}:{others[0][0]} "
            f"reads one of them, {format.name}:all all)"
        )
    elif process == ALL and memory.state[PIDS] > 1:
        said.append(f"{memory.state[PIDS]:,} processes in one trace, each with pointers of its own")
    if counts[UNJOINED]:
        said.append(f"calls of which only one half is in the file, left out: {counts[UNJOINED]:,}")
    if counts[UNTAGGED]:
        said.append(f"blocks without a tag, as there are more than {MOST_TAGS:,} tags: {counts[UNTAGGED]:,}")
    if counts[FOREIGN]:
        said.append(f"{format.foreign}: {counts[FOREIGN]:,}")
    return said
