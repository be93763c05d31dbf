"""The one font of a PDF, regular or bold: letters are numbered as they occur, and only those are embedded."""

from __future__ import annotations

from functools import lru_cache
from io import BytesIO
from typing import Any

from memtrace.drawing.text import advance, font_file, glyph_index, kerning

EM = 1000  # units of a PDF's fonts in the size of the font
# Tables of a TrueType font that a PDF needs; the others cost most of the time to cut.
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

    def glyph_of_letter(self) -> bytes:
        """Return the index of the glyph in the subset for each number of a letter, two bytes each, beginning with number 0."""
        kept = sorted({0, *(glyph_index(letter, self.bold) for letter in self.letters)})
        places = [0, *(kept.index(glyph_index(letter, self.bold)) for letter in self.letters)]
        return b"".join(place.to_bytes(2, "big") for place in places)

    def to_unicode(self) -> bytes:
        """Return the map from numbers to characters, by which a reader searches and copies text."""
        lines = [f"<{number:04x}> <{letter.encode('utf-16-be').hex()}>" for letter, number in self.letters.items()]
        parts = [lines[at : at + RANGE] for at in range(0, len(lines), RANGE)]
        return CMAP.format("\n".join("\n".join([f"{len(part)} beginbfchar", *part, "endbfchar"]) for part in parts)).encode()

    def subset(self) -> bytes:
        """Return a TrueType font with the glyphs of the letters and the one for an unknown letter."""
        from fontTools.subset import Options, Subsetter
        from fontTools.ttLib import TTFont

        font = TTFont(str(font_file(self.bold)), lazy=True, recalcTimestamp=False)
        for table in font.keys():
            if table not in NEEDED:
                del font[table]
        cut = Subsetter(Options(notdef_outline=True, legacy_cmap=True, glyph_names=False))
        cut.populate(gids=[glyph_index(letter, self.bold) for letter in self.letters])
        cut.subset(font)
        content = BytesIO()
        font.save(content, reorderTables=None)
        return content.getvalue()

    def descriptor(self) -> dict[str, Any]:
        """Return the entries of the font's descriptor that are measures of the font."""
        from memtrace.drawing.text import measures

        ascent, descent, box = measures(self.bold)
        corners = " ".join(f"{round(EM * edge)}" for edge in box)
        return {
            "FontBBox": f"[ {corners} ]",
            "Ascent": round(EM * ascent),
            "Descent": round(EM * descent),
            "CapHeight": round(EM * 0.73),
            "ItalicAngle": 0,
        }


@lru_cache(maxsize=4096)
def runs(text: str, bold: bool) -> tuple[tuple[int, int, str], ...]:
    """Return the parts (start, end) of a text between letters that are moved together, each with the move behind it, as PDF text."""
    found, start = [], 0
    for at in range(len(text) - 1):
        move = kerning(text[at], text[at + 1], bold)
        if move:
            found.append((start, at + 1, f"{-EM * move:.0f}"))
            start = at + 1
    return (*found, (start, len(text), ""))
