"""Write figures and reports to files, each whole or not at all, and name the files."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from memtrace import temporary
from memtrace.errors import InputError


def write_whole(path: Path, content: bytes) -> Path:
    """Write to a temporary file, then rename it, so that a killed run leaves the old file or the new one. Return the path.

    Raise InputError if it cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.replacement(path) as name, open(name, "wb") as file:
            file.write(content)
    except OSError as error:
        raise InputError(f"{path}: cannot be written: {error.strerror or error}") from error
    return path


def file_names(traces: Iterable[str]) -> dict[str, str]:
    """Return for each trace its part of file names.

    No two are alike, also not where letter case does not count, and none has characters that file systems refuse.
    """
    names: dict[str, str] = {}
    for trace in traces:
        clean = re.sub(r"[^\w.+-]+", "_", trace)[:60].strip(".") or "trace"
        taken, number, name = {other.lower() for other in names.values()}, 2, clean
        while name.lower() in taken:
            name, number = f"{clean}-{number}", number + 1
        names[trace] = name
    return names
