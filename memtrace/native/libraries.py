"""A library's name -> its file on this machine, and how to get it where it is missing."""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from memtrace.errors import UsageError
from memtrace.names import unknown

SYSTEM = "glibc"  # what a program has anyway


@dataclass(frozen=True)
class Library:
    """An allocator by name: its file names, best first, and the Debian package that has it."""

    files: tuple[str, ...]
    package: str


LIBRARIES = {
    "jemalloc": Library(("libjemalloc.so.2",), "libjemalloc2"),
    "mimalloc": Library(("libmimalloc.so.3", "libmimalloc.so.2", "libmimalloc.so"), "libmimalloc2.0"),
    "tcmalloc": Library(("libtcmalloc_minimal.so.4", "libtcmalloc.so.4"), "libtcmalloc-minimal4"),
}
FOLDERS = ("/usr/local/lib", "/usr/local/lib64", "/usr/lib64", "/usr/lib", "/opt/homebrew/lib")


def find(name: str) -> Path | None:
    """The file of a library by name or by path; None for the system's own. Raises UsageError where it is missing."""
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
    raise UsageError(
        f"native:{name}: {known.files[0]} is not on this machine"
        f"\ntry: apt-get install {known.package}, or native:/path/to/{known.files[-1]}"
    )


@cache
def _loadable() -> dict[str, str]:
    """File name -> path of the libraries that the loader knows, and of those in the usual folders."""
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
