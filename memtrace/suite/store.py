"""Finished cells on disk, one file each, named by the digest of what determines them."""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path

from memtrace.errors import InputError
from memtrace.suite.cell import unpack

KEPT_DAYS = 30
TAG = "Signature: 8a477f597d28d172789f06886806bc55\n# Finished cells of memtrace suite; may be removed at any time.\n"


class Store:
    """A killed command leaves whole files only. Files that no run used for a month go."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, key: str) -> Path:
        return self.folder / f"{key}.cell"

    def has(self, key: str) -> bool:
        """Whether a whole cell is there; a damaged one counts as none."""
        try:
            unpack(self.path(key).read_bytes())
        except (OSError, ValueError):
            return False
        os.utime(self.path(key))
        return True

    def get(self, key: str) -> bytes:
        return self.path(key).read_bytes()

    def put(self, key: str, data: bytes) -> None:
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
        """Remove what no run used for long, and what killed ones left."""
        oldest = time.time() - KEPT_DAYS * 86400
        for file in [*self.folder.glob("*.cell"), *self.folder.glob(".partial-*")]:
            try:
                if file.stat().st_mtime < oldest:
                    file.unlink()
            except OSError:
                continue
