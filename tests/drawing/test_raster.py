"""PNG images of frames: what is drawn where, and the colours of the palette."""

from __future__ import annotations

from io import BytesIO

import numpy
import pytest
from PIL import Image

from memtrace.drawing.frame import Frame
from memtrace.drawing.raster import ALIKE, COLOURS, DOTS_PER_INCH, palette_of, pixels, png
from memtrace.drawing.text import rendered, width

RED, WHITE = (255, 0, 0), (255, 255, 255)


def dot(image: numpy.ndarray, left: float, top: float) -> tuple[int, ...]:
    """The colour at a place in inches."""
    return tuple(int(part) for part in image[int(top * DOTS_PER_INCH), int(left * DOTS_PER_INCH), :3])


def test_areas_lines_and_images_are_where_they_were_put() -> None:
    frame = Frame(2.0, 1.0)
    frame.box(0.2, 0.1, 0.4, 0.3, "#ff0000")
    frame.line([(1.0, 0.9), (1.8, 0.9)], (0.0, 0.0, 1.0), 6.0)
    frame.image(numpy.array([[[0, 0, 0], [9, 9, 9]], [[200, 0, 0], [0, 200, 0]]], numpy.uint8), 1.0, 0.0, 0.8, 0.4)
    image = pixels(frame)
    assert image.shape == (DOTS_PER_INCH, 2 * DOTS_PER_INCH, 4)
    assert (dot(image, 0.3, 0.2), dot(image, 0.1, 0.2), dot(image, 0.3, 0.45)) == (RED, WHITE, WHITE)
    assert (dot(image, 1.4, 0.9), dot(image, 1.4, 0.8), dot(image, 1.9, 0.9)) == ((0, 0, 255), WHITE, WHITE)
    # The first row of an image is its lowest.
    assert [dot(image, left, top) for top in (0.1, 0.3) for left in (1.2, 1.6)] == [(200, 0, 0), (0, 200, 0), (0,) * 3, (9,) * 3]


def test_dashes_have_gaps() -> None:
    frame = Frame(2.0, 0.2)
    frame.line([(0.0, 0.1), (2.0, 0.1)], "#000000", 2.0, (0, (4, 4)))
    row = pixels(frame)[int(0.1 * DOTS_PER_INCH), :, 0]
    assert 0.4 < (row < 128).mean() < 0.6


@pytest.mark.parametrize("align", ["left", "center", "right"])
def test_text_is_centred_on_its_middle_and_as_wide_as_measured(align: str) -> None:
    frame = Frame(2.0, 0.5)
    frame.text(1.0, 0.25, "HEH", 12.0, align=align)
    rows, columns = numpy.nonzero(pixels(frame)[..., 0] < 200)
    assert (rows.min() + rows.max() + 1) / 2 == pytest.approx(0.25 * DOTS_PER_INCH, abs=1)
    wide = width("HEH", 12.0) / 72
    start = 1.0 - wide * {"left": 0.0, "center": 0.5, "right": 1.0}[align]
    # Letters have a little white on either side.
    assert start * DOTS_PER_INCH <= columns.min() <= (start + 0.03) * DOTS_PER_INCH
    assert (start + wide - 0.03) * DOTS_PER_INCH <= columns.max() + 1 <= (start + wide) * DOTS_PER_INCH + 1


def test_text_may_leave_the_frame_at_any_side() -> None:
    frame = Frame(0.3, 0.1)
    for left, middle in ((-0.2, 0.05), (0.25, 0.05), (0.1, -0.01), (0.1, 0.11), (5.0, 5.0)):
        frame.text(left, middle, "Ag", 12.0)
    assert (pixels(frame)[..., 0] < 128).any()


def test_letters_are_drawn_apart_and_on_the_baseline() -> None:
    """A ligature would be narrower than its letters, and a descender goes below the baseline."""
    assert rendered("fi", 40.0, False, 72)[0].shape[1] == pytest.approx(width("fi", 40.0), abs=5)
    flat, deep = (rendered(text, 40.0, False, 72) for text in ("H", "g"))
    assert flat[0].shape[0] - flat[2] <= 1 < 5 < deep[0].shape[0] - deep[2]


def test_few_colours_are_kept_and_many_change_less_than_one_can_see() -> None:
    few = numpy.arange(0, 60 * 0x040404, 0x080808, dtype=numpy.uint32)
    palette, place = palette_of(few, numpy.arange(few.size))
    assert [tuple(map(int, palette[k])) for k in place] == [(int(v) & 255,) * 3 for v in few]
    greys = numpy.arange(256, dtype=numpy.uint32) * 0x010101
    palette, place = palette_of(greys, numpy.ones(256, numpy.int64))
    assert len(palette) <= COLOURS
    assert numpy.abs(palette[place, 0].astype(int) - numpy.arange(256)).max() < 1 << ALIKE


def test_of_too_many_colours_the_frequent_and_the_far_ones_are_kept() -> None:
    generator = numpy.random.default_rng(5)
    values = numpy.unique(generator.integers(0, 1 << 24, 5000).astype(numpy.uint32) | 0x808080)
    values = numpy.unique(numpy.append(values, [0x0000FF, 0x00FF00]).astype(numpy.uint32))
    counts = numpy.ones(values.size, numpy.int64)
    counts[values == 0x0000FF], counts[values == 0x00FF00] = 10_000, 500
    palette, place = palette_of(values, counts)
    assert len(palette) == COLOURS
    kept = {int(value): tuple(map(int, palette[k])) for value, k in zip(values, place, strict=True)}
    assert (kept[0x0000FF], kept[0x00FF00]) == ((255, 0, 0), (0, 255, 0))


def test_a_png_has_the_colours_of_what_was_drawn() -> None:
    frame = Frame(1.0, 0.5)
    frame.box(0.0, 0.0, 0.5, 0.5, "#0072b2")
    with Image.open(BytesIO(png(frame))) as image:
        assert image.mode == "P" and image.size == (DOTS_PER_INCH, DOTS_PER_INCH // 2)
        colours = image.convert("RGB")
        assert (colours.getpixel((10, 10)), colours.getpixel((140, 10))) == ((0x00, 0x72, 0xB2), WHITE)
