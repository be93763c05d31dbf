"""Where prepared columns live: in memory while small, else in an Arrow file that is read back in pieces."""

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

from memtrace.errors import InputError
from memtrace.trace.model import BATCH_ROWS, Events, Int64s, Prepared, read_only

if TYPE_CHECKING:
    import pyarrow as pa

    from memtrace.trace.state import Out

DEFAULTS = {"align": (0, np.int64), "stream": (0, np.int32), "dst": (-1, np.int32), "tag": (-1, np.int32)}
ALWAYS = ("op", "block", "size")
KEPT = ("time", "id")  # not part of Events


class Columns(NamedTuple):
    """The prepared columns of some events; None where the trace lacks one."""

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
        return len(self.op)

    def cut(self, start: int, stop: int) -> Columns:
        return Columns(*(None if column is None else column[start:stop] for column in self))

    def nbytes(self) -> int:
        return sum(0 if column is None else int(column.nbytes) for column in self)

    def events(self) -> Events:
        given = [_ABSENT[name] if getattr(self, name) is None else getattr(self, name) for name in Events._fields]
        return Events(*given)


_ABSENT = {name: read_only(np.full(1, value, kind)) for name, (value, kind) in DEFAULTS.items()}


def columns_of(out: Out, filled: tuple[str, ...]) -> Columns:
    """The kernel's output, without the columns that it was not to fill."""
    return Columns(**{name: getattr(out, name) for name in (*ALWAYS, *filled)})


@dataclass(frozen=True, eq=False)
class Memory:
    """Columns as arrays, in parts of BATCH_ROWS events as they were prepared: joining would cost a copy."""

    parts: tuple[Columns, ...]

    def batches(self, rows: int) -> Iterator[Events]:
        for part in self.parts:
            for start in range(0, part.rows(), rows):
                yield part.cut(start, start + rows).events()

    def column(self, name: str, events: Int64s) -> Int64s | None:
        if getattr(self.parts[0], name) is None:
            return None
        return gather(events, lambda number: getattr(self.parts[number], name))

    def nbytes(self) -> int:
        return sum(part.nbytes() for part in self.parts)

    def share(self, directory: Path, name: str) -> Prepared:
        spill = Spill(directory, name)
        for part in self.parts:
            spill.add(part)
        return spill.finish(())

    def __setstate__(self, state: dict[str, Any]) -> None:
        # A pickle forgets that arrays are read-only, and the engine is compiled for those.
        for part in state["parts"]:
            for column in part:
                if column is not None:
                    read_only(column)
        object.__setattr__(self, "parts", state["parts"])


def gather(events: Int64s, part: Callable[[int], Any]) -> Int64s:
    """The values at these event numbers of a column that is in parts of BATCH_ROWS."""
    found = np.empty(events.size, np.int64)
    numbers = events // BATCH_ROWS
    for number in np.unique(numbers).tolist():
        asked = np.flatnonzero(numbers == number)
        found[asked] = part(number)[events[asked] % BATCH_ROWS]
    return found


@dataclass(frozen=True, eq=False)
class File:
    """Columns in an Arrow file of batches of BATCH_ROWS events, which lives as long as `keeper`."""

    path: Path
    names: tuple[str, ...]  # columns worth reading
    keeper: object = field(default=None, repr=False)

    def batches(self, rows: int) -> Iterator[Events]:
        wanted = [name for name in self.names if name not in KEPT]
        with _Reader(self.path, wanted) as reader:
            for number in range(reader.count):
                columns = reader.columns(number)
                for start in range(0, columns.rows(), rows):
                    yield columns.cut(start, start + rows).events()

    def column(self, name: str, events: Int64s) -> Int64s | None:
        if name not in self.names:
            return None
        with _Reader(self.path, [name]) as reader:
            return gather(events, lambda number: reader.array(number, name))

    def nbytes(self) -> int:
        return self.path.stat().st_size

    def share(self, directory: Path, name: str) -> Prepared:
        if self.path.parent == directory:
            return self
        directory.mkdir(parents=True, exist_ok=True)
        target = _free_name(directory, name)
        shutil.copyfile(self.path, target)
        return replace(self, path=target, keeper=None)

    def __getstate__(self) -> dict[str, Any]:
        # The file stays its first owner's: a process that was sent the path does not remove it.
        return {"path": self.path, "names": self.names, "keeper": None}


class _Reader:
    """An Arrow file read by plain reads, not mapped: pages of a map would count as this process's memory."""

    def __init__(self, path: Path, names: list[str]) -> None:
        import pyarrow as pa

        self.file = pa.OSFile(str(path))
        with pa.ipc.open_file(self.file) as whole:
            schema = whole.schema
        options = pa.ipc.IpcReadOptions(included_fields=[schema.get_field_index(name) for name in names])
        self.batches = pa.ipc.open_file(self.file, options=options)
        self.count = self.batches.num_record_batches

    def array(self, number: int, name: str) -> Any:
        return self.batches.get_batch(number).column(name).to_numpy()

    def columns(self, number: int) -> Columns:
        batch = self.batches.get_batch(number)
        return Columns(**{name: batch.column(name).to_numpy() for name in batch.schema.names})

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.file.close()


class Spill:
    """An Arrow file that grows by batches; all but the last have BATCH_ROWS events."""

    def __init__(self, directory: Path, name: str, keeper: object = None) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.path = _free_name(directory, name)
        self.keeper = keeper
        self.writer: Any = None
        self.names: tuple[str, ...] = ()

    def add(self, columns: Columns) -> None:
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
        """The file; columns that only say their default are not read from it again."""
        if self.writer is None:
            self.add(EMPTY)
        self.writer.close()
        return File(self.path, tuple(name for name in self.names if name not in dull), self.keeper)


EMPTY = Columns(
    *(read_only(np.empty(0, kind)) for kind in (np.uint8, np.int32, np.int64)),
)


class Keeper:
    """Collects prepared batches: in memory up to a limit, then in a file that goes when the trace does."""

    def __init__(self, memory_limit: int) -> None:
        self.memory_limit = memory_limit
        self.parts: list[Columns] = []
        self.bytes = 0
        self.spill: Spill | None = None

    def add(self, columns: Columns) -> None:
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
        if self.spill is not None:
            return self.spill.finish(dull)
        absent = dict.fromkeys(dull)
        return Memory(tuple(part._replace(**absent) for part in self.parts or [EMPTY]))


class _Directory:
    """A temporary directory, removed when the last trace in it is forgotten, or at exit."""

    def __init__(self) -> None:
        self.path = Path(tempfile.mkdtemp(prefix="memtrace-"))
        weakref.finalize(self, _remove, str(self.path), os.getpid())


def _remove(path: str, owner: int) -> None:
    """A forked child forgets its copy of the trace too, and must leave the file."""
    if os.getpid() == owner:
        shutil.rmtree(path, ignore_errors=True)


def _own_directory() -> tuple[Path, str, object]:
    directory = _Directory()
    return directory.path, "prepared", directory


def _record_batch(columns: Columns) -> pa.RecordBatch:
    import pyarrow as pa

    present = {name: column for name, column in columns._asdict().items() if column is not None}
    return pa.RecordBatch.from_arrays([pa.array(column) for column in present.values()], list(present))


def _free_name(directory: Path, name: str) -> Path:
    """A path in the directory that no file has yet."""
    handle, path = tempfile.mkstemp(prefix=f"{name}-", suffix=".arrow", dir=directory)
    os.close(handle)
    return Path(path)
