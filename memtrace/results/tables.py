"""The results of one run as tables in memory, with the same columns as the files of a results folder."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy
    import pyarrow


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
    failures: pyarrow.Table | None = None
    pins: pyarrow.Table | None = None
    last_map: pyarrow.Table | None = None

    def traces(self) -> list[str]:
        """Return the names of the traces, in the order of the run."""
        return list(dict.fromkeys(row["trace"] for row in self.summary))

    def policies(self, trace: str) -> list[str]:
        """Return the labels of the policies that replayed this trace, in the order of the run."""
        return [row["policy"] for row in self.summary if row["trace"] == trace]

    def rows(self, table: str, trace: str, policy: str | None = None) -> dict[str, numpy.ndarray]:
        """Return the columns of one table ("timeline", "holes", ...) as numpy arrays, for one trace and, if given, one policy.

        The columns `trace` and `policy` are left out. A table that is None has no rows.
        """
        import pyarrow.compute as compute

        found = getattr(self, table)
        if found is None:  # a folder of a version that did not write it
            from memtrace.results.schema import schema

            found = schema(table).empty_table()
        keep = compute.equal(found["trace"], trace)
        if policy is not None:
            keep = compute.and_(keep, compute.equal(found["policy"], policy))
        kept = found.filter(keep)
        names = [name for name in kept.column_names if name not in ("trace", "policy")]
        return {name: kept[name].to_numpy() for name in names}
