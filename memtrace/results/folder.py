"""Write results to a folder, and read them back.

All files are first written to a temporary folder inside the target and then moved to their places, so a run that is
killed leaves the old files intact. The file manifest.json says which version wrote the folder, lists its files, and has the
SHA-256 of each table: a run that is killed among the moves leaves tables of two runs, which a reader finds by them.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from memtrace import temporary
from memtrace.errors import InputError, UsageError
from memtrace.results.schema import FORMAT
from memtrace.results.tables import Results, summary_table

if TYPE_CHECKING:
    import pyarrow

MANIFEST = "manifest.json"
PARTIAL = ".partial-"  # the temporary folder's name, before the process id; a killed run leaves such a folder behind
LOCK = f"{PARTIAL}lock"  # the file that is locked while a process writes to the folder; it has the number of the process
OWN_SCHEMAS = ("memtrace.results/", "memtrace.suite/", "memtrace.tiers/")  # how the schema of a folder of memtrace begins
SUMMARY_ONLY = "memtrace.suite/"  # how the schema of a folder begins that has a summary, and a folder for each trace
TABLE_SUFFIX = ".parquet"
TABLES = ("timeline", "holes", "occupancy", "distributions", "timing")  # written always
OPTIONAL_TABLES = (
    "requests",
    "fits",
    "failures",
    "parts",
    "holders",
    "pins",
    "last_map",
    "placements",
    "locality",
)  # written only if they have rows


def check_folder(folder: Path, force: bool) -> None:
    """Raise UsageError if the path is a file, a folder to which another process writes, or has content that is not memtrace's.

    So is a path that is not UTF-8, which manifests and JSON could not name. ``force`` allows content of any kind.
    """
    if not can_be_named(str(folder)):
        raise UsageError(f"{folder} is not UTF-8; give another folder with -o")
    if not folder.exists():
        return
    if temporary.is_held(folder / LOCK):
        raise is_written(folder)
    if force:
        return
    if not folder.is_dir():
        raise UsageError(f"{folder} is a file; give a folder with -o")
    if content(folder) and not is_ours(folder):
        raise UsageError(f"{folder} has files that memtrace did not write; give another folder with -o, or use --force")


def can_be_named(text: str) -> bool:
    """Return whether a path can be written as UTF-8."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def is_written(folder: Path) -> UsageError:
    """Return (not raise) the error for a folder to which another process is writing."""
    try:
        process = f" {int((folder / LOCK).read_text())}"
    except (OSError, ValueError):
        process = ""
    return UsageError(f"{folder}: another process{process} is writing its results there\ntry: another folder with -o")


def content(folder: Path) -> list[Path]:
    """Return all items in the folder, except what a killed run left there; an empty list if there is no such folder."""
    return [item for item in folder.iterdir() if not item.name.startswith(PARTIAL)] if folder.is_dir() else []


def is_ours(folder: Path) -> bool:
    """Return whether the folder has a manifest of memtrace."""
    return schema_of(folder).startswith(OWN_SCHEMAS)


def schema_of(folder: Path) -> str:
    """Return the schema that the folder's manifest names, such as `memtrace.results/1`.

    It is an empty text if there is no manifest that can be read.
    """
    try:
        return str(json.loads((folder / MANIFEST).read_text()).get("schema", ""))
    except (OSError, ValueError, AttributeError):
        return ""


def write_folder(results: Results, folder: Path, render: Callable[[Path], list[Path]] | None = None) -> list[Path]:
    """Write all tables of the results into the folder, and return the paths of all files.

    If given, ``render`` is called with the temporary folder, draws figures and reports into it, and returns their
    paths.
    """

    def produce(stage: Path) -> list[Path]:
        """Write the tables and the reports into the temporary folder."""
        return _write_tables(results, stage) + (render(stage) if render is not None else [])

    return _write_whole(folder, results.manifest, produce)


def write_summary_folder(
    rows: list[dict[str, Any]], timing: list[pyarrow.Table], manifest: dict[str, Any], folder: Path
) -> list[Path]:
    """Write the summary and the times of many runs, and return the paths.

    The other tables of each run are in a folder of their own.
    """
    import pyarrow as pa

    def produce(stage: Path) -> list[Path]:
        """Write both tables into the temporary folder."""
        tables = {"summary": summary_table(rows, manifest["traces"])} | ({"timing": pa.concat_tables(timing)} if timing else {})
        return [_write_table(table, stage / f"{name}.parquet") for name, table in tables.items()]

    return _write_whole(folder, manifest, produce)


def write_tables(
    tables: dict[str, pyarrow.Table], manifest: dict[str, Any], folder: Path, render: Callable[[Path], list[Path]]
) -> list[Path]:
    """Write arrow tables by name, and what ``render`` draws into the temporary folder; return the paths of all files."""
    return _write_whole(
        folder,
        manifest,
        lambda stage: [_write_table(table, stage / f"{name}.parquet") for name, table in tables.items()] + render(stage),
    )


def _write_whole(folder: Path, manifest: dict[str, Any], produce: Callable[[Path], list[Path]]) -> list[Path]:
    """Let ``produce`` write all files into a temporary folder, then move them to their places, and return their paths.

    Files that an earlier run listed in its manifest and that were not written this time are removed. Raise InputError
    if the folder cannot be written; if that happens before the move, the old files are unchanged.
    """
    stage, was_there = folder / f"{PARTIAL}{os.getpid()}", folder.exists()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with temporary.lock(folder / LOCK, str(os.getpid())) as ours:
            if not ours:
                raise is_written(folder)
            for left in folder.glob(f"{PARTIAL}*"):
                if left.is_dir():
                    shutil.rmtree(left, ignore_errors=True)
            stage.mkdir()
            files = produce(stage)
            names = [file.relative_to(stage) for file in files]
            _write_manifest(manifest, stage, names)
            stale = _stale(folder, names)
            # The manifest is moved last, so that a new manifest is never beside old files.
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
    """Write the tables of the results as Parquet, and return their paths.

    A table of MORE without rows is not written, except for `placements`, which is written if it was asked for.
    """
    tables = {"summary": summary_table(results.summary, results.manifest.get("traces", {}))}
    tables |= {name: getattr(results, name) for name in TABLES}
    tables |= {
        name: table
        for name in OPTIONAL_TABLES
        if (table := getattr(results, name)) is not None and (table or name == "placements")
    }
    return [_write_table(table, stage / f"{name}.parquet") for name, table in tables.items()]


def _write_table(table: pyarrow.Table, path: Path) -> Path:
    """Write one table as Parquet, compressed with zstd, and return the path."""
    import pyarrow.parquet as pq

    pq.write_table(table, path, compression="zstd")
    return path


def _write_manifest(manifest: dict[str, Any], stage: Path, names: list[Path]) -> None:
    """Write the manifest into the folder ``stage`` as JSON, with the names of all files in it and the SHA-256 of the tables."""
    tables = {str(name): sha256_of(stage / name) for name in names if name.suffix == TABLE_SUFFIX}
    text = json.dumps({**manifest, "files": [str(name) for name in names], "sha256": tables}, indent=1, sort_keys=True)
    (stage / MANIFEST).write_text(f"{text}\n")


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file's bytes in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def check_tables(folder: Path, names: Iterable[str]) -> None:
    """Raise InputError if one of the tables in the folder is not the one that its manifest was written with.

    A manifest that has no digests is believed. A table that is missing is no error here.
    """
    try:
        digests = json.loads((folder / MANIFEST).read_text()).get("sha256", {})
    except (OSError, ValueError, AttributeError):
        return
    for name in names:
        file = folder / f"{name}{TABLE_SUFFIX}"
        if file.name in digests and file.exists() and sha256_of(file) != digests[file.name]:
            raise InputError(
                f"{file} is not the table that {folder / MANIFEST} was written with: a run was ended while it wrote there, "
                f"or the file was changed\ntry: the run again, with -o {folder}"
            )


def _stale(folder: Path, names: list[Path]) -> list[Path]:
    """Return the files in the folder that its present manifest lists and that are not among ``names``.

    Paths that lead out of the folder are left out.
    """
    try:
        before = json.loads((folder / MANIFEST).read_text()).get("files", [])
    except (OSError, ValueError, AttributeError):
        return []
    root = folder.resolve()
    paths = [(folder / name).resolve() for name in set(before) - {str(name) for name in names}]
    return [path for path in paths if path.is_relative_to(root) and path.is_file()]


def read_folder(folder: Path) -> Results:
    """Read the results of a folder. Raise InputError if the folder has no results, or those of another version."""
    import pyarrow.parquet as pq

    if not (folder / MANIFEST).exists():
        raise InputError(f"there are no results in {folder}; `memtrace run TRACE -o DIR` writes some")
    try:
        manifest = json.loads((folder / MANIFEST).read_text())
        if manifest.get("schema") != FORMAT:
            raise InputError(f"{folder} has results of schema {manifest.get('schema')!r}; this version reads {FORMAT}")
        check_tables(folder, ("summary", *TABLES, *OPTIONAL_TABLES))
        tables = {name: pq.read_table(folder / f"{name}.parquet") for name in TABLES}
        summary = pq.read_table(folder / "summary.parquet").to_pylist()
        more = {
            name: pq.read_table(folder / f"{name}.parquet") for name in OPTIONAL_TABLES if (folder / f"{name}.parquet").exists()
        }
    except (OSError, ValueError) as error:
        raise InputError(f"{folder} is no results folder that can be read: {error}") from error
    return Results(summary, manifest=manifest, **tables, **more)
