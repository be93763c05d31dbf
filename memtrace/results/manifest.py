"""Provenance of a run: versions, command, machine, times. The only results file that may differ between two runs."""

from __future__ import annotations

import datetime
import os
import platform
import sys
from importlib import metadata
from typing import Any

from memtrace.results.schema import FORMAT

LIBRARIES = ("numpy", "numba", "pyarrow", "matplotlib")


def versions() -> dict[str, str]:
    from memtrace import __version__

    return {
        "memtrace": __version__,
        "python": platform.python_version(),
        **{name: metadata.version(name) for name in LIBRARIES},
    }


def manifest(sources: dict[str, str], wall_seconds: float) -> dict[str, Any]:
    """``sources``: trace name to where it came from."""
    return {
        "schema": FORMAT,
        "versions": versions(),
        "command": ["memtrace", *sys.argv[1:]],
        "traces": sources,
        "machine": {"system": platform.system(), "processor": platform.machine(), "cores": os.cpu_count()},
        "written": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "wall_seconds": round(wall_seconds, 3),
    }
