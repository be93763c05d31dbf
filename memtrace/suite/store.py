"""The finished cells of a suite in a folder, and the results that are written from them.

Each cell is one file. Its name is the cell's key, a digest of all that determines its results. `write` makes a summary of all
cells, and a results folder for each trace.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from memtrace import temporary
from memtrace.errors import InputError, UsageError
from memtrace.results.schema import BY_POLICY
from memtrace.results.tables import Results
from memtrace.suite.cell import unpack
from memtrace.suite.planning import Plan, Task

if TYPE_CHECKING:
    import pyarrow

KEPT_DAYS = 30  # after its last use
# Marks the folder as a cache, by the convention of bford.info/cachedir.
TAG = "Signature: 8a477f597d28d172789f06886806bc55\n# Finished cells of memtrace suite; may be removed at any time.\n"
SCHEMA = "memtrace.suite/1"
WriteTrace = Callable[[Results, Path], list[Path]]  # writes the results of one trace into a folder, and returns the files


class Store:
    """The finished cells in a folder.

    A command that is killed leaves only whole files; files unused for KEPT_DAYS are removed.
    """

    def __init__(self, folder: Path) -> None:
        """Use this folder, which is created when the first cell is put."""
        self.folder = folder

    def check(self) -> None:
        """Raise UsageError if the folder has content and is not marked as one of finished cells: files are removed from these."""
        try:
            inside = next(self.folder.iterdir(), None)
            ours = inside is None or (self.folder / "CACHEDIR.TAG").read_text(encoding="utf-8", errors="replace") == TAG
        except FileNotFoundError:
            ours = not self.folder.exists()
        except OSError as error:
            raise UsageError(f"cells: {self.folder} cannot be used: {error.strerror or error}") from error
        if not ours:
            raise UsageError(f"cells: {self.folder} has other content than finished cells\ntry: a folder of its own")

    def path(self, key: str) -> Path:
        """Return the path of the cell with this key."""
        return self.folder / f"{key}.cell"

    def has(self, task: Task) -> bool:
        """Return whether the cell of this task is there, undamaged and no other cell's copy, and mark it as used."""
        path = self.path(task.key)
        try:
            unpack(path.read_bytes(), task)
        except (OSError, ValueError):
            return False
        os.utime(path)
        return True

    def get(self, key: str) -> bytes:
        """Return the bytes of the cell with this key; raise OSError if there is none."""
        return self.path(key).read_bytes()

    def put(self, key: str, data: bytes) -> None:
        """Store the bytes of a cell, whole or not at all. Raise InputError if the file cannot be written."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            for name, text in (("CACHEDIR.TAG", TAG), (".gitignore", "*\n")):
                if not (self.folder / name).exists():
                    (self.folder / name).write_text(text)
            with temporary.replacement(self.path(key)) as name, open(name, "wb") as file:
                file.write(data)
        except OSError as error:
            raise InputError(f"{self.folder}: a finished cell cannot be written: {error.strerror or error}") from error

    def tidy(self) -> None:
        """Remove cells that were not used for KEPT_DAYS, and unfinished files of that age that killed commands left."""
        oldest = time.time() - KEPT_DAYS * 86400
        for file in [*self.folder.glob("*.cell"), *self.folder.glob(".partial-*")]:
            try:
                if file.stat().st_mtime < oldest:
                    file.unlink()
            except OSError:
                continue


def write(
    plan: Plan, store: Store, lost: set[Task], write_trace: WriteTrace, wall_seconds: float
) -> tuple[list[dict[str, Any]], list[Path]]:
    """Write the results of all finished cells, and return the rows of the summary and the paths of all files.

    The rows are in the order of the plan. ``lost`` are the tasks that failed; ``write_trace`` writes one trace's
    folder. Only one trace's cells are in memory at a time. The summary is written last, with the manifest, so a killed
    command leaves the old summary and the old manifest together.
    """
    from memtrace.results.folder import write_summary_folder
    from memtrace.results.schema import manifest

    output = plan.suite.at(plan.suite.output)
    rows: list[dict[str, Any]] = []
    timing: list[pyarrow.Table] = []
    folders = folder_names(list(plan.sources))
    files: list[Path] = []
    for trace in plan.sources:
        cells = [unpack(store.get(task.key), task) for task in plan.tasks if task.trace == trace and task not in lost]
        if not cells:
            continue
        results = assemble(cells, manifest({trace: plan.sources[trace]}, wall_seconds, plan.files))
        files += write_trace(results, output / folders[trace])
        rows += results.summary
        timing.append(results.timing)
    whole = {**manifest(plan.sources, wall_seconds, plan.files), "schema": SCHEMA, "folders": folders}
    return rows, [*files, *write_summary_folder(rows, timing, whole, output)]


def check_output(folder: Path, force: bool) -> None:
    """Raise UsageError if the folder has content that memtrace did not write.

    A folder that holds nothing but results folders of traces is accepted: a suite that was killed leaves no summary.
    """
    from memtrace.results.folder import check_folder, content, is_ours

    inside = content(folder)
    if not (inside and all(item.is_dir() and is_ours(item) for item in inside)):
        check_folder(folder, force)


def assemble(cells: list[dict[str, pyarrow.Table]], manifest: dict[str, Any]) -> Results:
    """Return the cells of one trace, each given as tables by name, as the Results of one run."""
    import pyarrow as pa

    def joined(name: str) -> pyarrow.Table:
        """Return the tables of this name of all cells, one below the other."""
        return pa.concat_tables([cell[name] for cell in cells], promote_options="default").combine_chunks()

    return Results(
        joined("summary").to_pylist(),
        distributions=cells[0]["distributions"],
        manifest=manifest,
        **{name: joined(name) for name in BY_POLICY},
    )


def folder_names(traces: list[str]) -> dict[str, str]:
    """Return a folder name for each trace that every file system accepts. Names that would be equal are numbered."""
    names: dict[str, str] = {}
    for trace in traces:
        plain = re.sub(r"[^\w.@+=-]", "_", trace).lstrip(".") or "trace"
        name, number = plain, 2
        while name in names.values():
            name, number = f"{plain}-{number}", number + 1
        names[trace] = name
    return names
