"""Open a path, a URL or standard input as a file on this machine that can be read twice, decompressed while it is read.

Of a zip archive its one file is read.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import stat
import sys
import threading
import zlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Self
from zipfile import BadZipFile, ZipFile

from memtrace import temporary
from memtrace.errors import InputError, MemtraceError, UsageError
from memtrace.names import nearest
from memtrace.units import format_size

HEAD_BYTES = 1 << 16  # bytes that a format sees to recognise its files
COPY_BYTES = 1 << 20  # bytes read at once
CHECKED_BYTES = 256 << 20  # bytes copied between two looks at how full the disk is
LEAST_FREE = 1 << 30  # bytes that a copy leaves free on the disk
MOST_ZEROS = 64 << 20  # bytes that an input may begin with and that are all zero
FINE_BYTES = 256  # bytes read at once near the end of a truncated file
# First bytes of a file -> its compression.
MAGIC = {b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "zstd", b"PK\x03\x04": "zip"}
SUFFIXES = {".gz": "gzip", ".zst": "zstd", ".zip": "zip"}
REMOTE = "pip install 'memtrace-replay[remote]'"
_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+)://")


class _Member:
    """Read the bytes of one member of an archive.

    The errors that zipfile raises for a damaged archive become ValueErrors, which other decompressors raise too.
    """

    def __init__(self, archive: ZipFile, name: str) -> None:
        """Open the member `name`."""
        self.archive, self.file = archive, archive.open(name)

    def read(self, most: int | None = None) -> bytes:
        """Return at most `most` bytes (None: all that are left)."""
        try:
            return self.file.read(-1 if most is None else most)
        except (BadZipFile, zlib.error, EOFError, NotImplementedError) as error:
            raise ValueError(f"zip: {error or 'Truncated'}") from error

    def close(self) -> None:
        """Close the member and the archive."""
        self.file.close()
        self.archive.close()


# What archives of several files are known to be, by a name within them.
ARCHIVES = (
    ("data.pkl", "a checkpoint of PyTorch: it holds tensors, and no allocations"),
    (".npy", "arrays of NumPy: it holds no allocations"),
    ("META-INF/MANIFEST.MF", "a program or package (jar, apk): it holds no allocations"),
    ("[Content_Types].xml", "a document of an office program: it holds no allocations"),
)


def only_member(stored: Any, label: str) -> _Member:
    """Return the one file in the archive `stored`, open for reading; `label` is the archive's name in messages.

    Raises InputError if the archive has another number of files or is encrypted, ValueError if it is damaged.
    """
    try:
        archive = ZipFile(stored)
        names = [item.filename for item in archive.infolist() if not item.is_dir() and not item.filename.startswith("__MACOSX/")]
        if len(names) != 1:
            shown = ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
            what = next((what for known, what in ARCHIVES if any(name.endswith(known) for name in names)), None)
            said = f"a zip of {len(names)} files ({shown})" + (f", {what}" if what else " is no trace")
            raise InputError(f"{label}: {said}\ntry: unzip it, and give the file inside that is a trace, if one is")
        return _Member(archive, names[0])
    except RuntimeError as error:
        raise InputError(f"{label}: the zip is locked by a password: {error}") from error
    except (BadZipFile, zlib.error, NotImplementedError) as error:
        raise ValueError(f"zip: {error}") from error


@dataclass(frozen=True)
class Source:
    """Describe a trace file, which may be compressed with gzip, zstd or zip; its first bytes decide, not its name."""

    given: str  # the path, URL or "-" as the user gave it
    path: Path  # of the stored bytes: the file itself, or a copy of an input that can be read only once
    compression: str | None  # "gzip", "zstd", "zip", or None

    @property
    def label(self) -> str:
        """Return the name of the source in messages."""
        return "standard input" if self.given == "-" else self.given

    @property
    def file_name(self) -> str:
        """Return the file's own name without .gz, .zst or .zip; "stdin" for standard input."""
        base = re.split(r"[?#]", self.given)[0] if _URL.match(self.given) else self.given
        name = Path(base).name if self.given != "-" else "stdin"
        return name[: -len(Path(name).suffix)] if Path(name).suffix.lower() in SUFFIXES else name

    @property
    def size(self) -> int:
        """Return the number of stored (compressed) bytes."""
        return self.path.stat().st_size

    def open(self) -> Stream:
        """Return a Stream of the decompressed bytes from the start."""
        with reading_errors(self.label):
            return Stream(self)

    def head(self) -> bytes:
        """Return the first decompressed bytes, at most HEAD_BYTES, by which formats are recognised.

        For a truncated compressed file this is what can be decompressed; raises InputError if that is nothing.
        """
        try:
            with self.open() as stream:
                return stream.read(HEAD_BYTES)
        except InputError as error:
            if not is_truncated(error):
                raise
            found = b"".join(salvaged_bytes(self, 0))[:HEAD_BYTES]
            if not found:
                raise
            return found

    def sha256(self, stop: threading.Event | None = None) -> str:
        """Return the SHA-256 of the stored bytes in hexadecimal, or "" if the event `stop` is set before the end."""
        digest = hashlib.sha256()
        with reading_errors(self.label), self.path.open("rb") as file:
            while data := file.read(COPY_BYTES):
                if stop is not None and stop.is_set():
                    return ""
                digest.update(data)
        return digest.hexdigest()

    @contextmanager
    def seekable(self) -> Iterator[Path]:
        """Provide the path of a file of the decompressed bytes in a `with` block, for formats that do not read in order."""
        if self.compression is None:
            yield self.path
            return
        with temporary.folder() as folder:
            path = folder / "unpacked"
            with self.open() as stream, path.open("wb") as file:
                shutil.copyfileobj(stream, file, COPY_BYTES)
            yield path


class Stream:
    """Read the decompressed bytes of a source in order; every failure is an InputError that names the source."""

    def __init__(self, source: Source) -> None:
        """Open the source, and decompress if it is compressed."""
        import pyarrow as pa

        self.label = source.label
        self.stored = pa.OSFile(str(source.path))
        self.bytes: Any = self.stored
        if source.compression == "zip":
            self.bytes = only_member(self.stored, source.label)
        elif source.compression is not None:
            self.bytes = pa.CompressedInputStream(self.stored, source.compression)

    def read(self, most: int = -1) -> bytes:
        """Return at most `most` decompressed bytes (-1: all that are left), b"" at the end."""
        with reading_errors(self.label):
            data: bytes = self.bytes.read(None if most < 0 else most)  # pyarrow takes no negative number
            return data

    def done(self) -> int:
        """Return the number of stored bytes read so far."""
        return int(self.stored.tell())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Close the file."""
        self.bytes.close()
        self.stored.close()


def is_truncated(error: InputError) -> bool:
    """Return whether an error says that a compressed file is truncated."""
    return "runcated" in str(error)


def salvaged_bytes(source: Source, read: int) -> Iterator[bytes]:
    """Yield, in two pieces, what can be decompressed behind the first `read` decompressed bytes of a truncated file.

    Each piece comes from a new attempt: the first reads FINE_BYTES at a time, the second one byte at a time.
    """
    for step in (FINE_BYTES, 1):
        with source.open() as stream:
            left = read
            while left > 0 and (skipped := stream.read(min(left, COPY_BYTES))):
                left -= len(skipped)
            found = bytearray()
            try:
                while data := stream.read(step):
                    found += data
            except InputError:
                pass
        read += len(found)
        yield bytes(found)


@contextmanager
def reading_errors(label: str) -> Iterator[None]:
    """Turn the errors of the system and of pyarrow that occur in a `with` block into InputErrors that name the file."""
    try:
        yield
    except MemtraceError:
        raise
    except PermissionError as error:
        raise InputError(f"{label}: no permission to read it") from error
    except UnicodeEncodeError as error:
        said = "its name, or that of its folder, is not UTF-8" if "surrogates" in error.reason else f"its name: {error.reason}"
        raise InputError(
            f"{label}: cannot be read: {said}\ntry: rename it, or give it on standard input: memtrace run - < FILE"
        ) from error
    except (OSError, ValueError) as error:
        said = (str(error).splitlines() or [type(error).__name__])[0]
        raise InputError(
            f"{label}: cannot be read: {said}\ntry: make or fetch the file again; it looks cut or damaged"
        ) from error


@contextmanager
def open_source(path: str | os.PathLike[str]) -> Iterator[Source]:
    """Provide the Source for a path, a URL, or "-" (standard input) in a `with` block.

    An input that can be read only once is copied; the copy is removed afterwards.
    """
    label = os.fspath(path)
    scheme = _URL.match(label)
    if scheme and scheme[1].lower() == "file":
        label, scheme = label[len("file://") :], None
    if scheme:
        opened = _open_url(label, scheme[1].lower())
        with _copied(label, opened) as source:
            yield source
    elif label == "-":
        with _copied(label, _open_stdin) as source:
            yield source
    elif _is_pipe(label):
        with _copied(label, lambda: open(label, "rb")) as source:
            yield source
    else:
        yield _source(label, Path(label))


def _source(label: str, path: Path) -> Source:
    """Return the Source of a regular file; `label` is the name as the user gave it. Raises InputError for an empty file."""
    with reading_errors(label), path.open("rb") as file:
        start = file.read(4)
    found = [name for magic, name in MAGIC.items() if start.startswith(magic)]
    source = Source(label, path, found[0] if found else None)
    if not start:
        raise InputError(f"{source.label} is empty")
    return source


def _is_pipe(label: str) -> bool:
    """Return whether this path can be read only once; raises InputError where there is no file to read."""
    path = Path(label)
    try:
        mode = path.stat().st_mode
    except PermissionError as error:
        raise InputError(f"{label}: no permission to read it") from error
    except (OSError, ValueError) as error:
        raise _missing(label, path) from error
    if stat.S_ISDIR(mode):
        inside = sorted(item.name for item in path.iterdir() if item.is_file())[:3]
        hint = f"; give a file in it, such as {path / inside[0]}" if inside else ""
        raise InputError(f"{label} is a directory{hint}")
    return not stat.S_ISREG(mode)


def _missing(label: str, path: Path) -> InputError:
    """Return (not raise) the InputError for a path that does not exist; it proposes a similar name in the same folder."""
    folder = path.parent
    try:
        likely = nearest(path.name, (item.name for item in folder.iterdir()))
    except (OSError, ValueError):
        return InputError(f"{label!r}: no such file")
    return InputError(f"{label}: no such file" + (f"; did you mean {folder / likely}?" if likely else ""))


@contextmanager
def _copied(label: str, opened: Callable[[], AbstractContextManager[IO[bytes]]]) -> Iterator[Source]:
    """Provide the Source of a temporary copy of an input that can be read only once.

    The copy is needed because the message about an invalid row needs a second look at the rows before it.
    """
    with temporary.folder() as folder:
        path = folder / "copy"
        with reading_errors(label), opened() as remote, path.open("wb") as file:
            _copy(label, remote, file)
        yield _source(label, path)


def _copy(label: str, remote: IO[bytes], file: IO[bytes]) -> None:
    """Copy an input of unknown length to a file.

    Raise InputError if the disk would be nearly full, or if the input begins with many zero bytes, as a device or a hole has.
    """
    copied, checked, zero = 0, -CHECKED_BYTES, True
    while data := remote.read(COPY_BYTES):
        zero = zero and not any(data)
        if zero and copied > MOST_ZEROS:
            raise InputError(f"{label}: its first {format_size(copied)} are zero bytes; that is no trace")
        if copied - checked >= CHECKED_BYTES:
            checked = copied
            free = shutil.disk_usage(file.name).free
            if free < LEAST_FREE:
                place = Path(file.name).parent.parent
                raise InputError(
                    f"{label}: {format_size(copied)} are copied to {place}, which has {format_size(free)} left\n"
                    f"try: give a file instead, or set TMPDIR to a folder with more room"
                )
        file.write(data)
        copied += len(data)


@contextmanager
def _open_stdin() -> Iterator[IO[bytes]]:
    """Provide standard input as a binary file; raises UsageError if it is a terminal."""
    if sys.stdin.isatty():
        raise UsageError("standard input is a terminal; pipe a trace into it: zcat trace.csv.gz | memtrace run -")
    yield sys.stdin.buffer


def _open_url(url: str, scheme: str) -> Callable[[], AbstractContextManager[IO[bytes]]]:
    """Return a function that opens a URL as a binary file; raises UsageError, which names the extra, if fsspec is missing."""
    try:
        import fsspec
    except ImportError:
        raise UsageError(f"reading {scheme}:// needs an extra: {REMOTE}") from None

    @contextmanager
    def opened() -> Iterator[IO[bytes]]:
        """Provide the open file; raises UsageError if fsspec lacks the scheme."""
        try:
            handle = fsspec.open(url, "rb")
        except (ImportError, ValueError) as error:
            raise UsageError(f"{url}: {error}; {REMOTE} brings s3, gs, http and others") from error
        with handle as file:
            yield file

    return opened
