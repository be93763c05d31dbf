"""A text file -> blocks of whole lines, with a damaged or cut end told apart from a whole one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from memtrace.errors import InputError
from memtrace.trace.source import is_cut, last_bytes

if TYPE_CHECKING:
    from memtrace.trace.source import Source, Stream

BLOCK_BYTES = 4 << 20
MOST_LINE_BYTES = 1 << 20
MARK = b"\xef\xbb\xbf"  # of UTF-8, as editors of other systems put it in front


@dataclass(frozen=True)
class Block:
    """Lines, each with its end; `cut`: the one line here had none in the file."""

    text: bytes
    done: int  # stored bytes read by then
    cut: bool = False


def blocks(source: Source, note: Callable[[str], None]) -> Iterator[Block]:
    """The file in order, at most a block and a line in memory; `note` hears if its packed stream is cut."""
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
    """Unpacked bytes; a packed stream that ends too early is read to its last byte."""
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
