"""What the parsers of text formats share: files in blocks of whole lines, compiled scanning, and compiled code kept on disk.

``blocks`` reads a file in blocks of whole lines; a last line without a line end, or a truncated compressed file, is reported. The
scanning functions read lines, words and numbers in an array of bytes (uint8), without a Python object for each line: each takes
an offset `at` and the end of the line, and returns the offset behind what it read, -1 for nothing. They accept the offset -1,
so calls can be chained and only the last result be checked.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from memtrace.contract.calls import out_of_line
from memtrace.errors import InputError
from memtrace.kernels import Kernel
from memtrace.trace.sources import is_truncated, salvaged_bytes

if TYPE_CHECKING:
    from memtrace.trace.sources import Source, Stream


def compiled(function: Callable[..., Any]) -> Kernel:
    """Return the function as a kernel; the compiled code releases Python's global interpreter lock."""
    return Kernel(function, error_model="numpy")


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
            if not is_truncated(error):
                raise
            yield from salvaged_bytes(source, read)
            note("the packed file is cut: what can be unpacked was read, the rest of the recording is missing")
            return
        if not data:
            return
        read += len(data)
        yield data


NEWLINE = 10  # ASCII code
MOST = np.uint64((1 << 63) - 1)  # upper bound of a decimal number
NEARLY = np.uint64(922337203685477579)  # a number from here on passes MOST with one more digit


@out_of_line
def next_line(text, at):  # type: ignore[no-untyped-def]
    """Return (first offset that is not blank, end without trailing blanks, start of the next line) of the line at offset `at`.

    The text must contain the line's end.
    """
    newline = at
    while text[newline] != NEWLINE:
        newline += 1
    end = newline
    while end > at and (text[end - 1] == 32 or text[end - 1] == 13 or text[end - 1] == 9):
        end -= 1
    while at < end and (text[at] == 32 or text[at] == 9):
        at += 1
    return at, end, newline + 1


@out_of_line
def decimal(text, at, end):  # type: ignore[no-untyped-def]
    """Return (number, offset behind) of a decimal number after blanks; the offset is -1 if there is none.

    Numbers beyond 63 bits become 2^63 - 1.
    """
    if at < 0:
        return np.int64(0), np.int64(-1)
    while at < end and (text[at] == 32 or text[at] == 9):
        at += 1
    value, start = np.uint64(0), at
    while at < end and np.uint8(text[at] - 48) <= 9:
        value = MOST if value >= NEARLY else value * np.uint64(10) + np.uint64(text[at] - 48)
        at += 1
    return np.int64(value), (np.int64(at) if at > start else np.int64(-1))


@out_of_line
def hexadecimal(text, at, end):  # type: ignore[no-untyped-def]
    """Return (number, offset behind) as `decimal`, to base 16, with or without 0x.

    Numbers from 2^63 on wrap round to negative ones; more than 16 digits are not a number. `(nil)` is 0.
    """
    if at < 0:
        return np.int64(0), np.int64(-1)
    while at < end and (text[at] == 32 or text[at] == 9):
        at += 1
    if end - at >= 2 and text[at] == 48 and (text[at + 1] | 32) == 120:
        at += 2
    elif end - at >= 5 and text[at] == 40 and text[at + 1] == 110 and text[at + 4] == 41:
        return np.int64(0), np.int64(at + 5)
    value, start = np.uint64(0), at
    while at < end:
        digit = np.uint64(text[at] - 48)
        if digit > 9:
            digit = np.uint64((text[at] | 32) - 87)
            if digit < 10 or digit > 15:
                break
        value = np.uint64(value << np.uint64(4)) | digit
        at += 1
    return np.int64(value), (np.int64(at) if start < at <= start + 16 else np.int64(-1))


@out_of_line
def product(one, other):  # type: ignore[no-untyped-def]
    """Return one * other for numbers that are not negative, limited to 2^61, which is more than a block may have."""
    if one > 0 and other > (1 << 61) // one:
        return np.int64(1 << 61)
    return one * other


def code_of(name: bytes) -> int:
    """Return the hash that `word` returns for this word."""
    code = 0
    for byte in name:
        code = (code * 131 + byte) % (1 << 63)
    return code


@out_of_line
def word(text, at, end):  # type: ignore[no-untyped-def]
    """Return (hash, offset behind) of the letters, digits and underscores at `at`; the offset is -1 if there are none."""
    code, start = np.int64(0), at
    while at < end and (text[at] == 95 or np.uint8((text[at] | 32) - 97) < 26 or np.uint8(text[at] - 48) <= 9):
        code = (code * 131 + text[at]) & ((1 << 63) - 1)
        at += 1
    return code, (np.int64(at) if at > start else np.int64(-1))


@out_of_line
def after(text, at, end, byte):  # type: ignore[no-untyped-def]
    """Return the offset behind `at` if the text has this byte there, else -1."""
    if at >= 0 and at < end and text[at] == byte:
        return np.int64(at + 1)
    return np.int64(-1)
