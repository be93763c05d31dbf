"""The one font of a PDF, regular or bold: letters are numbered as they occur, and only those are embedded."""

from __future__ import annotations

from functools import lru_cache
from io import BytesIO
from typing import Any

from memtrace.drawing.style import CAPITALS
from memtrace.drawing.text import advance, font_file, glyph_index, kerning, measures

EM = 1000  # units of a PDF's fonts in the size of the font
# Tables of a TrueType font that a PDF needs.
NEEDED = ("GlyphOrder", "head", "hhea", "maxp", "hmtx", "loca", "glyf", "cvt ", "fpgm", "prep")
CMAP = """/CIDInit /ProcSet findresource begin
12 dict begin
begincmap
/CIDSystemInfo << /Registry (Adobe) /Ordering (UCS) /Supplement 0 >> def
/CMapName /Adobe-Identity-UCS def
/CMapType 2 def
1 begincodespacerange
<0000> <ffff>
endcodespacerange
{}
endcmap
CMapName currentdict /CMap defineresource pop
end
end"""
RANGE = 100  # entries of a part of a map


class Typeface:
    """A font in use. `letters` maps each character that was shown to its number in the PDF, from 1."""

    def __init__(self, bold: bool) -> None:
        """Start without letters."""
        self.bold, self.name = bold, "F2" if bold else "F1"
        self.letters: dict[str, int] = {}
        self.postscript_name = font_file(bold).stem

    def shown(self, text: str) -> str:
        """Return the PDF operator that shows a text, with the distances that the font gives to pairs of letters."""
        letters = self.letters
        parts = []
        for start, end, move in runs(text, self.bold):
            codes = "".join([f"{letters.setdefault(letter, len(letters) + 1):04x}" for letter in text[start:end]])
            parts.append(f"<{codes}>{move}")
        return f"[{''.join(parts)}] TJ"

    def widths(self) -> list[float]:
        """Return the width of each letter in order."""
        return [round(EM * advance(letter, self.bold), 1) for letter in self.letters]

    def to_unicode(self) -> bytes:
        """Return the map from numbers to characters, by which a reader searches and copies text."""
        lines = [f"<{number:04x}> <{letter.encode('utf-16-be').hex()}>" for letter, number in self.letters.items()]
        parts = [lines[at : at + RANGE] for at in range(0, len(lines), RANGE)]
        return CMAP.format("\n".join("\n".join([f"{len(part)} beginbfchar", *part, "endbfchar"]) for part in parts)).encode()

    def embedded(self) -> tuple[bytes, bytes]:
        """Return a TrueType font of only the glyphs of the letters, and the index in it of the glyph of each number of a letter.

        The indices are two bytes each and begin with that of number 0, which is the glyph for an unknown letter.
        """
        from fontTools.ttLib import TTFont

        with TTFont(str(font_file(self.bold)), lazy=True, recalcTimestamp=False, recalcBBoxes=False) as font:
            for table in set(font.keys()).difference(NEEDED):
                del font[table]
            order, glyphs, metrics = font.getGlyphOrder(), font["glyf"], font["hmtx"].metrics
            wanted = [order[0], *(order[glyph_index(letter, self.bold)] for letter in self.letters)]
            kept, waiting = set(wanted), list(wanted)
            while waiting:  # a glyph may be made of others, such as a letter and its accent
                parts = set(glyphs[waiting.pop()].getComponentNames(glyphs)) - kept
                kept |= parts
                waiting += parts
            names = [name for name in order if name in kept]
            font["hmtx"].metrics = {name: metrics[name] for name in names}
            glyphs.glyphs = {name: glyphs.glyphs[name] for name in names}
            glyphs.setGlyphOrder(names)
            font.setGlyphOrder(names)
            content = BytesIO()
            font.save(content, reorderTables=None)
        return content.getvalue(), b"".join(names.index(name).to_bytes(2, "big") for name in wanted)

    def descriptor(self) -> dict[str, Any]:
        """Return the entries of the font's descriptor that are measures of the font."""
        ascent, descent, box = measures(self.bold)
        corners = " ".join(f"{round(EM * edge)}" for edge in box)
        return {
            "FontBBox": f"[ {corners} ]",
            "Ascent": round(EM * ascent),
            "Descent": round(EM * descent),
            "CapHeight": round(EM * CAPITALS),
            "ItalicAngle": 0,
        }


@lru_cache(maxsize=4096)
def runs(text: str, bold: bool) -> tuple[tuple[int, int, str], ...]:
    """Return the parts (start, end) of a text that are not moved apart, each with the move behind it as a PDF number."""
    found: list[tuple[int, int, str]] = []
    start = 0
    for at in range(len(text) - 1):
        move = kerning(text[at], text[at + 1], bold)
        if move:
            found.append((start, at + 1, f"{-EM * move:.0f}"))
            start = at + 1
    return (*found, (start, len(text), ""))
