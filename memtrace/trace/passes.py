"""Run one pass over raw rows: read ahead in a thread, give each tag one code, prepare the events, report invalid rows."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from memtrace.errors import InputError, UsageError
from memtrace.trace import checking
from memtrace.trace.batches import MISSING, Batch, Rows
from memtrace.trace.model import Facts, Op, Plan, Prepared, Trace, read_only
from memtrace.trace.preparing import Out, Preparer, request_of_rank
from memtrace.trace.problems import Problem, explain, problem
from memtrace.trace.store import ColumnCollector, columns_of


def check_invalid(invalid: str) -> None:
    """Raise UsageError unless `invalid` is "error" or "skip"."""
    if invalid not in ("error", "skip"):
        raise UsageError(f"invalid={invalid!r}; it is 'error' or 'skip'")


MEMORY_LIMIT = 256 << 20  # bytes of prepared columns that stay in memory


Progress = Callable[[int, int | None], None]  # called with the amount done and the total (None: unknown), in one unit
Item = TypeVar("Item")


@dataclass(frozen=True)
class Raw:
    """Describe batches of raw rows that can be read more than once."""

    label: str  # the name of the input in messages
    read: Callable[[], Iterator[Batch]]  # yields all batches; every call starts anew


class Pass:
    """Run one pass over raw rows with `outputs` or `valid`, and keep what it has found: columns, metadata, tags, counts."""

    def __init__(
        self,
        raw: Raw,
        on_problem: Callable[[Problem], None] | None,
        *,
        keep_ids: bool = False,
        keep_rows: bool = False,
        progress: Progress | None = None,
    ) -> None:
        """Set up a pass over `raw`.

        `on_problem` is called with each invalid row and may raise; if it is None, invalid rows are only counted. `keep_ids` keeps
        the input's ids, `keep_rows` the row number of each event. `progress(done, total)` is called after each batch.
        """
        self.raw, self.on_problem, self.progress = raw, on_problem, progress
        self.keep_ids, self.keep_rows = keep_ids, keep_rows
        self.preparer = Preparer(())
        self.columns: tuple[str, ...] = ()
        self.metadata: dict[str, str] = {}
        self.tags: dict[str, int] = {}
        self.before = 0  # rows in the batches before the current one

    def outputs(self) -> Iterator[tuple[Batch, Out]]:
        """Yield prepared events in outputs of BATCH_ROWS (the last may be shorter), each with the raw batch then being read."""
        report = self._report if self.on_problem else None
        batch = None
        for batch in self.batches():
            for out in self.preparer.prepare(batch, report):
                yield batch, out
            self.before += batch.rows.op.size
        if batch is not None and self.preparer.filled:
            yield batch, self.preparer.taken()

    def valid(self) -> Iterator[tuple[Batch, NDArray[np.int32]]]:
        """Yield each raw batch with the row numbers, within the batch, of its valid rows; needs `keep_rows`."""
        report = self._report if self.on_problem else None
        for batch in self.batches():
            outs = [*self.preparer.prepare(batch, report), self.preparer.taken()]
            yield batch, np.concatenate([out.row for out in outs])
            self.before += batch.rows.op.size

    def plan(self) -> Plan | None:
        """Return the plan that the input has, None if it has none; needs `keep_rows`, and makes the whole pass."""
        offsets: list[NDArray[np.int64]] = []
        places: list[int] = []
        word = ""
        for batch in self.batches():
            outs = [*self.preparer.prepare(batch, None), self.preparer.taken()]
            rows = np.concatenate([out.row[(out.op == Op.ALLOC) | (out.op == Op.REALLOC)] for out in outs])
            if rows.size and batch.offset is None:
                return None
            if batch.offset is not None:
                offsets.append(batch.offset[rows])
                places += [batch.place(row).number for row in rows.tolist()]
                word = batch.place(0).word
        offset = np.concatenate(offsets) if offsets else np.zeros(0, np.int64)
        return Plan(read_only(np.where(offset == MISSING, -1, offset)), read_only(np.array(places, np.int64)), word)

    def invalid(self) -> int:
        """Return the number of invalid rows so far."""
        return int(self.preparer.table.totals[checking.INVALID_ROWS])

    def batches(self) -> Iterator[Batch]:
        """Yield the raw batches, with tag codes replaced by codes that mean the same tag in all batches."""
        with closing(read_ahead(self.raw.read())) as coming:
            for batch in coming:
                if not self.columns:
                    self.columns = batch.columns
                    self.preparer = Preparer(self.columns, keep_ids=self.keep_ids, keep_rows=self.keep_rows)
                self.metadata.update(batch.metadata)  # some formats add what they assumed to the last batch
                yield replace(batch, rows=self._encoded(batch))
                if self.progress:
                    self.progress(batch.done, batch.total)

    def _encoded(self, batch: Batch) -> Rows:
        """Return the rows of a batch with tag codes of the whole pass; new tags are added to `self.tags`."""
        if not batch.tags:
            return batch.rows
        codes = np.array([*(self.tags.setdefault(tag, len(self.tags)) for tag in batch.tags), -1], np.int32)
        return batch.rows._replace(tag=read_only(codes[batch.rows.tag]))  # code -1 picks the last entry, -1

    def _report(self, batch: Batch, row: int, wrong: int) -> None:
        """Pass an invalid row to `on_problem`: its number in the batch, and `wrong`, a code of the kernel."""
        assert self.on_problem is not None
        last_time = int(self.preparer.table.totals[checking.LAST_TIME])
        self.on_problem(problem(batch, row, wrong, self.before, last_time))


def prepare(raw: Raw, *, name: str, invalid: str, keep_ids: bool, memory_limit: int, progress: Progress | None = None) -> Trace:
    """Return the Trace that raw rows make; its `sha256` is still empty.

    `invalid` is "error" (raise InputError at the first invalid row) or "skip" (count and leave out). Prepared columns beyond
    `memory_limit` bytes go to a temporary file.
    """
    refuse = problem_raiser(raw) if invalid == "error" else None
    run = Pass(raw, refuse, keep_ids=keep_ids, progress=progress)
    keeper = ColumnCollector(memory_limit)
    for _, out in run.outputs():
        keeper.add(columns_of(out, run.preparer.filling))
    prepared = keeper.finish(run.preparer.dull())
    return Trace(name, raw.label, "", run.metadata, tuple(run.tags), _facts(run, prepared), run.columns, prepared)


def _facts(run: Pass, prepared: Prepared) -> Facts:
    """Return the facts of a finished pass; the percentiles of requests need a second look at the prepared sizes."""
    return run.preparer.facts(lambda bins, percent: request_of_rank(prepared, bins, percent))


def problem_raiser(raw: Raw) -> Callable[[Problem], None]:
    """Return a function that raises a problem as an InputError, which says what is wrong and what to try."""

    def refuse(found: Problem) -> None:
        """Raise the problem as InputError, after reading the input again for the history of its id."""
        explain([found], raw.read())
        raise InputError(f"{found.at(raw.label)}\ntry: `--invalid skip` counts such events instead")

    return refuse


def read_ahead(items: Iterator[Item]) -> Generator[Item]:
    """Yield the same items; a thread makes the next item while the caller uses the current one. Items must not be None."""
    with ThreadPoolExecutor(1, "memtrace-reader") as pool:
        try:
            coming = pool.submit(next, items, None)
            while (item := coming.result()) is not None:
                coming = pool.submit(next, items, None)
                yield item
        finally:
            pool.shutdown(cancel_futures=True)
            close = getattr(items, "close", None)
            if close:
                close()
