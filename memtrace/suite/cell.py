"""One cell, replayed in whatever process it lands: plain values in, bytes out."""

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

TABLES = ("summary", "distributions", *BY_POLICY)
KEPT_TRACES = 2  # cells come trace by trace
EPOCH = (1980, 1, 1, 0, 0, 0)  # a zip's own first day: the time is no part of a result

_traces: OrderedDict[tuple[str, str, str | None, str], Trace] = OrderedDict()
_one_at_a_time = threading.RLock()  # a worker may have threads; the engine compiles and caches for one


class Attempt(NamedTuple):
    """The cell's tables as one zip of Parquet files; or what went wrong, in words."""

    data: bytes | None
    error: str | None = None


def attempt(task: Task) -> Attempt:
    """Replay a cell; an error becomes its text, so that it travels as well as a result."""
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
    from memtrace.engine.registry import parse_policy
    from memtrace.results.gather import distributions
    from memtrace.running import Cell, Settings, replay_cell

    trace = replace(opened(task), name=task.trace)
    policy = replace(parse_policy(task.policy), label=task.label)
    settings = Settings(task.capacity, task.on_oom, task.samples, task.validate)  # type: ignore[arg-type]
    return pack(replay_cell(Cell(trace, policy, settings)), distributions(trace))


def opened(task: Task) -> Trace:
    """The task's trace, read once for the cells that follow each other; InputError if it is not the one that was planned."""
    from memtrace.trace import read

    asked = (task.source, task.sha256, task.format, task.invalid)
    if asked not in _traces:
        trace = read(task.source, format=task.format, invalid=task.invalid)
        if trace.sha256 != task.sha256:
            raise InputError(f"{task.source} is not the file that the suite was planned with: its bytes differ")
        _traces[asked] = trace
        while len(_traces) > KEPT_TRACES:
            _traces.popitem(last=False)
    return _traces[asked]


def warm(policy: str) -> None:
    """Compile a policy's loop, so that cells find it."""
    from memtrace.engine.registry import parse_policy
    from memtrace.replaying import warm as warm_policy

    warm_policy(parse_policy(policy))


def pack(part: Any, distributions: dict[str, Any]) -> bytes:
    import pyarrow.parquet as pq

    from memtrace.results.building import summary_table, table

    tables = {"summary": summary_table([part.summary]), "distributions": table("distributions", [distributions])}
    for name in BY_POLICY:
        counters = part.counters if name == "timeline" else ()
        tables[name] = table(name, [part.tables[name]] if name in part.tables else [], counters)
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_STORED) as archive:
        for name in TABLES:
            file = io.BytesIO()
            pq.write_table(tables[name], file, compression="zstd")
            archive.writestr(zipfile.ZipInfo(f"{name}.parquet", EPOCH), file.getvalue())
    return packed.getvalue()


def unpack(data: bytes) -> dict[str, pyarrow.Table]:
    """The tables by name; ValueError if the bytes are damaged."""
    import pyarrow.parquet as pq

    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            return {name: pq.read_table(io.BytesIO(archive.read(f"{name}.parquet")), use_threads=False) for name in TABLES}
    except (zipfile.BadZipFile, KeyError, OSError) as error:
        raise ValueError(f"damaged cell: {error}") from error
