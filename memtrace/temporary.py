"""Make temporary files and folders that the next command removes where their owner was killed.

The process that makes one holds a lock of the system on it, which ends with the process, however that ends. Whoever makes another
one in the same place removes those that nobody holds. Where the system has no such locks, nothing is removed.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

PREFIX = "memtrace-"  # of the folders' names
OWNER = ".owner"  # the file in a folder on which its lock is held
RANDOM = 8  # characters that tempfile puts into a name
PARTIAL = ".partial"  # the suffix of files that are to replace others


class Folder:
    """A temporary folder of this process."""

    def __init__(self, where: Path | None = None) -> None:
        """Make a folder in ``where``, by default in the system's place for temporary files, after removing what is left over."""
        place = where or Path(tempfile.gettempdir())
        remove_dead_folders(place)
        self.path = Path(tempfile.mkdtemp(prefix=PREFIX, dir=place))
        self._owner = os.getpid()
        self._handle = os.open(self.path / OWNER, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        _hold(self._handle)

    def remove(self) -> None:
        """Remove the folder, unless it is kept, or this process is a fork of the one that made it."""
        if os.getpid() == self._owner and self._handle >= 0:
            shutil.rmtree(self.path, ignore_errors=True)
            self._leave()

    def keep(self) -> None:
        """Have the folder stay when this process has ended."""
        with suppress(OSError):
            (self.path / OWNER).unlink()
        self._leave()

    def _leave(self) -> None:
        """Release the lock."""
        os.close(self._handle)
        self._handle = -1


@contextmanager
def folder(where: Path | None = None) -> Iterator[Path]:
    """Provide a temporary folder in the block; it is removed at its end."""
    made = Folder(where)
    try:
        yield made.path
    finally:
        made.remove()


@contextmanager
def replacement(path: Path) -> Iterator[str]:
    """Provide the name of a temporary file, which becomes ``path`` at the end of the block; after an error it is removed.

    The file has the mode that a new file of the user has. Raise OSError if it cannot be made or renamed.
    """
    _remove_dead_files(path)
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=PARTIAL, dir=path.parent)
    try:
        _hold(handle)
        mask = os.umask(0)
        os.umask(mask)
        os.chmod(name, 0o666 & ~mask)
        yield name
        os.replace(name, path)
    except BaseException:
        with suppress(OSError):
            os.unlink(name)
        raise
    finally:
        os.close(handle)


@contextmanager
def lock(path: Path, text: str = "") -> Iterator[bool]:
    """Hold the lock of a file in the block, and provide whether it is ours; the file has ``text``, and is removed at the end.

    False: another process holds it. Where the folder or the system has no locks, it is always ours. Raise OSError if the file
    cannot be made.
    """
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        # The process that held it may have removed the file since it was opened here; then there is another file to lock.
        ours = _hold(handle) and (os.name == "nt" or (path.exists() and os.path.samestat(os.fstat(handle), path.stat())))
        if ours:
            os.truncate(handle, 0)
            os.write(handle, text.encode())
        try:
            yield ours
        finally:
            if ours:
                with suppress(OSError):
                    path.unlink()
    finally:
        os.close(handle)


def is_held(path: Path) -> bool:
    """Return whether a process holds the lock of a file; False where there is no such file, or where that cannot be known."""
    return path.is_file() and _try(path) is False


def remove_dead_folders(place: Path) -> None:
    """Remove the temporary folders in ``place`` that this user's processes left when they were killed."""
    for found in _matching(place, PREFIX, ""):
        if (found / OWNER).exists() and _try(found / OWNER):
            shutil.rmtree(found, ignore_errors=True)


def _remove_dead_files(path: Path) -> None:
    """Remove the temporary files that were to become ``path`` and whose processes were killed."""
    for found in _matching(path.parent, f".{path.name}.", PARTIAL):
        if _try(found):
            with suppress(OSError):
                found.unlink()


def _matching(place: Path, prefix: str, suffix: str) -> list[Path]:
    """Return the user's own files and folders in ``place`` whose names begin and end so, with RANDOM characters between.

    Links are left out.
    """
    length = len(prefix) + RANDOM + len(suffix)
    found = []
    with suppress(OSError), os.scandir(place) as entries:
        for entry in entries:
            named = len(entry.name) == length and entry.name.startswith(prefix) and entry.name.endswith(suffix)
            if named and not entry.is_symlink():
                with suppress(OSError):
                    if not hasattr(os, "getuid") or entry.stat(follow_symlinks=False).st_uid == os.getuid():
                        found.append(Path(entry.path))
    return found


def _hold(handle: int) -> bool:
    """Hold the lock of an open file until it is closed; return False if another process holds it.

    Where the folder or the system has no locks, return True.
    """
    try:
        import fcntl

        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except (ImportError, OSError):
        return True
    return True


def _try(path: Path) -> bool | None:
    """Return whether the lock of a file could be had, which is not kept; None where that cannot be known."""
    try:
        import fcntl

        handle = os.open(path, os.O_RDWR | os.O_CLOEXEC | getattr(os, "O_NOFOLLOW", 0))
    except (ImportError, OSError):
        return None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return None
    else:
        return True
    finally:
        os.close(handle)
