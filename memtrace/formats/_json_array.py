"""Yield the elements of a JSON array one at a time, through a window of the file, with at most an element in memory."""

from __future__ import annotations

import codecs
import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from memtrace.errors import InputError
from memtrace.trace.sources import is_truncated

if TYPE_CHECKING:
    from memtrace.trace.sources import Source, Stream

BLANK = "\ufeff \t\r\n"
PIECE_BYTES = 1 << 20  # bytes read at once
MOST_OBJECT = 16 << 20  # upper bound of the characters of one element


def elements(source: Source, said: list[str], missing: str) -> Iterator[Any]:
    """Yield the elements of the file's array, or of the array under the key "traceEvents" of its object, as parsed JSON.

    Raises InputError with the text `missing` if there is no such array, and if an element is not JSON. Appends to `said` if the
    file is truncated.
    """
    text = _Text(source, said)
    if not text.find_array():
        raise InputError(f"{source.label}: {missing}")
    decoder = json.JSONDecoder()
    while text.to_object():
        while True:
            try:
                event, text.at = decoder.raw_decode(text.text, text.at)
                break
            except RecursionError:
                raise InputError(f"{source.label}: an event is nested too deep\ntry: make the file again") from None
            except ValueError:
                if text.left() > MOST_OBJECT:
                    raise InputError(f"{source.label}: an event is no JSON, or longer than 16 MiB") from None
                if not text.more():
                    said.append("the file ends in the middle of an event: left out")
                    return
        yield event


class _Text:
    """Read the file as text through a window, `text`, of which the part before offset `at` is read already."""

    def __init__(self, source: Source, said: list[str]) -> None:
        """Open the source; messages about a truncated file are appended to `said`."""
        self.source, self.said = source, said
        self.decode = codecs.getincrementaldecoder("utf-8")("replace").decode
        self.stream: Stream = source.open()
        self.text, self.at, self.ended = "", 0, False

    def left(self) -> int:
        """Return the number of characters in the window that are not read yet."""
        return len(self.text) - self.at

    def more(self) -> bool:
        """Append a piece of the file to the window, and drop what is read; returns False at the end of the file."""
        if self.ended:
            return False
        try:
            data = self.stream.read(PIECE_BYTES)
        except InputError as error:
            if not is_truncated(error):
                raise
            self.said.append("the packed file is cut: its last part is missing")
            data = b""
        if not data:
            self.ended = True
            self.stream.bytes.close()
            return False
        self.text = self.text[self.at :] + self.decode(data)
        self.at = 0
        return True

    def find_array(self) -> bool:
        """Move behind the `[` of the array of events; returns False if there is none."""
        while not (begun := self.text.lstrip(BLANK)):
            if not self.more():
                return False
        self.at = len(self.text) - len(begun)
        if self.text[self.at] == "[":
            self.at += 1
            return True
        if self.text[self.at] != "{":
            return False
        while (found := self.text.find('"traceEvents"', self.at)) < 0 or "[" not in self.text[found:]:
            if found < 0:
                self.at = max(self.at, len(self.text) - len('"traceEvents"'))
            if not self.more() or self.left() > MOST_OBJECT:
                return False
        self.at = self.text.index("[", found) + 1
        return True

    def to_object(self) -> bool:
        """Move to the next element of the array; returns False at the end of the array or of the file."""
        while True:
            while self.at < len(self.text) and self.text[self.at] in " \t\r\n,":
                self.at += 1
            if self.at < len(self.text):
                return self.text[self.at] != "]"
            if not self.more():
                self.said.append("the array of events has no end: the file may be cut")
                return False
