"""Replay one cell of a suite in any process, and pack its tables into bytes.

A Task, which consists of plain values, goes in; a zip of Parquet files comes out. So a cell can be replayed in another
process or on another machine. The zip is the content of a cell's file in the store.
"""

from __future__ import annotations

import io
import threading
import zipfile
from collections import OrderedDict
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

from memtrace.errors import InputError, MemtraceError
from memtrace.results.schema import BY_POLICY
from memtrace.suite.planning import Task

if TYPE_CHECKING:
    import pyarrow

    from memtrace.trace import Trace

TABLES = ("summary", "distributions", *BY_POLICY)  # the tables in a cell's zip
KEPT_TRACES = 2  # traces kept in memory; cells come trace by trace, so few are enough
EPOCH = (1980, 1, 1, 0, 0, 0)  # the first time that a zip can name; with a fixed time equal results give equal bytes

_traces: OrderedDict[tuple[str, str, str | None, str], Trace] = OrderedDict()  # by source, SHA-256, format, invalid
_one_at_a_time = threading.RLock()  # a dask worker may run several threads, and the engine's caches are not made for that


class Attempt(NamedTuple):
    """The outcome of a cell's replay: the cell's tables as one zip of Parquet files, or the reason why there are none."""

    data: bytes | None  # None if the replay failed
    error: str | None = None  # the reason, in words


def attempt(task: Task) -> Attempt:
    """Replay a cell, and return its bytes or the text of the error.

    An exception is not raised but returned as text, which any process or cluster can send back.
    """
    try:
        with _one_at_a_time:
            return Attempt(replay_task(task))
    except MemtraceError as error:
        return Attempt(None, str(error))
    except MemoryError:
        return Attempt(None, "this machine has too little memory for it")
    except Exception as error:
        return Attempt(None, f"{type(error).__name__}: {error}")


def replay_task(task: Task) -> bytes:
    """Replay a task, and return its tables as a zip of Parquet files."""
    from memtrace.engine.registry import parse_policy
    from memtrace.results.gather import distributions
    from memtrace.results.running import Cell, replay_cell

    trace = replace(cached_trace(task), name=task.trace)
    policy = replace(parse_policy(task.policy), label=task.label)
    part = replay_cell(Cell(trace, policy, task.settings, background=False))
    return pack(part, distributions(trace), f"{task.key} {task.sha256}")


def cached_trace(task: Task) -> Trace:
    """Return the task's trace, which is read once for cells that follow each other.

    Raise InputError if the trace's SHA-256 is not the one that the suite was planned with.
    """
    from memtrace.reading import read

    asked = (task.source, task.sha256, task.format, task.invalid)
    if asked not in _traces:
        trace = read(task.source, format=task.format, invalid=task.invalid)
        if trace.sha256 != task.sha256:
            raise InputError(f"{task.source} is not the file that the suite was planned with: its bytes differ")
        _traces[asked] = trace
        while len(_traces) > KEPT_TRACES:
            _traces.popitem(last=False)
    return _traces[asked]


def pack(part: Any, distributions: dict[str, Any], identity: str) -> bytes:
    """Return the tables of one replay as a zip of Parquet files, one for each name in TABLES.

    ``part`` is the replay's part of the results, ``distributions`` are the columns of that table for its trace. ``identity``, the
    comment of the zip, says which cell it is: its key and the SHA-256 of its trace.
    """
    import pyarrow.parquet as pq

    from memtrace.results.tables import summary_table, table

    tables = {"summary": summary_table([part.summary]), "distributions": table("distributions", [distributions])}
    for name in BY_POLICY:
        counters = part.counters if name == "timeline" else ()
        tables[name] = table(name, [part.tables[name]] if name in part.tables else [], counters)
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_STORED) as archive:
        archive.comment = identity.encode()
        for name in TABLES:
            file = io.BytesIO()
            pq.write_table(tables[name], file, compression="zstd")
            archive.writestr(zipfile.ZipInfo(f"{name}.parquet", EPOCH), file.getvalue())
    return packed.getvalue()


def unpack(data: bytes, task: Task) -> dict[str, pyarrow.Table]:
    """Return the tables in the bytes of a task's cell, by name. Raise ValueError if they are damaged, or of another cell."""
    import pyarrow.parquet as pq

    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            if archive.comment != f"{task.key} {task.sha256}".encode():
                raise ValueError("the cell is another one than its file's name says")
            return {name: pq.read_table(io.BytesIO(archive.read(f"{name}.parquet")), use_threads=False) for name in TABLES}
    except (zipfile.BadZipFile, KeyError, OSError) as error:
        raise ValueError(f"damaged cell: {error}") from error
