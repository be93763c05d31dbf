"""Find the shared library of an allocator by its name or path.

An error says how to get a library that is missing: LIBRARIES names the Debian package of each known one.
"""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from memtrace.errors import UsageError
from memtrace.names import unknown

SYSTEM = "glibc"  # the malloc of the C library, which every program has


@dataclass(frozen=True)
class Library:
    """A known allocator: the files that its shared library may be called, and the package that has it."""

    files: tuple[str, ...]  # file names, the preferred one first
    package: str  # Debian package


LIBRARIES = {
    "jemalloc": Library(("libjemalloc.so.2",), "libjemalloc2"),
    "mimalloc": Library(("libmimalloc.so.3", "libmimalloc.so.2", "libmimalloc.so"), "libmimalloc2.0"),
    "tcmalloc": Library(("libtcmalloc_minimal.so.4", "libtcmalloc.so.4"), "libtcmalloc-minimal4"),
}
# Folders searched besides the list of the loader.
FOLDERS = ("/usr/local/lib", "/usr/local/lib64", "/usr/lib64", "/usr/lib", "/opt/homebrew/lib")


def find(name: str) -> Path | None:
    """Return the path of the library ``name``, a known name or a path; None for SYSTEM, which every program has loaded.

    Raises UsageError for an unknown name and where the file is missing.
    """
    if name == SYSTEM:
        return None
    if "/" in name or name.endswith(".so"):
        path = Path(name).expanduser()
        if not path.is_file():
            raise UsageError(f"native:{name}: there is no such file")
        return path.resolve()
    if name not in LIBRARIES:
        raise unknown("native allocator", name, [SYSTEM, *LIBRARIES])
    known = LIBRARIES[name]
    for file in known.files:
        found = _loadable().get(file)
        if found is not None:
            return Path(found).resolve()
    advice = f"try: apt-get install {known.package}, or native:/path/to/{known.files[-1]}"
    raise UsageError(f"native:{name}: {known.files[0]} is not on this machine\n{advice}")


@cache
def _loadable() -> dict[str, str]:
    """Return file name -> path of the shared libraries in FOLDERS and, before those, of the ones that the loader lists."""
    found = {}
    for folder in FOLDERS:
        if Path(folder).is_dir():
            found.update({name: f"{folder}/{name}" for name in sorted(os.listdir(folder)) if ".so" in name})
    try:
        said = subprocess.run(
            ["ldconfig", "-p"], capture_output=True, text=True, env={"PATH": "/sbin:/usr/sbin:/bin:/usr/bin"}
        ).stdout
    except OSError:
        return found
    for line in said.splitlines():
        name, _, path = line.strip().partition(" => ")
        if path:
            found[name.split(" ")[0]] = path
    return found
