"""Read the one file in a zip archive, decompressed while it is read."""

from __future__ import annotations

import zlib
from typing import Any
from zipfile import BadZipFile, ZipFile

from memtrace.errors import InputError


class _Member:
    """Read the bytes of one member of an archive.

    The errors that zipfile raises for a damaged archive become ValueErrors, which other decompressors raise too.
    """

    def __init__(self, archive: ZipFile, name: str) -> None:
        """Open the member `name`."""
        self.archive, self.file = archive, archive.open(name)

    def read(self, most: int = -1) -> bytes:
        """Return at most `most` bytes (-1: all that are left)."""
        try:
            return self.file.read(most)
        except (BadZipFile, zlib.error, EOFError, NotImplementedError) as error:
            raise ValueError(f"zip: {error or 'Truncated'}") from error

    def close(self) -> None:
        """Close the member and the archive."""
        self.file.close()
        self.archive.close()


def only_member(stored: Any) -> _Member:
    """Return the one file in the archive `stored`, open for reading.

    Raises InputError if the archive has another number of files or is encrypted, ValueError if it is damaged.
    """
    try:
        archive = ZipFile(stored)
        names = [item.filename for item in archive.infolist() if not item.is_dir() and not item.filename.startswith("__MACOSX/")]
        if len(names) != 1:
            shown = ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
            raise InputError(f"a zip of {len(names)} files ({shown}) is no trace\ntry: unzip it, and give one of its files")
        return _Member(archive, names[0])
    except RuntimeError as error:
        raise InputError(f"the zip is locked by a password: {error}") from error
    except (BadZipFile, zlib.error, NotImplementedError) as error:
        raise ValueError(f"zip: {error}") from error
