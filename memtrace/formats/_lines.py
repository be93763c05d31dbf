"""Read a text file in blocks of whole lines; a last line without a line end, or a truncated compressed file, is reported."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from memtrace.errors import InputError
from memtrace.trace.source import is_cut, last_bytes

if TYPE_CHECKING:
    from memtrace.trace.source import Source, Stream

BLOCK_BYTES = 4 << 20  # bytes read at once
MOST_LINE_BYTES = 1 << 20  # upper bound of the length of a line
MARK = b"\xef\xbb\xbf"  # byte order mark of UTF-8, with which some editors begin a file


@dataclass(frozen=True)
class Block:
    """Store consecutive lines of the file, each with its line end."""

    text: bytes
    done: int  # stored bytes of the file read so far
    cut: bool = False  # True: this is the file's last line alone, which has no line end in the file


def blocks(source: Source, note: Callable[[str], None]) -> Iterator[Block]:
    """Yield the file's lines in blocks, in order, with at most a block and a line in memory.

    A UTF-8 byte order mark is left out. `note` is called with a message if the compressed file is truncated. Raises InputError
    for a line longer than MOST_LINE_BYTES.
    """
    rest, begun = b"", False
    with source.open() as stream:
        for data in _pieces(source, stream, note):
            text = rest + (data if begun else data.removeprefix(MARK))
            begun = True
            end = text.rfind(b"\n") + 1
            rest = text[end:]
            if len(rest) > MOST_LINE_BYTES:
                raise InputError(
                    f"{source.label}: a line is longer than {MOST_LINE_BYTES >> 20} MiB\n"
                    "try: another --format; `memtrace formats` lists them"
                )
            if end:
                yield Block(text[:end], stream.done())
    if rest.strip():
        yield Block(rest + b"\n", source.size, cut=True)


def _pieces(source: Source, stream: Stream, note: Callable[[str], None]) -> Iterator[bytes]:
    """Yield the decompressed bytes of a file.

    A truncated compressed file is read as far as it can be decompressed, and `note` is called.
    """
    read = 0
    while True:
        try:
            data = stream.read(BLOCK_BYTES)
        except InputError as error:
            if not is_cut(error):
                raise
            yield from last_bytes(source, read)
            note("the packed file is cut: what can be unpacked was read, the rest of the recording is missing")
            return
        if not data:
            return
        read += len(data)
        yield data
