"""Keep compiled kernels on disk, so that another process, or the next run, starts with them at once.

A kernel is a function that numba compiles for arguments of certain types. Its file is named after everything that the machine
code depends on: the digest of the sources, the types, the options, the processor, and the versions of Python, numba and llvmlite.
No path is part of it, so a folder that is moved, restored from an archive or shared by two checkouts keeps its kernels.

The folder is ``MEMTRACE_CACHE_DIR``, or else the user's cache folder. Kernels are code: a folder that others may write to is not
used. Where there is no folder that can be used, a temporary one serves this process and those that it starts. A full disk costs
the time to compile again, and nothing else. A file appears whole
or not at all, and its content is verified when it is loaded. Above ``MOST_BYTES`` the kernels that were unused longest are
removed. Processes that need a kernel at the same time compile it once: the others wait for it.
"""

from __future__ import annotations

import atexit
import glob
import hashlib
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any

from memtrace import temporary

FOLDER = "MEMTRACE_CACHE_DIR"  # environment variable; the folder for compiled kernels, and nothing else
MOST_BYTES = 256 << 20  # of all kernels together
SUFFIX = ".kernel"
MAGIC = b"memtrace kernel 1\n"  # the first bytes of a kernel's file; the SHA-256 of the rest follows
tell: Callable[[str], None] | None = None  # called with one line for the user, if a command sets it
DAY = 86400  # seconds
OTHERS_WRITE = 0o022  # mode bits by which others than the owner may write


def folder() -> Path | None:
    """Return the folder for compiled kernels, which is made where it is missing.

    Where it cannot be made, or where others may write to it, the folder is a temporary one; None if there is no place for that.
    """
    named = os.environ.get(FOLDER)
    return _checked(named or "", os.environ.get("XDG_CACHE_HOME", ""), os.environ.get("HOME", ""))


@cache
def _checked(named: str, *changes: str) -> Path | None:
    """Return the folder called ``named``, or the user's cache folder, or else a temporary one, or None.

    ``changes`` are variables of the environment on which the user's folder depends.
    """
    from platformdirs import user_cache_path

    found: Path | None = None
    try:
        found = Path(named) if named else user_cache_path("memtrace", appauthor=False) / "kernels"
        found.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = found.resolve(strict=True)
        if is_private(found):
            return found
        why = f"others than you may write to {found}"
    except (OSError, RuntimeError) as error:  # RuntimeError: the user has no home folder
        why = f"{found or 'your home folder'} cannot be used: {getattr(error, 'strerror', None) or error}"
    return _for_now(why)


def _for_now(why: str) -> Path | None:
    """Make a temporary folder, set the variable FOLDER to it for child processes, and return it; None if it cannot be made.

    ``why`` says in words why the usual folder cannot be used.
    """
    try:
        made = temporary.Folder()
    except OSError:
        return None
    atexit.register(made.remove)
    os.environ[FOLDER] = str(made.path)
    if tell is not None:
        tell(f"note: {why}, so compiled code is kept for this command only; {FOLDER} names another folder")
    return made.path.resolve()


def is_private(path: Path) -> bool:
    """Return whether a file or folder is the user's own and nobody else may write to it; on Windows its place says so."""
    if not hasattr(os, "getuid"):
        return True
    state = path.stat()
    return state.st_uid in (os.getuid(), 0) and not state.st_mode & OTHERS_WRITE


@cache
def machine() -> str:
    """Return what machine code depends on beside the sources: versions, processor, and whether compiling is ``lean``."""
    import llvmlite
    import numba
    from numba.core import config
    from numba.core.registry import cpu_target

    codegen = cpu_target.target_context.codegen()
    python = f"{sys.implementation.cache_tag} {sys.maxsize} {sys.platform}"
    options = config.OPT, config.DEBUGINFO_DEFAULT, config.BOUNDSCHECK, config.LOOP_VECTORIZE, config.SLP_VECTORIZE
    return f"{python} numba {numba.__version__} llvmlite {llvmlite.__version__} {codegen.magic_tuple()} {options}"


class KeptCode:
    """The cache of one function that numba compiles, with the methods that numba calls."""

    def __init__(self, name: str, sources: Callable[[], str], options: str) -> None:
        """Make the cache of a function.

        ``name`` is the first part of the files' names; ``sources()`` returns the digest of all sources that the function is
        compiled from; ``options`` are those of the compiler, as a text.
        """
        self.name = name
        self.sources = sources
        self.options = options

    @property
    def cache_path(self) -> str:
        """The folder, for numba's statistics."""
        return str(folder() or "")

    def path(self, signature: Any) -> Path | None:
        """Return the file for arguments of these types, whether it exists or not; None if there is no folder."""
        found = folder()
        if found is None:
            return None
        text = "\n".join((self.options, machine(), str(signature)))
        return found / f"{stem(self.name, self.sources())}-{hashlib.sha256(text.encode()).hexdigest()[:20]}{SUFFIX}"

    def load_overload(self, signature: Any, target_context: Any) -> Any:
        """Return the kernel for arguments of these types as numba keeps it, or None."""
        path = self.path(signature)
        if path is None:
            return None
        content = read(path)
        if content is None:
            with suppress(OSError):
                path.unlink(missing_ok=True)  # damaged
            return None
        import pickle

        from numba.core.compiler import CompileResult

        target_context.refresh()
        try:
            # The folder is the user's own: what is read was written by this function's `save_overload`.
            return CompileResult._rebuild(target_context, *pickle.loads(content))
        except Exception:  # whatever is wrong with it, the kernel is compiled again
            with suppress(OSError):
                path.unlink()
            return None

    def save_overload(self, signature: Any, compiled: Any) -> None:
        """Keep a kernel that was compiled for arguments of these types."""
        path = self.path(signature)
        if path is None or path.exists() or compiled.library.has_dynamic_globals or compiled.lifted:
            return
        from numba.core.serialize import dumps

        with suppress(OSError):
            write(path, dumps(compiled._reduce()))

    def enable(self) -> None:
        """Do nothing; numba has this method."""

    def disable(self) -> None:
        """Do nothing; numba has this method."""

    def flush(self) -> None:
        """Do nothing; numba has this method."""

    @contextmanager
    def locked(self, signature: Any) -> Iterator[None]:
        """Have other processes that want to compile the same kernel wait until the end of the block."""
        path = self.path(signature)
        if path is None:
            yield
            return
        with lock(path):
            yield


def stem(name: str, sources: str) -> str:
    """Return the first part of the names of a kernel's files: of these sources, whatever the types and the machine."""
    return f"{''.join(letter if letter.isalnum() or letter in '._-' else '_' for letter in name)}-{sources}"


def is_any_kept(name: str, sources: str) -> bool:
    """Return whether there is a file of a kernel of this name and these sources, for any types and any machine."""
    found = folder()
    return found is not None and any(found.glob(f"{glob.escape(stem(name, sources))}-*{SUFFIX}"))


def read(path: Path) -> bytes | None:
    """Return the content of a kernel's file and mark it as used; None if there is no such file, or if it is damaged."""
    try:
        if not is_private(path):
            return None
        text = path.read_bytes()
    except OSError:
        return None
    start = len(MAGIC) + hashlib.sha256().digest_size
    if text[:start] != MAGIC + hashlib.sha256(text[start:]).digest():
        return None
    with suppress(OSError):
        os.utime(path)
    return text[start:]


def write(path: Path, content: bytes) -> None:
    """Write a kernel's file, whole or not at all, and remove the kernels unused longest if there are too many."""
    handle, name = tempfile.mkstemp(prefix=path.name, suffix=".part", dir=path.parent)  # readable by the user only
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(MAGIC + hashlib.sha256(content).digest() + content)
        os.replace(name, path)
    except BaseException:
        with suppress(OSError):
            os.unlink(name)
        raise
    prune(path.parent)


def prune(folder: Path, most: int = MOST_BYTES) -> None:
    """Remove what was used longest ago until the kernels of a folder have ``most`` bytes at most.

    What a killed process left of a file that it wrote, or of a lock, is removed after a day.
    """
    files = []
    for file in folder.iterdir():
        with suppress(OSError):
            state = file.stat()
            if file.name.endswith((".part", ".lock")) and SUFFIX in file.name:
                if time.time() - state.st_mtime > DAY:
                    file.unlink()
            elif file.name.endswith(SUFFIX):
                files.append((state.st_mtime, state.st_size, file))
    total = sum(size for _, size, _ in files)
    for _, size, file in sorted(files):
        if total <= most:
            return
        with suppress(OSError):
            file.unlink()
        total -= size


@contextmanager
def lock(path: Path) -> Iterator[None]:
    """Hold the lock of a kernel's file within the block; without one where the folder or the system has no locks.

    The system releases the lock of a process that ends, however it ends.
    """
    name = path.with_name(path.name + ".lock")
    handle = None
    with suppress(ImportError, OSError):
        import fcntl

        handle = os.open(name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(handle, fcntl.LOCK_EX)
    try:
        yield
    finally:
        if handle is not None:
            with suppress(OSError):
                name.unlink()
            os.close(handle)


def is_locked(path: Path) -> bool:
    """Return whether a process that is alive holds the lock of a kernel's file, which it is compiling."""
    try:
        import fcntl

        handle = os.open(path.with_name(path.name + ".lock"), os.O_RDWR | os.O_CLOEXEC)
    except (ImportError, OSError):
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(handle)
    return False
