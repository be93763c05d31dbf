"""Turn the calls of a recording into batches of events, from a text file or from calls that a reader makes in Python.

A text file is read with a compiled parser of its lines (``read_calls``, ``read_rows``). Calls made one at a time in Python
(``Call``, ``batches``) go through the same rules. The last batch is empty, and has the metadata: what was assumed of calls that
contradict each other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from memtrace.formats import _calls
from memtrace.formats._calls import (
    BAD_LINE,
    FREES,
    MALLOCS,
    REALLOCS,
    Calls,
    EventColumns,
    Log,
    convert_calls,
    new_calls,
    new_rows,
    new_table,
)
from memtrace.formats._text import Block, blocks
from memtrace.trace.batches import MISSING, UNREADABLE, Batch, RowLocation, rows_of
from memtrace.trace.live_ids import rehash
from memtrace.trace.model import COLUMNS, Int32s, Int64s, read_only

if TYPE_CHECKING:
    from memtrace.trace.sources import Source

BATCH_ROWS = 1 << 16  # calls parsed at once
FIRST_PLACES = 1 << 12  # places of the hash tables at the start
MOST_NOTES = 100  # unreadable rows of a batch that get a reason
SHOWN_BYTES = 60  # bytes of a line that messages show
LINE = 0  # index of the line number in a parser's state; the parser uses the other indices as it likes
STATE = 16  # length of a parser's state
# A parser: (text, start, calls, state) -> (offset of the next line, number of calls written). It parses whole lines of `text`
# (bytes as uint8) from `start` on, and returns at the end or when `calls` has no room for the calls of a line (at most two).
Parser = Callable[..., tuple[int, int]]


@dataclass(frozen=True)
class CallFormat:
    """Describe what a format of recorded calls adds to the common reading."""

    name: str
    parse: Parser
    columns: tuple[str, ...]  # the columns that the format may have
    code_threads: bool = False  # number threads by first appearance: their ids do not fit a stream
    notes: Callable[[Int64s], list[str]] = lambda state: []  # parser's state at the end -> sentences for the metadata
    counted: str = "threads"  # key of the number of threads (or streams) in the metadata


class EventBatcher:
    """Convert calls to batches of events, and keep the state between batches."""

    def __init__(self, name: str, columns: tuple[str, ...], code_threads: bool, total: int | None, word: str = "line") -> None:
        """Start without calls.

        `columns` are those that the format may have; `code_threads` numbers threads by first appearance; `total` is the size of
        the input for the progress, or None; `word` is the unit of a row's place in messages.
        """
        self.name, self.columns, self.code_threads, self.total, self.word = name, columns, code_threads, total, word
        self.counted = "threads"  # key of the number of threads in the metadata
        self.log = _calls.new_log(FIRST_PLACES)
        self.begun = False

    def settled(self, calls: Calls, count: int) -> Iterator[EventColumns]:
        """Yield the events of the first `count` calls, in parts of at most about BATCH_ROWS rows."""
        at = 0
        while True:
            rows = new_rows(BATCH_ROWS + _calls.SPARE_ROWS)
            with np.errstate(over="ignore"):
                why, at, filled = convert_calls(calls, at, count, rows, self.log, self.code_threads)
            if filled:
                yield EventColumns(*(column[:filled] for column in rows))  # type: ignore[arg-type]
            if why == _calls.DONE:
                return
            if why == _calls.GROW:
                self.log = _grown(self.log)

    def batches(self, calls: Calls, count: int, text: bytes, done: int) -> Iterator[Batch]:
        """Yield the events of the first `count` calls in batches.

        The calls were parsed from `text`; `done` stored bytes of the file are read so far.
        """
        for rows in self.settled(calls, count):
            yield self.batch(rows, bad_lines(rows, text), done)

    def last(self, said: list[str], more: Mapping[str, str]) -> Batch:
        """Return the empty batch that ends the trace; its metadata has `said` and all other assumptions, and `more`."""
        totals = self.log.totals
        found = {"format": self.name, **more}
        if totals[_calls.THREADS]:
            found[self.counted] = str(totals[_calls.THREADS])
        notes = [*said, *assumption_notes(totals)]
        if notes:
            found["assumed"] = "\n".join(notes)
        return self.batch(new_rows(0), {}, self.total or 0, found)

    def batch(self, rows: EventColumns, notes: Mapping[int, str], done: int, metadata: Mapping[str, str] | None = None) -> Batch:
        """Return rows as a batch. `notes` maps unreadable rows to reasons; `rows.line` is where each row is in the input.

        The first batch fixes the columns: time is left out if no call has had a time by then.
        """
        if not self.begun:
            timed = bool(self.log.totals[_calls.TIMED])
            self.columns = tuple(name for name in COLUMNS if name in self.columns and (name != "time" or timed))
            self.begun = True
        given = {name: getattr(rows, name) for name in self.columns if name not in ("op", "tag")}
        tag = np.full(rows.op.size, -1, np.int32) if "tag" in self.columns else None
        word, lines = self.word, rows.line
        return Batch(
            rows_of(rows.op, given, tag),
            self.columns,
            lambda row: RowLocation(word, int(lines[row])),
            notes=notes,
            done=done,
            total=self.total,
            metadata=metadata or {"format": self.name},
        )


def read_calls(source: Source, format: CallFormat) -> Iterator[Batch]:
    """Yield all events of a text file of calls of pointers, and then an empty batch whose metadata is complete."""
    state = np.zeros(STATE, np.int64)
    state[LINE] = 1
    said: list[str] = []
    events = EventBatcher(format.name, format.columns, format.code_threads, source.size)
    events.counted = format.counted
    for block in blocks(source, said.append):
        text = np.frombuffer(block.text, np.uint8)
        at = 0
        while at < text.size:
            calls = new_calls(BATCH_ROWS)
            with np.errstate(over="ignore"):
                at, count = format.parse(text, at, calls, state)
            if block.cut:
                count = without_cut_line(block, calls.kind, count, int(state[LINE]) - 1, said)
            yield from events.batches(calls, count, block.text, block.done)
    yield events.last([*said, *format.notes(state)], {})


def read_rows(source: Source, format: CallFormat) -> Iterator[Batch]:
    """Yield all events of a text file that numbers its blocks, and then an empty batch whose metadata is complete.

    The parser's calls are events already: `kind` is an op and `pointer` an id.
    """
    state = np.zeros(STATE, np.int64)
    state[LINE] = 1
    said: list[str] = []
    events = EventBatcher(format.name, format.columns, False, source.size)
    for block in blocks(source, said.append):
        text = np.frombuffer(block.text, np.uint8)
        at = 0
        while at < text.size:
            calls = new_calls(BATCH_ROWS)
            with np.errstate(over="ignore"):
                at, count = format.parse(text, at, calls, state)
            if block.cut:
                count = without_cut_line(block, calls.kind, count, int(state[LINE]) - 1, said)
            if count:
                given = (calls.kind, calls.pointer, calls.size, calls.time, calls.old, calls.thread, calls.line)
                rows = EventColumns(*(column[:count] for column in given))  # type: ignore[arg-type]
                yield events.batch(rows, bad_lines(rows, block.text), block.done)
    yield events.last([*said, *format.notes(state)], {})


def without_cut_line(block: Block, kind: NDArray[np.uint8], count: int, line: int, said: list[str]) -> int:
    """Return how many of the `count` calls parsed from a last line without a line end are kept.

    An unreadable line is left out; the decision is appended to `said`. `line` is the number of the line.
    """
    if count and kind[count - 1] in (_calls.BAD_LINE, UNREADABLE):
        said.append(f"the last line ({line:,}) is cut: {shown(block.text)} left out")
        return 0
    said.append(f"the last line ({line:,}) has no line end: taken as it stands")
    return count


def assumption_notes(totals: Int64s) -> list[str]:
    """Return sentences that say what was assumed of calls that contradict each other, and how often."""
    texts = {
        _calls.FAILED: "requests that failed in the recorded program, left out",
        _calls.REUSED: "pointers given out again without a recorded free, taken as freed by then",
        _calls.UNKNOWN_FREES: "frees of pointers that the recording never allocates (it began later), left out",
        _calls.UNKNOWN_REALLOCS: "reallocs of pointers that the recording never allocates, taken as new blocks",
        _calls.HALF_REALLOCS: "reallocs of which only the first half is recorded, taken as frees",
        _calls.CLOCK_BACK: "times that go back, taken as the time before",
        _calls.ODD_ALIGNS: "alignments that are no power of two, left out",
        _calls.REPEATED_FREES: "frees that are in the recording twice, read once",
    }
    return [f"{text}: {totals[place]:,}" for place, text in texts.items() if totals[place]]


def shown(line: bytes) -> str:
    """Return a line in quotes, cut to SHOWN_BYTES bytes, for a message."""
    text = line[:SHOWN_BYTES].decode(errors="replace").rstrip("\r\n")
    return repr(text + ("..." if len(line) > SHOWN_BYTES else ""))


def bad_lines(rows: EventColumns, text: bytes) -> dict[int, str]:
    """Return a map from unreadable row to reason, for the first MOST_NOTES of them.

    The size of such a row is the offset of its line in `text`; it is replaced by MISSING, in place.
    """
    bad = rows.op == UNREADABLE
    notes = {}
    for row in np.flatnonzero(bad)[:MOST_NOTES].tolist():
        start = int(rows.size[row])
        line = text[start : text.find(b"\n", start)]
        notes[row] = f"the line is not of this format: {shown(line)}"
    rows.size[bad] = MISSING
    return notes


def _grown(log: Log) -> Log:
    """Return the log with those tables doubled that the next call might find too full."""
    pairs, threads, totals = log
    if 4 * (totals[_calls.LIVE] + 1) > pairs.size:
        pairs = _twice(pairs)
    if 4 * (totals[_calls.THREADS] + 1) > threads.size:
        threads = _twice(threads)
    return Log(pairs, threads, totals)


def _twice(pairs: Int64s) -> Int64s:
    """Return a hash table with the same pairs and twice the places."""
    larger = new_table(pairs.size)
    with np.errstate(over="ignore"):
        rehash(pairs, larger)
    return larger


MOST = 1 << 63  # the first number beyond int64


class Call(NamedTuple):
    """Describe one call of a recorded program.

    A pointer is any whole number, and 0 is null. A reader of several heaps must make the pointers of different heaps different.
    """

    kind: int  # MALLOCS, FREES, REALLOCS or BAD_LINE
    line: int  # where the call is in the input, from 1
    pointer: int = 0  # the pointer that was returned, or freed
    size: int = 0  # bytes
    old: int = MISSING  # of a realloc the pointer that it was given; of an alloc the alignment in bytes
    thread: int = MISSING  # thread or stream
    time: int = MISSING  # nanoseconds
    tag: str | None = None
    why: str = ""  # of a BAD_LINE the reason


def alloc(line: int, pointer: int, size: int, **more: Any) -> Call:
    """Return a call that allocated a block of `size` bytes at `pointer`; `more` sets further fields of Call."""
    return Call(MALLOCS, line, pointer, size, **more)


def free(line: int, pointer: int, **more: Any) -> Call:
    """Return a call that freed the block at `pointer`; `more` sets further fields of Call."""
    return Call(FREES, line, pointer, **more)


def realloc(line: int, old: int, pointer: int, size: int, **more: Any) -> Call:
    """Return a call that resized the block at `old` to `size` bytes, now at `pointer`; `more` sets further fields of Call."""
    return Call(REALLOCS, line, pointer, size, old, **more)


def bad(line: int, why: str) -> Call:
    """Return a stand-in for a line that cannot be read; `why` is the reason."""
    return Call(BAD_LINE, line, why=why)


def batches(given: Iterable[Call], events: EventBatcher) -> Iterator[Batch]:
    """Yield the events of these calls in batches; the caller must yield `events.last` after them."""
    coming = iter(given)
    while some := list(islice(coming, BATCH_ROWS)):
        kind, line, pointer, size, old, thread, time, tag, why = zip(*some, strict=True)
        lines = np.array(line, np.int64)
        # In place of line numbers: `convert_calls` passes this column on, so that each row has the index of its call.
        which = np.arange(len(some))
        codes, tags = _tags(tag)
        calls = Calls(
            np.array(kind, np.uint8), _int64s(pointer), _int64s(old), _int64s(size), _int64s(thread), _int64s(time), which
        )
        for rows in events.settled(calls, len(some)):
            bad_rows = np.flatnonzero(rows.op == UNREADABLE)[:MOST_NOTES].tolist()
            notes = {row: why[int(rows.line[row])] for row in bad_rows}
            rows.size[rows.op == UNREADABLE] = MISSING
            batch = events.batch(rows._replace(line=lines[rows.line]), notes, int(lines[-1]))
            if "tag" in events.columns:
                batch = replace(batch, rows=batch.rows._replace(tag=read_only(codes[rows.line])), tags=tags)
            yield batch


def _tags(names: tuple[str | None, ...]) -> tuple[Int32s, tuple[str, ...]]:
    """Return the tag code of each call (-1 for none), and the distinct tags that the codes index."""
    codes: dict[str, int] = {}
    found = [codes.setdefault(name, len(codes)) if name else -1 for name in names]
    return np.array(found, np.int32), tuple(codes)


def _int64s(values: tuple[int, ...]) -> Int64s:
    """Return values as an int64 array; a value beyond the range becomes the nearest end of the range."""
    try:
        return np.array(values, np.int64)
    except OverflowError:
        return np.array([max(1 - MOST, min(value, MOST - 1)) for value in values], np.int64)
