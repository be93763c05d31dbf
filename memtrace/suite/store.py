"""A folder of finished cells, one file each. A file's name is the cell's key, a digest of all that determines its results."""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path

from memtrace.errors import InputError
from memtrace.suite.cell import unpack

KEPT_DAYS = 30  # after its last use
# Marks the folder as a cache, by the convention of bford.info/cachedir.
TAG = "Signature: 8a477f597d28d172789f06886806bc55\n# Finished cells of memtrace suite; may be removed at any time.\n"


class Store:
    """The finished cells in a folder.

    A command that is killed leaves only whole files; files unused for KEPT_DAYS are removed.
    """

    def __init__(self, folder: Path) -> None:
        """Use this folder, which is created when the first cell is put."""
        self.folder = folder

    def path(self, key: str) -> Path:
        """Return the path of the cell with this key."""
        return self.folder / f"{key}.cell"

    def has(self, key: str) -> bool:
        """Return whether the cell with this key is there and undamaged, and mark it as used."""
        try:
            unpack(self.path(key).read_bytes())
        except (OSError, ValueError):
            return False
        os.utime(self.path(key))
        return True

    def get(self, key: str) -> bytes:
        """Return the bytes of the cell with this key; raise OSError if there is none."""
        return self.path(key).read_bytes()

    def put(self, key: str, data: bytes) -> None:
        """Store the bytes of a cell, whole or not at all. Raise InputError if the file cannot be written."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            for name, text in (("CACHEDIR.TAG", TAG), (".gitignore", "*\n")):
                if not (self.folder / name).exists():
                    (self.folder / name).write_text(text)
            handle, name = tempfile.mkstemp(prefix=".partial-", dir=self.folder)
            with os.fdopen(handle, "wb") as file:
                file.write(data)
            os.replace(name, self.path(key))
        except OSError as error:
            raise InputError(f"{self.folder}: a finished cell cannot be written: {error.strerror or error}") from error

    def tidy(self) -> None:
        """Remove cells that were not used for KEPT_DAYS, and unfinished files of that age that killed commands left."""
        oldest = time.time() - KEPT_DAYS * 86400
        for file in [*self.folder.glob("*.cell"), *self.folder.glob(".partial-*")]:
            try:
                if file.stat().st_mtime < oldest:
                    file.unlink()
            except OSError:
                continue
