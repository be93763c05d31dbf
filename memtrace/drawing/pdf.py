"""Write frames as a PDF: vector figures, searchable text, bookmarks. Equal pages give equal bytes.

Only what frames hold is known here: lines, areas, small images, and lines of text in the one font, which is embedded as TrueType
with the letters that occur. matplotlib's own PDF backend takes a millisecond for each line of text and has no public bookmarks.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any, NamedTuple

import numpy
from numpy.typing import NDArray

from memtrace.drawing.frame import POINTS, Frame, Stroke
from memtrace.drawing.style import ALIGNED, CAPITALS, rgb
from memtrace.drawing.text import width
from memtrace.drawing.typeface import Typeface

LEVEL = 6  # of zlib's compression
ROUND_JOINS = "1 j"  # of lines; their ends are flat, which is the default of PDF
CATALOG, INFO, PAGES, RESOURCES = range(1, 5)  # numbers of the objects that are known only at the end
FIXED = 4  # such objects


class Mark(NamedTuple):
    """A bookmark: a heading's text, its level, and the index of its page from 0."""

    title: str
    level: int
    page: int


class Placed(NamedTuple):
    """A frame on a page; left and top are in inches from the page's top left corner."""

    frame: Frame
    left: float
    top: float


@dataclass
class Pdf:
    """A PDF in the making: pages are added one after the other, then `content` returns the file.

    ``width`` and ``height`` are those of every page, in inches.
    """

    width: float
    height: float
    objects: list[bytes] = field(default_factory=lambda: [b""] * FIXED)  # object n is at n - 1
    pages: list[int] = field(default_factory=list)  # numbers of the pages' objects
    images: dict[bytes, int] = field(default_factory=dict)  # digest of the pixels -> number of the object
    faces: dict[bool, Typeface] = field(default_factory=lambda: {bold: Typeface(bold) for bold in (False, True)})

    def add(self, content: bytes) -> int:
        """Add an object, and return its number."""
        self.objects.append(content)
        return len(self.objects)

    def page(self, frames: Iterable[Placed]) -> None:
        """Add a page with these frames on it, the first at the back."""
        drawn = "\n".join([ROUND_JOINS, *(line for placed in frames for line in self._drawn(placed))])
        content = self.add(stream({}, drawn.encode("ascii")))
        box = f"[ 0 0 {self.width * POINTS:.2f} {self.height * POINTS:.2f} ]"
        self.pages.append(
            self.add(dictionary(Type="/Page", Parent=ref(PAGES), MediaBox=box, Contents=ref(content), Resources=ref(RESOURCES)))
        )

    def content(self, title: str, marks: Sequence[Mark] = ()) -> bytes:
        """Return the whole file, with a title and with bookmarks."""
        kids = " ".join(ref(page) for page in self.pages)
        self.objects[PAGES - 1] = dictionary(Type="/Pages", Kids=f"[ {kids} ]", Count=len(self.pages))
        fonts = " ".join(f"/{face.name} {ref(self._font(face))}" for face in self.faces.values() if face.letters)
        images = " ".join(f"/I{number} {ref(number)}" for number in self.images.values())
        self.objects[RESOURCES - 1] = dictionary(Font=f"<< {fonts} >>", XObject=f"<< {images} >>")
        catalog: dict[str, Any] = {"Type": "/Catalog", "Pages": ref(PAGES)}
        if marks:
            catalog |= {"Outlines": ref(self._bookmarks(marks)), "PageMode": "/UseOutlines"}
        self.objects[CATALOG - 1] = dictionary(**catalog)
        self.objects[INFO - 1] = dictionary(Title=text(title), Creator="(memtrace)", Producer="(memtrace)")
        return self._file()

    def _file(self) -> bytes:
        """Return the objects as a file, with the table of where each begins."""
        parts, places, size = [b"%PDF-1.4\n%\xac\xdc \xab\xba\n"], [], 0
        for number, content in enumerate(self.objects, start=1):
            size += len(parts[-1])
            places.append(size)
            parts.append(b"%d 0 obj\n%s\nendobj\n" % (number, content))
        size += len(parts[-1])
        table = "".join(f"{place:010d} 00000 n \n" for place in places)
        count = len(self.objects) + 1
        trailer = dictionary(Size=count, Root=ref(CATALOG), Info=ref(INFO))
        parts.append(f"xref\n0 {count}\n0000000000 65535 f \n{table}trailer\n".encode() + trailer)
        return b"".join([*parts, f"\nstartxref\n{size}\n%%EOF\n".encode()])

    def _drawn(self, placed: Placed) -> Iterator[str]:
        """Yield the PDF operators that draw a frame, from back to front."""
        frame = placed.frame
        shift = numpy.array([placed.left * POINTS, (self.height - placed.top) * POINTS])
        yield from strokes(frame.behind, shift)
        for points, colour in frame.areas:
            yield f"{colour_text(colour)} rg {outline(points, shift)} f"
        for pixels, (left, right, bottom, top) in frame.images:
            number = self._image(pixels)
            (x, y), (wide, tall) = on_page((left, bottom), shift), ((right - left) * POINTS, (bottom - top) * POINTS)
            yield f"q {wide:.2f} 0 0 {tall:.2f} {x:.2f} {y:.2f} cm /I{number} Do Q"
        yield from strokes(frame.lines, shift)
        yield "BT"
        for words in frame.words:
            face = self.faces[words.bold]
            x, y = on_page((words.left, words.middle), shift)
            x -= ALIGNED[words.align] * width(words.text, words.size, words.bold)
            y -= words.size * CAPITALS / 2
            letters = face.shown(words.text)
            yield f"{colour_text(words.colour)} rg /{face.name} {words.size:g} Tf 1 0 0 1 {x:.2f} {y:.2f} Tm {letters}"
        yield "ET"

    def _image(self, pixels: NDArray[numpy.uint8]) -> int:
        """Return the number of the object of an image `[row, column, RGB]`, the first row lowest; with a palette if it can."""
        key = sha256(repr(pixels.shape).encode() + pixels.tobytes()).digest()
        if key not in self.images:
            top_first = pixels[::-1].astype(numpy.uint32)
            packed = top_first[..., 0] << 16 | top_first[..., 1] << 8 | top_first[..., 2]
            palette = numpy.unique(packed)
            entries: dict[str, Any] = {"Type": "/XObject", "Subtype": "/Image", "BitsPerComponent": 8}
            entries |= {"Width": pixels.shape[1], "Height": pixels.shape[0]}
            if palette.size <= 256:
                colours = b"".join(int(colour).to_bytes(3, "big") for colour in palette)
                entries["ColorSpace"] = f"[ /Indexed /DeviceRGB {palette.size - 1} <{colours.hex()}> ]"
                data = numpy.searchsorted(palette, packed).astype(numpy.uint8)
            else:
                entries["ColorSpace"] = "/DeviceRGB"
                data = numpy.ascontiguousarray(pixels[::-1])
            self.images[key] = self.add(stream(entries, data.tobytes()))
        return self.images[key]

    def _font(self, face: Typeface) -> int:
        """Add a font with the letters that were shown, and return the number of its object."""
        data, glyphs = face.embedded()
        program = self.add(stream({"Length1": len(data)}, data))
        name = f"/{'MEMTRB' if face.bold else 'MEMTRA'}+{face.postscript_name}"
        descriptor = self.add(
            dictionary(Type="/FontDescriptor", FontName=name, Flags=32, StemV=80, **face.descriptor(), FontFile2=ref(program))
        )
        places = self.add(stream({}, glyphs))
        kind = {"Type": "/Font", "Subtype": "/CIDFontType2", "BaseFont": name}
        inner = self.add(
            dictionary(
                **kind,
                CIDSystemInfo="<< /Registry (Adobe) /Ordering (Identity) /Supplement 0 >>",
                FontDescriptor=ref(descriptor),
                W=f"[ 1 [ {' '.join(f'{wide:g}' for wide in face.widths())} ] ]",
                CIDToGIDMap=ref(places),
            )
        )
        unicode = self.add(stream({}, face.to_unicode()))
        kind = {"Type": "/Font", "Subtype": "/Type0", "BaseFont": name, "Encoding": "/Identity-H"}
        return self.add(dictionary(**kind, DescendantFonts=f"[ {ref(inner)} ]", ToUnicode=ref(unicode)))

    def _bookmarks(self, marks: Sequence[Mark]) -> int:
        """Add the bookmarks, and return the number of their root."""
        first = len(self.objects) + 2  # the root is the next object, the bookmarks follow it in order
        root, numbers = first - 1, range(first, first + len(marks))
        parents = [_parent(marks, i) for i in range(len(marks))]
        top = [numbers[i] for i, parent in enumerate(parents) if parent is None]
        self.add(dictionary(Type="/Outlines", First=ref(top[0]), Last=ref(top[-1]), Count=len(top)))
        for i, mark in enumerate(marks):
            siblings = [k for k, parent in enumerate(parents) if parent == parents[i]]
            at, children = siblings.index(i), [k for k, parent in enumerate(parents) if parent == i]
            above = parents[i]
            item: dict[str, Any] = {"Title": text(mark.title), "Parent": ref(root if above is None else numbers[above])}
            item["Dest"] = f"[ {ref(self.pages[mark.page])} /Fit ]"
            if at:
                item["Prev"] = ref(numbers[siblings[at - 1]])
            if at + 1 < len(siblings):
                item["Next"] = ref(numbers[siblings[at + 1]])
            if children:
                item |= {"First": ref(numbers[children[0]]), "Last": ref(numbers[children[-1]]), "Count": -len(children)}
            self.add(dictionary(**item))
        return root


def ref(number: int) -> str:
    """Return a reference to an object."""
    return f"{number} 0 R"


def dictionary(**entries: Any) -> bytes:
    """Return a PDF dictionary."""
    return f"<< {' '.join(f'/{name} {value}' for name, value in entries.items())} >>".encode("ascii")


def stream(entries: dict[str, Any], data: bytes) -> bytes:
    """Return a PDF stream of compressed data; ``entries`` are further entries of its dictionary."""
    packed = zlib.compress(data, LEVEL)
    return dictionary(**entries, Filter="/FlateDecode", Length=len(packed)) + b"\nstream\n" + packed + b"\nendstream"


def text(words: str) -> str:
    """Return a text for the title or a bookmark."""
    return f"<feff{words.encode('utf-16-be', 'replace').hex()}>"


def on_page(place: tuple[float, float], shift: NDArray[numpy.float64]) -> tuple[float, float]:
    """Return a place (left, top) in inches of a frame as PDF points, whose second axis goes up."""
    return place[0] * POINTS + float(shift[0]), float(shift[1]) - place[1] * POINTS


def outline(points: NDArray[numpy.float64], shift: NDArray[numpy.float64]) -> str:
    """Return the PDF operators of a path through points in inches."""
    flat = (points * (POINTS, -POINTS) + shift).ravel().tolist()
    return ("%.2f %.2f m" + " %.2f %.2f l" * (len(points) - 1)) % tuple(flat)


def strokes(lines: Iterable[Stroke], shift: NDArray[numpy.float64]) -> Iterator[str]:
    """Yield the PDF operators that draw lines, with their style where it changes."""
    style = None
    for stroke in lines:
        if (stroke.colour, stroke.width, stroke.dashes) != style:
            style = (stroke.colour, stroke.width, stroke.dashes)
            offset, lengths = (0.0, ()) if isinstance(stroke.dashes, str) else stroke.dashes
            dashes = " ".join(f"{length * stroke.width:.2f}" for length in lengths)  # dashes are in widths of the line
            yield f"{colour_text(stroke.colour)} RG {stroke.width:g} w [{dashes}] {offset * stroke.width:g} d"
        yield f"{outline(stroke.points, shift)} S"


def colour_text(colour: Any) -> str:
    """Return a colour as PDF operands."""
    return " ".join(f"{part:.3g}" for part in rgb(colour))


def _parent(marks: Sequence[Mark], i: int) -> int | None:
    """Return the index of the last bookmark before ``i`` with a smaller level number, None if there is none."""
    return next((k for k in range(i - 1, -1, -1) if marks[k].level < marks[i].level), None)
