"""One pass over raw rows: reads ahead in a thread, gives each tag one code, prepares, says what is wrong."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from memtrace.errors import InputError
from memtrace.trace import kernel
from memtrace.trace.model import Facts, Prepared, Trace, read_only
from memtrace.trace.preparing import Preparer
from memtrace.trace.problems import Problem, explain, problem
from memtrace.trace.ranks import request_of_rank
from memtrace.trace.raw import Batch, Rows
from memtrace.trace.state import Out
from memtrace.trace.store import Keeper, columns_of

Progress = Callable[[int, int | None], None]
Item = TypeVar("Item")


@dataclass(frozen=True)
class Raw:
    """Batches of raw rows that can be read more than once, and what messages call them."""

    label: str
    read: Callable[[], Iterator[Batch]]


class Pass:
    """The state of one pass: `outputs` runs it, and the rest can be asked afterwards."""

    def __init__(
        self,
        raw: Raw,
        on_problem: Callable[[Problem], None] | None,
        *,
        keep_ids: bool = False,
        keep_rows: bool = False,
        progress: Progress | None = None,
    ) -> None:
        self.raw, self.on_problem, self.progress = raw, on_problem, progress
        self.keep_ids, self.keep_rows = keep_ids, keep_rows
        self.preparer = Preparer(())
        self.columns: tuple[str, ...] = ()
        self.metadata: dict[str, str] = {}
        self.tags: dict[str, int] = {}
        self.before = 0  # rows in the batches that are done

    def outputs(self) -> Iterator[tuple[Batch, Out]]:
        """Prepared events, whenever there are enough of them, and the batch at which it was."""
        report = self._report if self.on_problem else None
        batch = None
        for batch in self.batches():
            for out in self.preparer.prepare(batch, report):
                yield batch, out
            self.before += batch.rows.op.size
        if batch is not None and self.preparer.filled:
            yield batch, self.preparer.taken()

    def valid(self) -> Iterator[tuple[Batch, NDArray[np.int32]]]:
        """The batches, and which of their rows are valid; needs keep_rows."""
        report = self._report if self.on_problem else None
        for batch in self.batches():
            outs = [*self.preparer.prepare(batch, report), self.preparer.taken()]
            yield batch, np.concatenate([out.row for out in outs])
            self.before += batch.rows.op.size

    def invalid(self) -> int:
        return int(self.preparer.table.totals[kernel.INVALID_ROWS])

    def batches(self) -> Iterator[Batch]:
        """The raw batches, with tags that have one code in all of them."""
        with closing(ahead(self.raw.read())) as coming:
            for batch in coming:
                if not self.columns:
                    self.columns = batch.columns
                    self.preparer = Preparer(self.columns, keep_ids=self.keep_ids, keep_rows=self.keep_rows)
                self.metadata.update(batch.metadata)  # what was assumed is known at the end
                yield replace(batch, rows=self._encoded(batch))
                if self.progress:
                    self.progress(batch.done, batch.total)

    def _encoded(self, batch: Batch) -> Rows:
        if not batch.tags:
            return batch.rows
        codes = np.array([*(self.tags.setdefault(tag, len(self.tags)) for tag in batch.tags), -1], np.int32)
        return batch.rows._replace(tag=read_only(codes[batch.rows.tag]))  # -1, for none, is the last

    def _report(self, batch: Batch, row: int, wrong: int) -> None:
        assert self.on_problem is not None
        last_time = int(self.preparer.table.totals[kernel.LAST_TIME])
        self.on_problem(problem(batch, row, wrong, self.before, last_time))


def prepare(raw: Raw, *, name: str, invalid: str, keep_ids: bool, memory_limit: int, progress: Progress | None = None) -> Trace:
    """The trace in raw rows, as yet without a hash."""
    refuse = refusing(raw) if invalid == "error" else None
    run = Pass(raw, refuse, keep_ids=keep_ids, progress=progress)
    keeper = Keeper(memory_limit)
    for _, out in run.outputs():
        keeper.add(columns_of(out, run.preparer.filling))
    prepared = keeper.finish(run.preparer.dull())
    return Trace(name, raw.label, "", run.metadata, tuple(run.tags), _facts(run, prepared), run.columns, prepared)


def _facts(run: Pass, prepared: Prepared) -> Facts:
    return run.preparer.facts(lambda bins, percent: request_of_rank(prepared, bins, percent))


def refusing(raw: Raw) -> Callable[[Problem], None]:
    """Raises the first problem as an error that says what to try."""

    def refuse(found: Problem) -> None:
        explain([found], raw.read())
        raise InputError(f"{found.at(raw.label)}\ntry: `--invalid skip` counts such events instead")

    return refuse


def ahead(items: Iterator[Item]) -> Generator[Item]:
    """The same items, each made in a thread while the one before is used."""
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
