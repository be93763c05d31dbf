"""Fit text into lines: measure, wrap and shorten it in the one font that plots and reports use."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache, lru_cache
from pathlib import Path

import matplotlib
from matplotlib.ft2font import FT2Font, LoadFlags

REGULAR, BOLD = "DejaVuSans.ttf", "DejaVuSans-Bold.ttf"  # matplotlib has them, so they are the same on every machine
MEASURED_AT = 100  # points; advances scale linearly, so one measured size serves all sizes
UNKNOWN = "?"  # replaces a character that the font lacks
ELLIPSIS = ".."  # two dots: a character beyond Latin-1 would add a font to the PDF, one for each block of 256 characters


@cache
def _face(bold: bool) -> FT2Font:
    """Return the font."""
    face = FT2Font(str(Path(matplotlib.get_data_path(), "fonts", "ttf", BOLD if bold else REGULAR)))
    face.set_size(MEASURED_AT, 72)
    return face


@lru_cache(maxsize=4096)
def _advance(character: str, bold: bool) -> float:
    """Return the width of a character, as a multiple of the font's size."""
    glyph = _face(bold).load_char(ord(character), flags=LoadFlags.NO_HINTING)
    return float(glyph.linearHoriAdvance) / 65536 / MEASURED_AT


def width(text: str, size: float, bold: bool = False) -> float:
    """Return the width of one line in points; ``size`` is that of the font in points."""
    return size * sum(_advance(character, bold) for character in text)


def printable(text: str) -> str:
    """Return the text on one line, with each character that the font lacks replaced: names come from users' files."""
    face = _face(False)
    return "".join(" " if c.isspace() else c if c.isprintable() and face.get_char_index(ord(c)) else UNKNOWN for c in text)


def wrap(text: str, size: float, room: float, bold: bool = False) -> list[str]:
    """Return the text as lines no wider than ``room`` points; a word that is wider than a line is cut."""
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
    """Return a word cut into pieces no wider than ``room`` points."""
    pieces = [""]
    for character in word:
        if pieces[-1] and width(pieces[-1] + character, size, bold) > room:
            end = _break(pieces[-1])
            pieces[-1:] = [pieces[-1][:end], pieces[-1][end:]]
        pieces[-1] += character
    return pieces


def _break(line: str) -> int:
    """Return where to cut a line within a word: in its second half after a comma, or else after another mark, or at its end."""
    for marks in (",", ":_/-"):
        end = max(line.rfind(mark) for mark in marks) + 1
        if end > len(line) // 2:
            return end
    return len(line)


def shorten(text: str, size: float, room: float, bold: bool = False) -> str:
    """Return the text if it fits in ``room`` points, else its head and tail with an ellipsis between.

    The tail is kept because the end often tells labels apart.
    """
    if width(text, size, bold) <= room:
        return text
    for kept in range(len(text) - 1, 1, -1):
        head = (kept * 3 + 2) // 5
        short = f"{text[:head]}{ELLIPSIS}{text[len(text) - (kept - head) :]}"
        if width(short, size, bold) <= room:
            return short
    return ELLIPSIS


def short_labels(labels: Iterable[str], size: float, room: float) -> dict[str, str]:
    """Return for each policy label a text of at most ``room`` points, no two of them alike."""
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
    """Return a label with the words of its option names cut to three letters:

    `pytorch:expandable_segments=True` becomes `pytorch:exp_seg=True`.
    """
    base, colon, options = label.partition(":")
    pairs = (option.partition("=") for option in options.split(","))
    return base + colon + ",".join("_".join(w[:3] for w in key.split("_")) + equals + end for key, equals, end in pairs)
