"""Some rows of a results table as numpy arrays, and the split of a table by trace and policy.

A report asks for the same rows many times. So a table is split once, a column is converted when it is first asked for, and
what was made is kept.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import pyarrow

KEYS = ("trace", "policy")  # columns that tell the parts of a table apart
Made = TypeVar("Made")


class TableRows(Mapping[str, NDArray[Any]]):
    """Rows of a table, as read-only numpy arrays by the name of their column. The columns of KEYS are left out.

    Integers with nulls are floats with NaN; text is an array of objects with None for null.
    """

    def __init__(self, table: pyarrow.Table) -> None:
        """Take the rows of an arrow table; nothing is converted yet."""
        self._table = table
        self._names = [name for name in table.column_names if name not in KEYS]
        self._arrays: dict[str, NDArray[Any]] = {}
        self._made: dict[Any, Any] = {}

    def __getitem__(self, name: str) -> NDArray[Any]:
        """Return a column. Raise KeyError if the table has none of this name."""
        if name not in self._arrays:
            if name not in self._names:
                raise KeyError(name)
            self._arrays[name] = self._converted(name)
        return self._arrays[name]

    def __iter__(self) -> Iterator[str]:
        """Return the names of the columns in the order of the table."""
        return iter(self._names)

    def __len__(self) -> int:
        """Return the number of columns."""
        return len(self._names)

    __hash__ = object.__hash__

    def __eq__(self, other: object) -> bool:
        """Return whether the other is this very object; arrays have no truth value to compare by."""
        return self is other

    def size(self) -> int:
        """Return the number of rows, without converting a column."""
        return int(self._table.num_rows)

    def codes(self, name: str) -> tuple[list[str], NDArray[np.int64]]:
        """Return the different texts of a column, and for each row the index of its text, or -1 for null."""
        return self.once(("codes", name), lambda: _codes(self._table[name]))

    def once(self, key: Any, make: Callable[[], Made]) -> Made:
        """Return what ``make`` returns, which is called once for each ``key``: what follows from these rows is kept with them."""
        if key not in self._made:
            self._made[key] = make()
        found: Made = self._made[key]
        return found

    def _converted(self, name: str) -> NDArray[Any]:
        """Return a column as a read-only array."""
        import pyarrow as pa

        if pa.types.is_string(self._table.schema.field(name).type):
            texts, codes = self.codes(name)
            array = np.array([*texts, None], object)[codes]  # each text is one object, however often it occurs
        else:
            array = self._table[name].to_numpy()
        array.flags.writeable = False
        return array


def codes_of(rows: Mapping[str, NDArray[Any]], name: str) -> tuple[list[str], NDArray[np.int64]]:
    """Return the different texts of a column, and for each row the index of its text, or -1 for None."""
    if isinstance(rows, TableRows):
        return rows.codes(name)
    values = rows[name].tolist()
    texts = list(dict.fromkeys(value for value in values if value is not None))
    place = {text: at for at, text in enumerate(texts)}
    return texts, np.array([-1 if value is None else place[value] for value in values], np.int64)


def once(rows: Mapping[str, NDArray[Any]], key: Any, make: Callable[[], Made]) -> Made:
    """Return what ``make`` returns; for rows of a results table it is called once for each ``key``."""
    return rows.once(key, make) if isinstance(rows, TableRows) else make()


def _codes(column: pyarrow.ChunkedArray) -> tuple[list[str], NDArray[np.int64]]:
    """Return the different texts of an arrow column and the index of each row's text, -1 for null."""
    encoded = column.combine_chunks().dictionary_encode()
    return encoded.dictionary.to_pylist(), encoded.indices.fill_null(-1).to_numpy().astype(np.int64)


class Split:
    """A table split by trace and policy."""

    def __init__(self, source: pyarrow.Table | None, table: pyarrow.Table) -> None:
        """Find where the rows of each trace and policy lie; a table without a column `policy` is split by trace.

        ``source`` is what the results have in place of ``table``, None for a table that was not written.
        """
        self.source, self.table = source, table
        keys = [_codes(table[name]) for name in KEYS if name in table.column_names]
        changes = np.zeros(max(0, table.num_rows - 1), bool)
        for _, codes in keys:
            changes |= codes[1:] != codes[:-1]
        starts = [0, *(np.flatnonzero(changes) + 1).tolist()] if table.num_rows else []
        self._parts: dict[tuple[str | None, ...], list[tuple[int, int]]] = {}
        for start, end in zip(starts, [*starts[1:], table.num_rows], strict=False):
            key = tuple(texts[codes[start]] if codes[start] >= 0 else None for texts, codes in keys)
            self._parts.setdefault(key, []).append((start, end))
        self._found: dict[str | None, TableRows] = {}  # by policy, of one trace
        self._trace = ""

    def rows(self, trace: str, policy: str | None) -> TableRows:
        """Return the rows of a trace and a policy in the table's order; ``policy`` None stands for those of all policies.

        What was made of the rows of another trace is forgotten, since reports go from trace to trace.
        """
        if trace != self._trace:
            self._found, self._trace = {}, trace
        if policy not in self._found:
            runs = sorted(
                run
                for key, runs in self._parts.items()
                if key[0] == trace and (policy is None or key[1] == policy)
                for run in runs
            )
            self._found[policy] = TableRows(_joined(self.table, runs))
        return self._found[policy]


def _joined(table: pyarrow.Table, runs: list[tuple[int, int]]) -> pyarrow.Table:
    """Return the rows of these half-open ranges, which are ascending, in one table. Ranges that touch are not copied."""
    import pyarrow as pa

    merged: list[tuple[int, int]] = []
    for start, end in runs:
        if merged and merged[-1][1] == start:
            merged[-1] = (merged[-1][0], end)
        else:
            merged.append((start, end))
    parts = [table.slice(start, end - start) for start, end in merged]
    return pa.concat_tables(parts) if parts else table.slice(0, 0)
