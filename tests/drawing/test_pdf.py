"""The PDF writer, read back by another library: text, images, fonts, bookmarks."""

from __future__ import annotations

from io import BytesIO

import numpy
import pytest
from fontTools.pens.recordingPen import DecomposingRecordingPen
from fontTools.ttLib import TTFont
from pypdf import PdfReader

from memtrace.drawing.frame import Frame
from memtrace.drawing.pdf import Mark, Pdf, Placed, outline, text
from memtrace.drawing.text import font_file, kerning, width
from memtrace.drawing.typeface import Typeface, runs

WORDS = "best-fit To AVATAR (49 %) \\ äÉğ Δ 日"  # with accents, pairs that are moved together, and a letter that the font lacks


def written(*frames: Frame, title: str = "t", marks: tuple[Mark, ...] = ()) -> PdfReader:
    """A page for each frame, read back."""
    pdf = Pdf(4.0, 3.0)
    for frame in frames:
        pdf.page([Placed(frame, 0.5, 0.25)])
    return PdfReader(BytesIO(pdf.content(title, marks)), strict=True)


def frame_with(*words: str) -> Frame:
    frame = Frame(3.0, 2.0)
    for line, word in enumerate(words):
        frame.text(0.0, 0.2 + 0.3 * line, word, 10.0, bold=bool(line % 2))
    return frame


def test_text_can_be_copied_as_it_was_written() -> None:
    [page] = written(frame_with(WORDS, WORDS)).pages
    assert page.extract_text().split("\n") == [WORDS, WORDS]
    assert [float(side) for side in page.mediabox[2:]] == [4 * 72, 3 * 72]


def test_text_stands_where_it_was_put() -> None:
    places: dict[str, tuple[float, float]] = {}
    frame = Frame(3.0, 2.0)
    frame.text(1.0, 0.5, "left", 10.0)
    frame.text(1.0, 1.0, "right", 10.0, align="right")

    def visit(found: str, _: object, matrix: list[float], *__: object) -> None:
        if found.strip():
            places[found.strip()] = (matrix[4] / 72, matrix[5] / 72)

    written(frame).pages[0].extract_text(visitor_text=visit)
    down = 10.0 * 0.73 / 2 / 72
    assert places["left"] == pytest.approx((1.5, 3 - 0.25 - 0.5 - down), abs=1e-3)
    assert places["right"] == pytest.approx((1.5 - width("right", 10.0) / 72, 3 - 0.25 - 1.0 - down), abs=1e-3)


@pytest.mark.parametrize("bold", [False, True])
def test_an_embedded_font_has_the_outlines_and_widths_of_the_whole_one(bold: bool) -> None:
    face = Typeface(bold)
    face.shown(WORDS)
    data, places = face.embedded()
    small, whole = TTFont(BytesIO(data)), TTFont(str(font_file(bold)))
    known, drawn = whole.getBestCmap(), whole.getGlyphSet()
    assert len(small.getGlyphOrder()) < 60 and len(data) < 30_000
    for letter, number in face.letters.items():
        name = small.getGlyphOrder()[int.from_bytes(places[2 * number : 2 * number + 2], "big")]
        expected, found = DecomposingRecordingPen(drawn), DecomposingRecordingPen(small.getGlyphSet())
        drawn[known.get(ord(letter), ".notdef")].draw(expected)
        small.getGlyphSet()[name].draw(found)
        assert found.value == expected.value, letter
        assert face.widths()[number - 1] == pytest.approx(drawn[known.get(ord(letter), ".notdef")].width / 2.048, abs=0.1)


def test_pairs_of_letters_are_moved_by_the_fonts_own_table() -> None:
    table = TTFont(str(font_file(False)))["kern"].kernTables[0].kernTable
    assert kerning("T", "o", False) * 2048 == pytest.approx(table["T", "o"], abs=1)
    assert kerning("n", "n", False) == 0
    assert runs("Ton", False) == ((0, 1, f"{-1000 * kerning('T', 'o', False):.0f}"), (1, 3, ""))
    assert runs("", False) == ((0, 0, ""),)


def test_an_image_has_the_same_pixels_and_is_written_once() -> None:
    few = numpy.random.default_rng(1).choice(numpy.array([0, 90, 255], numpy.uint8), (5, 7, 3))
    many = numpy.random.default_rng(2).integers(0, 256, (20, 30, 3)).astype(numpy.uint8)
    frame = Frame(3.0, 2.0)
    for pixels in (few, many, few):
        frame.image(pixels, 0.0, 0.0, 1.0, 1.0)
    found = written(frame).pages[0].images
    assert len(found) == 2
    for image, pixels in zip(found, (few, many), strict=True):
        assert (numpy.asarray(image.image.convert("RGB")) == pixels[::-1]).all()


def test_bookmarks_are_a_tree_over_the_pages() -> None:
    marks = (Mark("one Ω", 1, 0), Mark("under one", 2, 0), Mark("also under one", 2, 1), Mark("two", 1, 2))
    reader = written(Frame(3.0, 2.0), Frame(3.0, 2.0), Frame(3.0, 2.0), title="Ω (", marks=marks)
    first, inner, last = reader.outline
    assert [first.title, [each.title for each in inner], last.title] == ["one Ω", ["under one", "also under one"], "two"]
    assert [reader.get_destination_page_number(each) for each in (first, *inner, last)] == [0, 0, 1, 2]
    assert reader.metadata is not None and reader.metadata.title == "Ω ("
    assert reader.metadata.creation_date is None


def test_a_path_goes_through_its_points_upwards() -> None:
    points = numpy.array([(0.0, 0.0), (1.0, 0.5), (0.5, 1.0)])
    assert outline(points, numpy.array([72.0, 144.0])) == "72.00 144.00 m 144.00 108.00 l 108.00 72.00 l"
    assert text("é") == "<feff00e9>"
