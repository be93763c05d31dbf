"""Snapshots in other clothes: the page that torch.cuda._memory_viz or memory_viz writes, with the pickle inside, and JSON.

Both become a pickle, which is read as all others are. A page is searched for its data as text, and nothing in it is run.
"""

from __future__ import annotations

import base64
import binascii
import io
import json
import pickle
import re
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Protocol

from memtrace.errors import InputError

if TYPE_CHECKING:
    from memtrace.trace.sources import Source

MOST_TEXT = 512 << 20  # bytes of a page or of JSON; more is not read
MOST_VALUES = 30_000_000  # in JSON, which take some 60 bytes each; a recording of three million events has as many
MARK = 0x80  # first byte of a pickle
DATA = re.compile(rb'"base64"\s*:\s*"([A-Za-z0-9+/=]*)"')
DUMP = "torch.cuda.memory._dump_snapshot(PATH)"


class Readable(Protocol):
    """What a pickle is read from: a Source, or bytes."""

    @property
    def label(self) -> str:
        """Return the name for messages."""

    def open(self) -> AbstractContextManager[Reader]:
        """Return the bytes as a stream."""


class Reader(Protocol):
    """A stream of bytes."""

    def read(self, most: int = -1, /) -> bytes:
        """Return at most so many bytes; none at the end."""


class Bytes:
    """A pickle in memory."""

    def __init__(self, label: str, data: bytes) -> None:
        """Keep the data; ``label`` is its name in messages."""
        self.label, self.data = label, data

    def open(self) -> AbstractContextManager[Reader]:
        """Return the bytes as a stream."""
        return io.BytesIO(self.data)


def is_wrapped(head: bytes) -> bool:
    """Return whether a file that begins with ``head`` may be a page or JSON that holds a snapshot."""
    start = head.lstrip()[:1]
    if start == b"<":
        return b"base64" in head or b"memory_viz" in head
    if start in (b"{", b"["):
        return b'"total_size"' in head or b'"device_traces"' in head
    return False


def pickle_of(source: Source) -> Readable:
    """Return what the pickle of a snapshot is to be read from: the file itself, or what a page or JSON holds.

    Raises InputError if a page or JSON holds none, or more than MOST_TEXT bytes or MOST_VALUES values.
    """
    head = source.head()
    if not head or head[0] == MARK or head.lstrip()[:1] not in (b"<", b"{", b"["):
        return source
    with source.open() as stream:
        parts, left = [], MOST_TEXT + 1
        while left and (part := stream.read(left)):
            parts.append(part)
            left -= len(part)
        text = b"".join(parts)
    if len(text) > MOST_TEXT:
        raise InputError(f"{source.label}: more than {MOST_TEXT >> 20} MiB of text\ntry: the snapshot as a pickle, by {DUMP}")
    return Bytes(source.label, _of_page(text, source.label) if text.lstrip()[:1] == b"<" else _of_json(text, source.label))


def _of_page(text: bytes, label: str) -> bytes:
    """Return the pickle in a page."""
    for found in DATA.finditer(text):
        try:
            data = base64.b64decode(found[1], validate=True)
        except binascii.Error as error:
            raise InputError(f"{label}: the data in the page is damaged ({error})\ntry: make the page again") from None
        if data[:1] == bytes([MARK]):
            return data
    picture = b"data:image" in text
    said = "the page holds a picture, and no data" if picture else "the page holds no snapshot"
    raise InputError(f"{label}: {said}\ntry: the snapshot itself, by {DUMP}")


def _of_json(text: bytes, label: str) -> bytes:
    """Return JSON as a pickle of the same data; InputError if it is no JSON, or has more values than MOST_VALUES."""
    if sum(map(text.count, (b",", b"[", b"{"))) > MOST_VALUES:
        raise InputError(f"{label}: more than {MOST_VALUES:,} values\ntry: the snapshot as a pickle, by {DUMP}")
    try:
        return pickle.dumps(json.loads(text), 4)
    except RecursionError:
        raise InputError(f"{label}: the JSON is nested too deep") from None
    except ValueError as error:
        raise InputError(f"{label}: no JSON ({error})\ntry: dump it again") from None
