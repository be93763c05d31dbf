"""Fit text into lines: measure, wrap and shorten it in the one font that plots and reports use; and render a line."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

import matplotlib
import numpy
from matplotlib.ft2font import FT2Font, Kerning, LoadFlags
from numpy.typing import NDArray

REGULAR, BOLD = "DejaVuSans.ttf", "DejaVuSans-Bold.ttf"  # matplotlib has them, so they are the same on every machine
MEASURED_AT = 100  # points; advances scale linearly, so one measured size serves all sizes
UNKNOWN = "?"  # replaces a character that the font lacks
ELLIPSIS = ".."  # two dots: a character beyond Latin-1 would add a font to the PDF, one for each block of 256 characters

NO_LIGATURES = ("-liga", "-clig")
LIGATURES = matplotlib.__version_info__ >= (3, 11)  # before, matplotlib drew none, and had no such option


def font_file(bold: bool) -> Path:
    """Return the file of the font."""
    return Path(matplotlib.get_data_path(), "fonts", "ttf", BOLD if bold else REGULAR)


@cache
def _face(bold: bool) -> FT2Font:
    """Return the font at the size at which it is measured."""
    face = FT2Font(str(font_file(bold)))
    face.set_size(MEASURED_AT, 72)
    return face


@cache
def _drawn_face(size: float, bold: bool, dots_per_inch: int) -> FT2Font:
    """Return the font at a size in points, to be drawn."""
    face = FT2Font(str(font_file(bold)))
    face.set_size(size, dots_per_inch)
    return face


@lru_cache(maxsize=4096)
def rendered(text: str, size: float, bold: bool, dots_per_inch: int) -> tuple[NDArray[numpy.uint8], int, int]:
    """Return a line of text as shares `[row, column]` of 255 that it covers, the top row first.

    The two numbers are the dots from where the text begins to the left edge, and from the baseline up to the upper edge. A
    character that the font lacks is drawn as UNKNOWN.
    """
    face = _drawn_face(size, bold, dots_per_inch)
    options: dict[str, Any] = {"features": NO_LIGATURES} if LIGATURES else {}  # letters are measured one by one
    known = "".join(letter if glyph_index(letter, bold) else UNKNOWN for letter in text)
    face.set_text(known, 0.0, flags=LoadFlags.TARGET_LIGHT, **options)
    face.draw_glyphs_to_bitmap(antialiased=True)
    cover = numpy.array(face.get_image())
    cover.flags.writeable = False
    highest = face.get_width_height()[1] - face.get_descent()  # in 64ths of a dot; the image has one more row above
    return cover, face.get_bitmap_offset()[0] // 64, highest // 64 + 1


@lru_cache(maxsize=4096)
def advance(character: str, bold: bool) -> float:
    """Return the width of a character, as a multiple of the font's size; of one that it lacks, that of the font's blank box."""
    face = _face(bold)
    glyph = face.load_glyph(face.get_char_index(ord(character)), flags=LoadFlags.NO_HINTING)
    return float(glyph.linearHoriAdvance) / 65536 / MEASURED_AT


@lru_cache(maxsize=4096)
def glyph_index(character: str, bold: bool) -> int:
    """Return the index of a character's glyph in the font, 0 if it has none."""
    return int(_face(bold).get_char_index(ord(character)))


@lru_cache(maxsize=16384)
def kerning(left: str, right: str, bold: bool) -> float:
    """Return by how much two neighbouring characters are moved apart (mostly below 0), as a multiple of the font's size."""
    face = _face(bold)
    apart = face.get_kerning(face.get_char_index(ord(left)), face.get_char_index(ord(right)), Kerning.UNFITTED)
    return apart / 64 / MEASURED_AT


def measures(bold: bool) -> tuple[float, float, tuple[float, ...]]:
    """Return ascent, descent (below 0) and bounding box (left, bottom, right, top) of the font, as multiples of its size."""
    face = _face(bold)
    units = face.units_per_EM
    return face.ascender / units, face.descender / units, tuple(edge / units for edge in face.bbox)


def width(text: str, size: float, bold: bool = False) -> float:
    """Return the width of one line in points; ``size`` is that of the font in points."""
    return size * sum(advance(character, bold) for character in text)


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
