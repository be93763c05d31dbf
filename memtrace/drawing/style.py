"""The look of all figures: sizes, and the colours of policies and tiers.

The colour and the line style of a policy follow from its label
alone, so that they are the same in every plot and report. The faster a tier, the darker its colour.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from zlib import crc32

INK = "#222222"  # text and strong lines
FAINT = "#666666"  # secondary text and the edges of panels
FAINTEST = "#e4e4e4"  # grid lines
RULE = "#cccccc"  # lines of tables
LIVE = "#b4b4b4"  # live bytes
ALARM = "#b00020"  # capacity, out of memory
SMALL = 7.0  # points: sizes of text
BODY = 8.0
TITLE = 10.0
TITLE_ROOM = 0.3  # inches at the top for the figure's title
LEFT = 0.62  # inches at the left for the labels of sizes
BOTTOM = 0.36  # inches at the bottom for the labels of events and the scale's name
Colour = tuple[float, float, float]
# Colours that differ clearly, also to eyes that lack one kind of cone (simulated), and dark enough for a line on white.
# Tests check both.
BUILT_IN = {
    "first-fit": "#0072B2", "next-fit": "#A884B4", "best-fit": "#24A860", "worst-fit": "#F05448",
    "buddy": "#C08400", "segregated": "#542400", "size-class": "#B42478", "tlsf": "#6030A8",
    "pytorch": "#0000FC", "bfc": "#547824", "stitch": "#D848FC", "paged": "#901884",
    "slab": "#3C006C", "half-fit": "#00009C", "quick-fit": "#E448D8", "pool": "#9018E4",
    "stack": "#543C30", "bump": "#846054", "compact": "#304854", "optimum": "#222222",
    "native": "#6C9C84", "arenas": "#186024", "region": "#3C003C",
}  # fmt: skip
# The heaps of small devices, and the pools of libraries, are mostly compared among themselves: they have colours of the others.
SHARED = {
    "freertos": "best-fit", "zephyr": "worst-fit", "newlib-nano": "first-fit", "picolibc": "buddy", "avr-libc": "bfc",
    "umm": "size-class", "o1heap": "tlsf", "threadx": "stitch", "rt-thread": "segregated", "lwip": "pytorch", "esp-idf": "native",
    "nuttx": "arenas", "dlmalloc": "pool",
    "rmm-pool": "best-fit", "rmm-arena": "arenas", "ort": "bfc", "ggml": "worst-fit", "cupy": "first-fit",
    "umpire-quick": "buddy", "regions": "region", "chunks": "paged", "linux-buddy": "tlsf",
}  # fmt: skip
# The colours of a user's own policies.
OTHERS = ("#4477AA", "#EE6677", "#228833", "#BBAA22", "#3FB5CC", "#B0529A", "#EE7733", "#5A5AA8", "#A65628")
# Shares of white (above 0) or black (below 0) that the colours of a policy with options are mixed with, by the luminance of the
# policy's own colour, up to these. The three shades and the colour itself are told apart.
SHADES = ((0.045, (0.42, 0.24, 0.6)), (0.12, (0.5, -0.45, 0.25)), (1.0, (-0.25, -0.42, -0.58)))
VARIANTS = 3
LIGHT = 0.65  # luminance of an area
LIGHTEST = 0.3  # highest luminance of a line; at it the contrast to white paper is 3 to 1 (WCAG 2, 1.4.11)
DASHES: tuple[str | tuple[float, tuple[float, ...]], ...] = (
    "-",
    (0, (5, 1.5)),
    (0, (2, 1.2)),
    (0, (6, 1.5, 1.5, 1.5)),
)
CAPITALS = 0.73  # height of a capital letter of this font, as a share of its size
# Alignment -> share of the text's width that lies left of its place.
ALIGNED = {"left": 0.0, "center": 0.5, "right": 1.0}
DEEP: Colour = (0.0, 0.27, 0.45)  # of the fastest tier


@contextmanager
def style() -> Iterator[None]:
    """Give figures of matplotlib that are drawn and saved inside the block its own default look, whatever the reader's is."""
    import matplotlib

    settings: dict[Any, Any] = dict(matplotlib.rcParamsDefault)
    del settings["backend"]  # no backend is used: figures are saved, never shown
    with matplotlib.rc_context():
        matplotlib.rcParams.update(settings)
        yield


def rgb(colour: Any) -> Colour:
    """Return a colour as shares of red, green and blue; it may be such shares, a text such as "#0072b2", or a name."""
    if isinstance(colour, str):
        if len(colour) == 7 and colour[0] == "#":
            return _parsed(colour)
        from matplotlib.colors import to_rgb  # a plug-in may use any name that matplotlib knows

        return to_rgb(colour) if colour != "white" else (1.0, 1.0, 1.0)
    red, green, blue = (float(part) for part in colour[:3])
    return (red, green, blue)


def base_name(label: str) -> str:
    """Return the policy's name without its options."""
    return label.partition(":")[0]


def policy_colour(label: str) -> Colour:
    """Return the colour of a policy; variants of one policy, which differ in their options, are shades of one colour."""
    base = base_name(label)
    text = BUILT_IN.get(SHARED.get(base, base)) or OTHERS[crc32(base.encode()) % len(OTHERS)]
    own = _parsed(text)
    if label == base:
        return darkened(own)
    shades = next(shades for most, shades in SHADES if luminance(own) <= most)
    return darkened(mixed(own, shades[_variant(label) % VARIANTS]))


def policy_dashes(label: str) -> str | tuple[float, tuple[float, ...]]:
    """Return the line style of a policy: solid without options, otherwise one of DASHES chosen by the options."""
    if label == base_name(label):
        return DASHES[0]
    return DASHES[1 + _variant(label) // VARIANTS % (len(DASHES) - 1)]


def mixed(colour: Colour, share: float) -> Colour:
    """Return the colour mixed with white (share > 0) or black (share < 0).

    A mixed colour prints alike everywhere; a transparent one does not.
    """
    other = 1.0 if share > 0 else 0.0
    red, green, blue = (part + (other - part) * abs(share) for part in colour)
    return (red, green, blue)


def darkened(colour: Colour) -> Colour:
    """Return the colour mixed with as little black as makes its luminance LIGHTEST or less."""
    return next(dark for step in range(21) if luminance(dark := mixed(colour, -step / 20)) <= LIGHTEST)


def luminance(colour: Colour) -> float:
    """Return the relative luminance of WCAG 2: 0 for black, 1 for white."""
    linear = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in colour)
    return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def light(colour: Colour) -> Colour:
    """Return the colour for areas: mixed with white until its luminance is LIGHT, which is the same for all policies.

    In print without colour it lies between the grey of live bytes and the paper.
    """
    return next(pale for step in range(101) if luminance(pale := mixed(colour, step / 100)) >= LIGHT)


def _variant(label: str) -> int:
    """Return a number that depends on the options of a label only, 0 without options."""
    options = label.partition(":")[2]
    return crc32(options.encode()) if options else 0


def _parsed(text: str) -> Colour:
    """Return the colour of a text such as "#0072B2"."""
    red, green, blue = (int(text[at : at + 2], 16) / 255 for at in (1, 3, 5))
    return (red, green, blue)


def tier_colour(tier: int, count: int) -> Colour:
    """Return the colour of a tier by its index, 0 for the fastest, out of ``count`` tiers."""
    return mixed(DEEP, 0.75 * tier / max(1, count - 1)) if count > 1 else DEEP
