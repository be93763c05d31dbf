"""The provenance of a run: versions, command, machine and times.

The manifest is the only results file that may differ between two runs of the same command.
"""

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
    """Return the versions of memtrace, Python and the libraries that results may depend on, by name."""
    from memtrace import __version__

    return {
        "memtrace": __version__,
        "python": platform.python_version(),
        **{name: metadata.version(name) for name in LIBRARIES},
    }


def manifest(sources: dict[str, str], wall_seconds: float) -> dict[str, Any]:
    """Return the content of manifest.json.

    ``sources`` maps each trace's name to its path, URL or recipe; ``wall_seconds`` is the duration of the run.
    """
    return {
        "schema": FORMAT,
        "versions": versions(),
        "command": ["memtrace", *sys.argv[1:]],
        "traces": sources,
        "machine": {"system": platform.system(), "processor": platform.machine(), "cores": os.cpu_count()},
        "written": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "wall_seconds": round(wall_seconds, 3),
    }
