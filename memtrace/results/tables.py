"""The results of one run as tables in memory, with the same columns as the files of a results folder.

`build` makes them from the parts that the replays of the run returned. A part holds the columns of one replay. The tables
hold the parts one below the other in the order in which they are given, so they do not depend on which replay ended first.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from memtrace.results.schema import BY_POLICY, schema, summary_columns

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow

    from memtrace.results.gather import Columns, Part
    from memtrace.results.rows import Split, TableRows


@dataclass(frozen=True)
class Results:
    """The tables of one run; memtrace.results.schema declares their columns.

    A table that is None was not written, or comes from a folder of an older version.
    """

    summary: list[dict[str, Any]]  # a row for each trace and policy, in the order of the run
    timeline: pyarrow.Table
    holes: pyarrow.Table
    occupancy: pyarrow.Table
    distributions: pyarrow.Table
    manifest: dict[str, Any]
    timing: pyarrow.Table | None = None
    placements: pyarrow.Table | None = None
    locality: pyarrow.Table | None = None
    requests: pyarrow.Table | None = None
    fits: pyarrow.Table | None = None
    failures: pyarrow.Table | None = None
    parts: pyarrow.Table | None = None
    holders: pyarrow.Table | None = None
    pins: pyarrow.Table | None = None
    last_map: pyarrow.Table | None = None
    splits: dict[str, Split] = field(default_factory=dict, repr=False, compare=False)  # made by `rows`, by table

    def traces(self) -> list[str]:
        """Return the names of the traces, in the order of the run."""
        return list(dict.fromkeys(row["trace"] for row in self.summary))

    def policies(self, trace: str) -> list[str]:
        """Return the labels of the policies that replayed this trace, in the order of the run."""
        return [row["policy"] for row in self.summary if row["trace"] == trace]

    def to_arrow(self) -> pyarrow.Table:
        """Return the summary as an arrow table: a row for each trace and policy, with the parameters of a sweep as columns."""
        return summary_table(self.summary, self.manifest.get("traces", {}))

    def to_pandas(self) -> pd.DataFrame:
        """Return the summary as a DataFrame: a row for each trace and policy, with the parameters of a sweep as columns."""
        return self.to_arrow().to_pandas()

    def _repr_html_(self) -> str:
        """Return the ranked tables of all traces, which a notebook shows."""
        from memtrace.results.shown import tables_of

        return tables_of(self)

    def rows(self, table: str, trace: str, policy: str | None = None) -> TableRows:
        """Return the columns of one table ("timeline", "holes", ...) as numpy arrays, for one trace and, if given, one policy.

        The columns `trace` and `policy` are left out. A table that is None has no rows. Calls for one
        trace, one after the other, return the same object.
        """
        from memtrace.results.rows import Split

        found = getattr(self, table)
        if table not in self.splits or self.splits[table].source is not found:
            # None is a table that a folder of an older version does not have.
            self.splits[table] = Split(found, schema(table).empty_table() if found is None else found)
        return self.splits[table].rows(trace, policy)


def build(parts: Sequence[Part], distributions: Sequence[Columns], manifest: dict[str, Any]) -> Results:
    """Return the Results of a run.

    ``parts`` has an entry for each replay in the order of the run, ``distributions`` one for each trace. The timeline
    gets the counters of all policies as further columns.
    """
    counters = tuple(dict.fromkeys(name for part in parts for name in part.counters))
    tables = {
        name: table(name, [part.tables[name] for part in parts if name in part.tables], counters if name == "timeline" else ())
        for name in BY_POLICY
    }
    kept = [part.tables["placements"] for part in parts if "placements" in part.tables]
    missed = [part.tables["locality"] for part in parts if "locality" in part.tables]
    return Results(
        [part.summary for part in parts],
        distributions=table("distributions", distributions),
        manifest=manifest,
        placements=table("placements", kept) if kept else None,
        locality=table("locality", missed) if missed else None,
        **tables,
    )


def table(name: str, parts: Sequence[Columns], counters: tuple[str, ...] = ()) -> pyarrow.Table:
    """Return an arrow table of the parts one below the other, with the columns that the schema of table ``name`` declares.

    A column that a part lacks becomes null. A column that is a single text is repeated in every row of the part.
    ``counters`` names further columns, of int64.
    """
    import pyarrow as pa

    shape = schema(name, counters)
    tables = [pa.table([_array(part, field) for field in shape], schema=shape) for part in parts]
    return pa.concat_tables(tables) if tables else shape.empty_table()


def summary_table(rows: Sequence[dict[str, Any]], sources: Mapping[str, str] | None = None) -> pyarrow.Table:
    """Return the arrow table of summary.parquet from its rows, each a dict by column name.

    With ``sources``, the path, URL or recipe of each trace, the parameters of a sweep follow as columns of their own.
    """
    import pyarrow as pa

    from memtrace.results.parameters import parameters

    shape = schema("summary")
    found = pa.table({name: pa.array([row[name] for row in rows], shape.field(name).type) for name in summary_columns()}, shape)
    for name, values in ({} if sources is None else parameters(rows, sources)).items():
        found = found.append_column(name, pa.array(values))
    return found


def _array(part: Columns, field: Any) -> Any:
    """Return one column of a part as an arrow array of the field's type.

    An absent column becomes nulls, a text is repeated, and NaN in a float array becomes null.
    """
    import pyarrow as pa

    length = next(len(column) for column in part.values() if not isinstance(column, str))
    column = part.get(field.name)
    if column is None:
        return pa.nulls(length, field.type)
    if isinstance(column, str):
        return pa.repeat(pa.scalar(column, field.type), length)
    if isinstance(column, np.ndarray) and column.dtype.kind == "f":
        return pa.array(column, field.type, from_pandas=True)
    return column if isinstance(column, pa.Array) else pa.array(column, field.type)
