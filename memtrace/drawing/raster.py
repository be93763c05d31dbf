"""Draw a frame as a PNG image, with matplotlib's Agg renderer and FreeType.

The renderer is called directly: no figure, no axes and no artists, which would cost more than what they draw.
"""

from __future__ import annotations

from collections.abc import Iterable
from io import BytesIO
from typing import TYPE_CHECKING, Any

import numpy
from numpy.typing import NDArray

from memtrace.drawing.frame import POINTS, Frame, Stroke
from memtrace.drawing.style import ALIGNED, CAPITALS, rgb
from memtrace.drawing.text import rendered, width

if TYPE_CHECKING:
    from matplotlib.backend_bases import GraphicsContextBase
    from matplotlib.backends.backend_agg import RendererAgg
    from matplotlib.transforms import Affine2D

DOTS_PER_INCH = 150
FREQUENT, COLOURS = 96, 128  # colours of a palette: those that most pixels have, and all
ALIKE = 3  # bits of a colour's part that are not told apart in a PNG
LEVEL = 6  # of zlib's compression; 9 takes three times as long for 2 % fewer bytes
Pixels = NDArray[numpy.uint8]


def png(frame: Frame) -> bytes:
    """Return a frame as PNG with a palette."""
    return with_palette(pixels(frame))


def pixels(frame: Frame) -> Pixels:
    """Return a frame as an image `[row, column, RGBA]`, the top row first, on white."""
    from matplotlib.backends.backend_agg import RendererAgg
    from matplotlib.transforms import Affine2D

    dots = DOTS_PER_INCH
    renderer = RendererAgg(round(frame.width * dots), round(frame.height * dots), dots)
    image = numpy.asarray(renderer.buffer_rgba())
    image[:] = 255
    place = Affine2D().scale(dots, -dots).translate(0, renderer.height)
    _strokes(renderer, place, frame.behind)
    context = _context(renderer, 0.0, "-", (0, 0, 0))
    for points, colour in frame.areas:
        renderer.draw_path(context, _path(points), place, rgb(colour))
    for shown, extent in frame.images:
        _place(image, shown, extent)
    _strokes(renderer, place, frame.lines)
    for words in frame.words:
        left = words.left * dots - ALIGNED[words.align] * width(words.text, words.size, words.bold) * dots / POINTS
        base = words.middle * dots + words.size * CAPITALS / 2 * dots / POINTS
        _write(image, words.text, words.size, words.bold, (left, base), rgb(words.colour))
    return image


def _strokes(renderer: RendererAgg, place: Affine2D, strokes: Iterable[Stroke]) -> None:
    """Draw lines through points in inches, which ``place`` transforms to pixels."""
    for stroke in strokes:
        context = _context(renderer, stroke.width, stroke.dashes, rgb(stroke.colour))
        renderer.draw_path(context, _path(stroke.points), place)


def _path(points: NDArray[numpy.float64]) -> Any:
    """Return points as a path of matplotlib that is drawn as it is, whatever the reader's settings say of simplifying."""
    from matplotlib.path import Path

    path = Path(points)
    path.should_simplify = False
    return path


def _context(renderer: RendererAgg, width: float, dashes: Any, colour: tuple[float, float, float]) -> GraphicsContextBase:
    """Return matplotlib's settings of a line; its width is in points, its dashes in widths."""
    context = renderer.new_gc()
    context.set_linewidth(width)
    context.set_foreground((*colour, 1.0), isRGBA=True)
    if not isinstance(dashes, str):
        offset, lengths = dashes
        context.set_dashes(offset * width, [length * width for length in lengths])
    return context


def _place(image: Pixels, shown: Pixels, extent: tuple[float, float, float, float]) -> None:
    """Copy an image `[row, column, RGB]`, its first row lowest, into a rectangle (left, right, bottom, top) in inches.

    Each dot takes the pixel that its centre lies in.
    """
    left, right, bottom, top = (edge * DOTS_PER_INCH for edge in extent)
    columns, across = _inside(left, right, image.shape[1], shown.shape[1])
    rows, up = _inside(top, bottom, image.shape[0], shown.shape[0])
    image[rows, columns, :3] = shown[::-1][up][:, across]


def _inside(start: float, end: float, size: int, count: int) -> tuple[slice, NDArray[numpy.int64]]:
    """Return the dots between two edges, within ``size`` dots, and for each the one of ``count`` pixels that it lies in."""
    first, last = max(0, round(start)), min(size, max(round(end), round(start) + 1))
    share = (numpy.arange(first, last) + 0.5 - start) / max(end - start, 1e-9)
    return slice(first, last), (share * count).astype(numpy.int64).clip(0, count - 1)


def _write(
    image: Pixels, text: str, size: float, bold: bool, place: tuple[float, float], colour: tuple[float, float, float]
) -> None:
    """Draw a line of text whose baseline begins at a place (left, down) in dots."""
    cover, left, above = rendered(text, size, bold, DOTS_PER_INCH)
    start, top = round(place[0]) + left, round(place[1]) - above
    low, end = top + cover.shape[0], start + cover.shape[1]
    cut = cover[max(0, -top) : max(0, image.shape[0] - top), max(0, -start) : max(0, image.shape[1] - start)]
    part = image[max(0, top) : max(0, low), max(0, start) : max(0, end), :3]
    share = cut[..., None] * numpy.float32(1 / 255)
    ink = numpy.array([round(255 * each) for each in colour], numpy.float32)
    part[:] = numpy.rint(part + (ink - part) * share)


def with_palette(image: Pixels) -> bytes:
    """Return an opaque image `[row, column, RGBA]` as PNG with a palette of at most COLOURS colours.

    It has a third of the bytes that it had with all colours, and the colours differ by less than one can see.
    """
    from PIL import Image

    packed = image.view("<u4")[..., 0] & 0xFFFFFF
    values, counts = numpy.unique(packed, return_counts=True)
    palette, nearest = palette_of(values, counts)
    table = numpy.empty(1 << 24, numpy.uint8)  # of which only the entries of `values` are used
    table[values] = nearest
    small = Image.fromarray(table[packed], "P")
    small.putpalette(palette.tobytes())
    content = BytesIO()
    small.save(content, "PNG", compress_level=LEVEL)
    return content.getvalue()


def palette_of(values: NDArray[numpy.uint32], counts: NDArray[numpy.int64]) -> tuple[Pixels, NDArray[numpy.int64]]:
    """Return a palette `[colour, RGB]` for colours and the numbers of their pixels, and each colour's index in the palette.

    Colours that are alike but for the last ALIKE bits of their parts have one place, with the colour of most pixels. The palette
    has the FREQUENT places of most pixels, and those that are farthest from them; every colour takes the nearest of the palette.
    """
    order = numpy.argsort(-counts, kind="stable")
    cells = (values[order] >> ALIKE) & (0x010101 * (0xFF >> ALIKE))
    _, first = numpy.unique(cells, return_index=True)
    kept = order[numpy.sort(first)]
    colours = numpy.stack([(values >> shift) & 0xFF for shift in (0, 8, 16)], 1).astype(numpy.float32)
    if kept.size > COLOURS:
        error = _distances(colours[kept], colours[kept[:FREQUENT]]).min(axis=1) * counts[kept]
        far = numpy.argsort(-error, kind="stable")[: COLOURS - FREQUENT]
        kept = numpy.concatenate([kept[:FREQUENT], kept[far]])
    return colours[kept].astype(numpy.uint8), _distances(colours, colours[kept]).argmin(axis=1)


def _distances(some: NDArray[numpy.float32], others: NDArray[numpy.float32]) -> NDArray[numpy.float32]:
    """Return the squares of the distances between colours `[colour, RGB]`."""
    squares = (some**2).sum(axis=1)[:, None] + (others**2).sum(axis=1)[None]
    found: NDArray[numpy.float32] = squares - 2 * some @ others.T
    return found
