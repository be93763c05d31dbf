"""Finished cells -> the suite's results: a summary over all, and a results folder for each trace."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from memtrace.results.schema import BY_POLICY
from memtrace.results.tables import Results
from memtrace.suite.cell import unpack
from memtrace.suite.planning import Plan, Task
from memtrace.suite.store import Store

if TYPE_CHECKING:
    import pyarrow

SCHEMA = "memtrace.suite/1"
WriteTrace = Callable[[Results, Path], list[Path]]


def write(
    plan: Plan, store: Store, lost: set[Task], write_trace: WriteTrace, wall_seconds: float
) -> tuple[list[dict[str, Any]], list[Path]]:
    """The rows of the summary in the order of the plan, and the files. ``write_trace`` writes one trace's folder.

    Memory is that of one trace's cells. The summary goes last: while it is the old one, so is the manifest.
    """
    from memtrace.results.folder import write_summary_folder
    from memtrace.results.manifest import manifest

    output = plan.suite.at(plan.suite.output)
    rows: list[dict[str, Any]] = []
    timing: list[pyarrow.Table] = []
    folders = folder_names(list(plan.sources))
    files: list[Path] = []
    for trace in plan.sources:
        cells = [unpack(store.get(task.key)) for task in plan.tasks if task.trace == trace and task not in lost]
        if not cells:
            continue
        results = assemble(cells, manifest({trace: plan.sources[trace]}, wall_seconds))
        files += write_trace(results, output / folders[trace])
        rows += results.summary
        timing.append(results.timing)
    whole = {**manifest(plan.sources, wall_seconds), "schema": SCHEMA, "folders": folders}
    return rows, [*files, *write_summary_folder(rows, timing, whole, output)]


def check_output(folder: Path, force: bool) -> None:
    """UsageError if the folder has content that memtrace did not write; one of a killed suite has traces' folders only."""
    from memtrace.results.folder import check_folder, content, is_ours

    inside = content(folder)
    if not (inside and all(item.is_dir() and is_ours(item) for item in inside)):
        check_folder(folder, force)


def assemble(cells: list[dict[str, pyarrow.Table]], manifest: dict[str, Any]) -> Results:
    """The cells of one trace, in order, as the Results of one run."""
    import pyarrow as pa

    def joined(name: str) -> pyarrow.Table:
        return pa.concat_tables([cell[name] for cell in cells], promote_options="default").combine_chunks()

    return Results(
        joined("summary").to_pylist(),
        distributions=cells[0]["distributions"],
        manifest=manifest,
        **{name: joined(name) for name in BY_POLICY},
    )


def folder_names(traces: list[str]) -> dict[str, str]:
    """Trace -> a name that every file system takes; those that would be the same are numbered."""
    names: dict[str, str] = {}
    for trace in traces:
        plain = re.sub(r"[^\w.@+=-]", "_", trace).lstrip(".") or "trace"
        name, number = plain, 2
        while name in names.values():
            name, number = f"{plain}-{number}", number + 1
        names[trace] = name
    return names
