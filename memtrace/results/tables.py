"""Results: what one run found out, as tables in memory (the same columns as in the results folder)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy
    import pyarrow


@dataclass(frozen=True)
class Results:
    """The tables of a results folder; `timeline`, `holes`, `occupancy`, `distributions` as the schema has them."""

    summary: list[dict[str, Any]]
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
        """The traces, in the order of the run."""
        return list(dict.fromkeys(row["trace"] for row in self.summary))

    def policies(self, trace: str) -> list[str]:
        """The policies that replayed this trace, in the order of the run."""
        return [row["policy"] for row in self.summary if row["trace"] == trace]

    def rows(self, table: str, trace: str, policy: str | None = None) -> dict[str, numpy.ndarray]:
        """The columns of one table ("timeline", "holes", ...) for one trace, and one policy where given."""
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
