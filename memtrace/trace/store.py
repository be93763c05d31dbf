"""Store prepared columns: in memory while they are small, else in an Arrow file that is read back in parts.

`to_frame` converts a Trace to a pandas DataFrame with one row per event.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import weakref
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import numpy as np

from memtrace import temporary
from memtrace.errors import InputError
from memtrace.trace.model import BATCH_ROWS, Events, Int64s, Op, Prepared, read_only

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

    from memtrace.trace.model import Trace
    from memtrace.trace.preparing import Out

# Optional column of Events -> its default and its type.
DEFAULTS = {"align": (0, np.int64), "stream": (0, np.int32), "dst": (-1, np.int32), "tag": (-1, np.int32)}
ALWAYS = ("op", "block", "size")
SIDE_COLUMNS = ("time", "id")  # columns that are not part of Events
_ABSENT = {name: read_only(np.full(1, value, kind)) for name, (value, kind) in DEFAULTS.items()}


class Columns(NamedTuple):
    """Store the prepared columns of some consecutive events; None for a column that the trace lacks."""

    op: Any
    block: Any
    size: Any
    align: Any = None
    stream: Any = None
    dst: Any = None
    tag: Any = None
    time: Any = None
    id: Any = None

    def rows(self) -> int:
        """Return the number of events."""
        return len(self.op)

    def cut(self, start: int, stop: int) -> Columns:
        """Return the events in the half-open interval [start, stop), without copying."""
        return Columns(*(None if column is None else column[start:stop] for column in self))

    def nbytes(self) -> int:
        """Return the total size of the arrays in bytes."""
        return sum(0 if column is None else int(column.nbytes) for column in self)

    def events(self) -> Events:
        """Return the columns as Events, in which a missing column is one element, its default."""
        given = [_ABSENT[name] if getattr(self, name) is None else getattr(self, name) for name in Events._fields]
        return Events(*given)


def columns_of(out: Out, filled: tuple[str, ...]) -> Columns:
    """Return the kernel's output as Columns; `filled` names the optional columns that the kernel has filled."""
    return Columns(**{name: getattr(out, name) for name in (*ALWAYS, *filled)})


@dataclass(frozen=True, eq=False)
class Memory:
    """Store columns as arrays in memory.

    The parts are those that the kernel put out, of BATCH_ROWS events (the last may be shorter); joining them would cost a copy.
    """

    parts: tuple[Columns, ...]

    def batches(self, rows: int) -> Iterator[Events]:
        """Yield all events in order, at most `rows` in a batch."""
        for part in self.parts:
            for start in range(0, part.rows(), rows):
                yield part.cut(start, start + rows).events()

    def column(self, name: str, events: Int64s) -> Int64s | None:
        """Return the values of a column at these event numbers, or None if the column was not kept."""
        if getattr(self.parts[0], name) is None:
            return None
        return gather(events, lambda number: getattr(self.parts[number], name))

    def nbytes(self) -> int:
        """Return the total size of the arrays in bytes."""
        return sum(part.nbytes() for part in self.parts)

    def share(self, directory: Path, name: str) -> Prepared:
        """Write the columns to a new Arrow file in the directory, and return its storage."""
        spill = Spill(directory, name)
        for part in self.parts:
            spill.add(part)
        return spill.finish(())

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Restore the parts from a pickle."""
        # A pickle does not keep the read-only flag of arrays, and the engine is compiled for read-only arrays.
        for part in state["parts"]:
            for column in part:
                if column is not None:
                    read_only(column)
        object.__setattr__(self, "parts", state["parts"])


def gather(events: Int64s, part: Callable[[int], Any]) -> Int64s:
    """Return the values of a column at these event numbers; `part(n)` returns the column's n-th part, of BATCH_ROWS events."""
    found = np.empty(events.size, np.int64)
    numbers = events // BATCH_ROWS
    for number in np.unique(numbers).tolist():
        asked = np.flatnonzero(numbers == number)
        found[asked] = part(number)[events[asked] % BATCH_ROWS]
    return found


@dataclass(frozen=True, eq=False)
class File:
    """Describe columns in an Arrow file of batches of BATCH_ROWS events.

    `keeper` is an object whose end removes the file; None if the file belongs to another process or to the caller.
    """

    path: Path
    names: tuple[str, ...]  # columns that have values other than their defaults
    keeper: object = field(default=None, repr=False)

    def batches(self, rows: int) -> Iterator[Events]:
        """Yield all events in order, at most `rows` in a batch."""
        wanted = [name for name in self.names if name not in SIDE_COLUMNS]
        with _Reader(self.path, wanted) as reader:
            for number in range(reader.count):
                columns = reader.columns(number)
                for start in range(0, columns.rows(), rows):
                    yield columns.cut(start, start + rows).events()

    def column(self, name: str, events: Int64s) -> Int64s | None:
        """Return the values of a column at these event numbers, or None if the column was not kept."""
        if name not in self.names:
            return None
        with _Reader(self.path, [name]) as reader:
            return gather(events, lambda number: reader.array(number, name))

    def nbytes(self) -> int:
        """Return the size of the file in bytes."""
        return self.path.stat().st_size

    def share(self, directory: Path, name: str) -> Prepared:
        """Return the storage of a copy of the file in the directory, or this storage if the file is there already."""
        if self.path.parent == directory:
            return self
        directory.mkdir(parents=True, exist_ok=True)
        target = _free_name(directory, name)
        shutil.copyfile(self.path, target)
        return replace(self, path=target, keeper=None)

    def __getstate__(self) -> dict[str, Any]:
        """Return the state to pickle, without the keeper."""
        # A process that receives the path must not remove the file.
        return {"path": self.path, "names": self.names, "keeper": None}


class _Reader:
    """Read the given columns of an Arrow file, to be used in a `with` block.

    The file is read, not memory-mapped: mapped pages would count as memory of this process.
    """

    def __init__(self, path: Path, names: list[str]) -> None:
        """Open the file, for the columns `names` only."""
        import pyarrow as pa

        self.file = pa.OSFile(str(path))
        with pa.ipc.open_file(self.file) as whole:
            schema = whole.schema
        options = pa.ipc.IpcReadOptions(included_fields=[schema.get_field_index(name) for name in names])
        self.batches = pa.ipc.open_file(self.file, options=options)
        self.count = self.batches.num_record_batches

    def array(self, number: int, name: str) -> Any:
        """Return one column of the file's batch `number`."""
        return self.batches.get_batch(number).column(name).to_numpy()

    def columns(self, number: int) -> Columns:
        """Return all wanted columns of the file's batch `number`."""
        batch = self.batches.get_batch(number)
        return Columns(**{name: batch.column(name).to_numpy() for name in batch.schema.names})

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Close the file."""
        self.file.close()


class Spill:
    """Write an Arrow file batch by batch; all batches but the last must have BATCH_ROWS events."""

    def __init__(self, directory: Path, name: str, keeper: object = None) -> None:
        """Choose a new file name in the directory; `keeper` is an object whose end removes the file, or None."""
        directory.mkdir(parents=True, exist_ok=True)
        self.path = _free_name(directory, name)
        self.keeper = keeper
        self.writer: Any = None
        self.names: tuple[str, ...] = ()

    def add(self, columns: Columns) -> None:
        """Append a batch; raises InputError if the disk is full."""
        batch = _record_batch(columns)
        try:
            if self.writer is None:
                import pyarrow as pa

                self.names = tuple(batch.schema.names)
                self.writer = pa.ipc.new_file(str(self.path), batch.schema)
            self.writer.write_batch(batch)
        except OSError as error:
            raise InputError(
                f"{self.path.parent}: no room for the prepared events: {error.strerror or error}\n"
                "try: TMPDIR=FOLDER, a folder with some 25 bytes for each event"
            ) from error

    def finish(self, dull: tuple[str, ...]) -> File:
        """Close the file and return its storage; the columns named in `dull` have only default values and are not read again."""
        if self.writer is None:
            self.add(EMPTY)
        self.writer.close()
        return File(self.path, tuple(name for name in self.names if name not in dull), self.keeper)


EMPTY = Columns(
    *(read_only(np.empty(0, kind)) for kind in (np.uint8, np.int32, np.int64)),
)


class ColumnCollector:
    """Collect prepared batches: in memory up to a limit in bytes, then in a temporary file that is removed with the trace."""

    def __init__(self, memory_limit: int) -> None:
        """Start empty; `memory_limit` is in bytes."""
        self.memory_limit = memory_limit
        self.parts: list[Columns] = []
        self.bytes = 0
        self.spill: Spill | None = None

    def add(self, columns: Columns) -> None:
        """Append a batch; when the limit is passed, move all batches to the file."""
        if self.spill is None:
            self.parts.append(columns)
            self.bytes += columns.nbytes()
            if self.bytes > self.memory_limit:
                self.spill = Spill(*_own_directory())
                for part in self.parts:
                    self.spill.add(part)
                self.parts.clear()
        else:
            self.spill.add(columns)

    def finish(self, dull: tuple[str, ...]) -> Prepared:
        """Return the storage of all batches, without the columns named in `dull`."""
        if self.spill is not None:
            return self.spill.finish(dull)
        absent = dict.fromkeys(dull)
        return Memory(tuple(part._replace(**absent) for part in self.parts or [EMPTY]))


class _Directory:
    """Own a temporary directory, which is removed when this object is collected, or at exit."""

    def __init__(self) -> None:
        """Make the directory."""
        made = temporary.Folder()
        self.path = made.path
        weakref.finalize(self, made.remove)


def _own_directory() -> tuple[Path, str, object]:
    """Return the arguments of a Spill in a new temporary directory: its path, the file's name, and its keeper."""
    directory = _Directory()
    return directory.path, "prepared", directory


def _record_batch(columns: Columns) -> pa.RecordBatch:
    """Return the columns that are not None as an Arrow record batch."""
    import pyarrow as pa

    present = {name: column for name, column in columns._asdict().items() if column is not None}
    return pa.RecordBatch.from_arrays([pa.array(column) for column in present.values()], list(present))


def _free_name(directory: Path, name: str) -> Path:
    """Create an empty file with a new name, which starts with `name`, in the directory, and return its path."""
    handle, path = tempfile.mkstemp(prefix=f"{name}-", suffix=".arrow", dir=directory)
    os.close(handle)
    return Path(path)


def to_frame(trace: Trace) -> pd.DataFrame:
    """Return a DataFrame indexed by event number, with the columns op, block and size.

    The columns time, align, stream, dst and tag are there only if the trace has values in them.
    """
    import pandas as pd

    batches = list(trace.batches(BATCH_ROWS)) or [EMPTY.events()]
    events = trace.facts.events
    ops = pd.Categorical.from_codes(
        np.concatenate([batch.op for batch in batches]).astype(np.int8), [op.name.lower() for op in Op]
    )
    frame = pd.DataFrame({"op": ops}, index=pd.RangeIndex(events, name="event"))
    for name in ("block", "size", "align", "stream", "dst"):
        columns = [getattr(batch, name) for batch in batches]
        if all(column.size == batch.op.size for column, batch in zip(columns, batches, strict=True)):
            frame[name] = np.concatenate(columns)
    if "time" in trace.columns:
        frame.insert(1, "time", trace.times(np.arange(events)))
    if trace.tags:
        codes = np.concatenate([np.broadcast_to(batch.tag, batch.op.size) for batch in batches])
        frame["tag"] = pd.Categorical.from_codes(codes, list(trace.tags))
    return frame
