"""Text to lines that fit: widths, wrapping and shortening in the one font that plots and reports use."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache, lru_cache
from pathlib import Path

import matplotlib
from matplotlib.ft2font import FT2Font, LoadFlags

REGULAR, BOLD = "DejaVuSans.ttf", "DejaVuSans-Bold.ttf"  # come with matplotlib: the same on every machine
MEASURED_AT = 100  # points; advances scale linearly, so one size serves all
UNKNOWN = "?"
ELLIPSIS = ".."  # as in all of our own text no character beyond Latin-1: each block of 256 is a font more in a PDF


@cache
def _face(bold: bool) -> FT2Font:
    face = FT2Font(str(Path(matplotlib.get_data_path(), "fonts", "ttf", BOLD if bold else REGULAR)))
    face.set_size(MEASURED_AT, 72)
    return face


@lru_cache(maxsize=4096)
def _advance(character: str, bold: bool) -> float:
    glyph = _face(bold).load_char(ord(character), flags=LoadFlags.NO_HINTING)
    return float(glyph.linearHoriAdvance) / 65536 / MEASURED_AT


def width(text: str, size: float, bold: bool = False) -> float:
    """The width of one line in points."""
    return size * sum(_advance(character, bold) for character in text)


def printable(text: str) -> str:
    """The text with what the font cannot show replaced, and on one line: names come from people's files."""
    face = _face(False)
    return "".join(" " if c.isspace() else c if c.isprintable() and face.get_char_index(ord(c)) else UNKNOWN for c in text)


def wrap(text: str, size: float, room: float, bold: bool = False) -> list[str]:
    """Lines no wider than `room` points; a word that is wider than a line is cut."""
    lines = [""]
    for word in text.split(" "):
        joined = f"{lines[-1]} {word}" if lines[-1] else word
        if width(joined, size, bold) <= room:
            lines[-1] = joined
            continue
        if lines[-1]:
            lines.append("")
        *full, rest = _cut(word, size, room, bold)
        lines[-1:] = [*full, rest]
    return lines


def _cut(word: str, size: float, room: float, bold: bool) -> list[str]:
    pieces = [""]
    for character in word:
        if pieces[-1] and width(pieces[-1] + character, size, bold) > room:
            end = _break(pieces[-1])
            pieces[-1:] = [pieces[-1][:end], pieces[-1][end:]]
        pieces[-1] += character
    return pieces


def _break(line: str) -> int:
    """Where to cut a line within a word: after a comma or else another mark in its second half."""
    for marks in (",", ":_/-"):
        end = max(line.rfind(mark) for mark in marks) + 1
        if end > len(line) // 2:
            return end
    return len(line)


def shorten(text: str, size: float, room: float, bold: bool = False) -> str:
    """The text if it fits in `room` points, else its head and tail: often the end tells labels apart."""
    if width(text, size, bold) <= room:
        return text
    for kept in range(len(text) - 1, 1, -1):
        head = (kept * 3 + 2) // 5
        short = f"{text[:head]}{ELLIPSIS}{text[len(text) - (kept - head) :]}"
        if width(short, size, bold) <= room:
            return short
    return ELLIPSIS


def short_labels(labels: Iterable[str], size: float, room: float) -> dict[str, str]:
    """A label of at most `room` points for each policy label, no two of them alike."""
    short: dict[str, str] = {}
    for label in labels:
        clean = printable(label)
        text = shorten(clean if width(clean, size) <= room else _abbreviated(clean), size, room)
        number = 2
        while text in short.values():
            mark = f" ({number})"
            text = shorten(_abbreviated(clean), size, room - width(mark, size)) + mark
            number += 1
        short[label] = text
    return short


def _abbreviated(label: str) -> str:
    """`pytorch:expandable_segments=True` as `pytorch:exp_seg=True`."""
    base, colon, options = label.partition(":")
    pairs = (option.partition("=") for option in options.split(","))
    return base + colon + ",".join("_".join(w[:3] for w in key.split("_")) + equals + end for key, equals, end in pairs)
