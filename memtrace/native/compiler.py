"""Compile a C file of the package into a program or shared library at its first use, and keep the result in a cache folder.

The name of a result carries a digest of the source, the flags and the compiler, so a change of any of them compiles anew.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from pathlib import Path

from memtrace import temporary
from memtrace.errors import UsageError

LIBRARY = ("-shared", "-fPIC")  # flags that make a shared library
# Advice at the end of error messages.
INSTALL = "apt-get install gcc libc6-dev (or your system's C compiler)"


def cache_folder() -> Path:
    """Return the folder of the compiled files, which may not exist yet: $XDG_CACHE_HOME/memtrace, or ~/.cache/memtrace."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "memtrace"


def compiler() -> str:
    """Return the path of the C compiler: the first of $CC, cc, gcc and clang that is found. Raises UsageError if none is."""
    for name in (os.environ.get("CC"), "cc", "gcc", "clang"):
        found = shutil.which(name) if name else None
        if found:
            return found
    raise UsageError(f"this needs a C compiler, and there is none (cc, gcc, clang)\ntry: {INSTALL}")


def compile_source(source: Path, *flags: str) -> Path:
    """Compile the C file ``source`` with ``flags`` and return the path of the result: a program, or a library with flags LIBRARY.

    A result that is in the cache folder is returned without compiling: there is one for each source, flags and compiler.
    Raises UsageError if there is no C compiler, or if the source does not compile.
    """
    command = [compiler(), "-O2", *flags]
    digest = hashlib.sha256(b"\0".join([source.read_bytes(), *(word.encode() for word in command)])).hexdigest()[:16]
    made = cache_folder() / f"{source.stem}-{digest}{'.so' if '-shared' in flags else ''}"
    if made.is_file():
        return made
    made.parent.mkdir(parents=True, exist_ok=True)
    with temporary.folder(made.parent) as folder:
        part = folder / made.name
        said = subprocess.run([*command, "-o", str(part), str(source)], capture_output=True, text=True)
        if said.returncode:
            first = (said.stderr.strip().splitlines() or ["no message"])[0]
            raise UsageError(f"{command[0]} cannot compile {source.name}: {first}\ntry: {INSTALL}; it needs Linux with glibc")
        os.replace(part, made)
    return made
