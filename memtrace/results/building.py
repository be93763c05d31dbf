"""Build the tables of a run from the parts that its replays returned.

A part holds the columns of one replay. The tables hold the parts one below the other in the order in which they are
given, so they do not depend on which replay ended first.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from memtrace.results.schema import BY_POLICY, schema, summary_columns
from memtrace.results.tables import Results

if TYPE_CHECKING:
    import pyarrow

    from memtrace.results.gather import Columns, Part


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


def summary_table(rows: Sequence[dict[str, Any]]) -> pyarrow.Table:
    """Return the arrow table of summary.parquet from its rows, each a dict by column name."""
    import pyarrow as pa

    shape = schema("summary")
    return pa.table({name: pa.array([row[name] for row in rows], shape.field(name).type) for name in summary_columns()}, shape)


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
