"""A C source of the package -> the library or program made of it, in the user's cache folder; compiled at first use."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from memtrace.errors import UsageError

LIBRARY = ("-shared", "-fPIC")
INSTALL = "apt-get install gcc libc6-dev (or your system's C compiler)"


def cache_folder() -> Path:
    """$XDG_CACHE_HOME/memtrace, or ~/.cache/memtrace."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "memtrace"


def compiler() -> str:
    """The C compiler: $CC, cc or gcc. Raises UsageError where there is none."""
    for name in (os.environ.get("CC"), "cc", "gcc", "clang"):
        found = shutil.which(name) if name else None
        if found:
            return found
    raise UsageError(f"this needs a C compiler, and there is none (cc, gcc, clang)\ntry: {INSTALL}")


def compiled(source: Path, *flags: str) -> Path:
    """What the compiler makes of this source with these flags; made once for each source, flags and compiler.

    Raises UsageError where the source does not compile.
    """
    command = [compiler(), "-O2", *flags]
    digest = hashlib.sha256(b"\0".join([source.read_bytes(), *(word.encode() for word in command)])).hexdigest()[:16]
    made = cache_folder() / f"{source.stem}-{digest}{'.so' if '-shared' in flags else ''}"
    if made.is_file():
        return made
    made.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=made.parent) as folder:
        part = Path(folder) / made.name
        said = subprocess.run([*command, "-o", str(part), str(source)], capture_output=True, text=True)
        if said.returncode:
            first = (said.stderr.strip().splitlines() or ["no message"])[0]
            raise UsageError(f"{command[0]} cannot compile {source.name}: {first}\ntry: {INSTALL}; it needs Linux with glibc")
        os.replace(part, made)
    return made
