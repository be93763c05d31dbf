"""Results <-> a folder: every file is written whole to a temporary name first, so a killed run leaves the old ones."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from memtrace.errors import InputError, UsageError
from memtrace.results.building import summary_table
from memtrace.results.schema import FORMAT
from memtrace.results.tables import Results

if TYPE_CHECKING:
    import pyarrow

MANIFEST = "manifest.json"
PARTIAL = ".partial-"  # and a number: files that are not whole yet, or were left by a run that was killed
OURS = ("memtrace.results/", "memtrace.suite/", "memtrace.tiers/")
TABLES = ("timeline", "holes", "occupancy", "distributions", "timing")
MORE = ("requests", "failures", "pins", "last_map", "placements", "locality")  # written where there is something to say


def check_folder(folder: Path, force: bool) -> None:
    """Raises UsageError if the folder has content that memtrace did not write."""
    if not folder.exists() or force:
        return
    if not folder.is_dir():
        raise UsageError(f"{folder} is a file; give a folder with -o")
    if content(folder) and not is_ours(folder):
        raise UsageError(f"{folder} has files that memtrace did not write; give another folder with -o, or use --force")


def content(folder: Path) -> list[Path]:
    """All that is in the folder, but for what a killed run left there; nothing where there is no folder."""
    return [item for item in folder.iterdir() if not item.name.startswith(PARTIAL)] if folder.is_dir() else []


def is_ours(folder: Path) -> bool:
    return schema_of(folder).startswith(OURS)


def schema_of(folder: Path) -> str:
    """What the manifest says the folder's files are; nothing where there is none."""
    try:
        return str(json.loads((folder / MANIFEST).read_text()).get("schema", ""))
    except (OSError, ValueError, AttributeError):
        return ""


def write_folder(results: Results, folder: Path, render: Callable[[Path], list[Path]] | None = None) -> list[Path]:
    """All tables, and what ``render`` draws into the folder that it is given, whose files it returns."""

    def produce(stage: Path) -> list[Path]:
        return _write_tables(results, stage) + (render(stage) if render is not None else [])

    return _write_whole(folder, results.manifest, produce)


def write_summary_folder(
    rows: list[dict[str, Any]], timing: list[pyarrow.Table], manifest: dict[str, Any], folder: Path
) -> list[Path]:
    """The summary and the times of many runs, whose other tables are in folders of their own."""
    import pyarrow as pa

    def produce(stage: Path) -> list[Path]:
        tables = {"summary": summary_table(rows)} | ({"timing": pa.concat_tables(timing)} if timing else {})
        return [_write_table(table, stage / f"{name}.parquet") for name, table in tables.items()]

    return _write_whole(folder, manifest, produce)


def write_tables(
    tables: dict[str, pyarrow.Table], manifest: dict[str, Any], folder: Path, render: Callable[[Path], list[Path]]
) -> list[Path]:
    """Tables by name, and what ``render`` draws."""
    return _write_whole(
        folder,
        manifest,
        lambda stage: [_write_table(table, stage / f"{name}.parquet") for name, table in tables.items()] + render(stage),
    )


def _write_whole(folder: Path, manifest: dict[str, Any], produce: Callable[[Path], list[Path]]) -> list[Path]:
    """Write all files beside their places, then move them there; what an earlier run left and this one did not make goes."""
    stage, was_there = folder / f"{PARTIAL}{os.getpid()}", folder.exists()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for left in folder.glob(f"{PARTIAL}*"):
            shutil.rmtree(left, ignore_errors=True)
        stage.mkdir()
        files = produce(stage)
        names = [file.relative_to(stage) for file in files]
        _write_manifest(manifest, [str(name) for name in names], stage / MANIFEST)
        stale = _stale(folder, names)
        # The manifest goes last: while it is the old one, so is what it speaks for.
        for name in [*names, Path(MANIFEST)]:
            (folder / name).parent.mkdir(exist_ok=True)
            os.replace(stage / name, folder / name)
        for path in stale:
            path.unlink()
    except OSError as error:
        raise InputError(f"{folder}: cannot be written: {error.strerror or error}; nothing was changed there") from error
    finally:
        shutil.rmtree(stage, ignore_errors=True)
        if not was_there:
            with suppress(OSError):
                folder.rmdir()  # where nothing was written into it
    return [folder / name for name in [*names, Path(MANIFEST)]]


def _write_tables(results: Results, stage: Path) -> list[Path]:
    tables = {"summary": summary_table(results.summary)}
    tables |= {name: getattr(results, name) for name in TABLES}
    tables |= {name: table for name in MORE if (table := getattr(results, name)) is not None and (table or name == "placements")}
    return [_write_table(table, stage / f"{name}.parquet") for name, table in tables.items()]


def _write_table(table: pyarrow.Table, path: Path) -> Path:
    import pyarrow.parquet as pq

    pq.write_table(table, path, compression="zstd")
    return path


def _write_manifest(manifest: dict[str, Any], files: list[str], path: Path) -> None:
    path.write_text(json.dumps({**manifest, "files": files}, indent=1, sort_keys=True) + "\n")


def _stale(folder: Path, names: list[Path]) -> list[Path]:
    """The files that an earlier run says it wrote and this one does not write."""
    try:
        before = json.loads((folder / MANIFEST).read_text()).get("files", [])
    except (OSError, ValueError, AttributeError):
        return []
    root = folder.resolve()
    paths = [(folder / name).resolve() for name in set(before) - {str(name) for name in names}]
    return [path for path in paths if path.is_relative_to(root) and path.is_file()]


def read_folder(folder: Path) -> Results:
    """Raises InputError if the folder is no results folder, or is of another version."""
    import pyarrow.parquet as pq

    try:
        manifest = json.loads((folder / MANIFEST).read_text())
        if manifest.get("schema") != FORMAT:
            raise InputError(f"{folder} has results of schema {manifest.get('schema')!r}; this version reads {FORMAT}")
        tables = {name: pq.read_table(folder / f"{name}.parquet") for name in TABLES}
        summary = pq.read_table(folder / "summary.parquet").to_pylist()
        more = {name: pq.read_table(folder / f"{name}.parquet") for name in MORE if (folder / f"{name}.parquet").exists()}
    except (OSError, ValueError) as error:
        raise InputError(f"{folder} is no results folder that can be read: {error}") from error
    return Results(summary, manifest=manifest, **tables, **more)
