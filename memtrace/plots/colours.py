"""A policy's label to its colour and line: the same in every plot, report and run."""

from __future__ import annotations

import colorsys
from zlib import crc32

Colour = tuple[float, float, float]

# Okabe-Ito first, then each colour as far as possible from all before it, to normal eyes and to those
# that do not tell red from green (simulated): a test holds them apart.
BUILT_IN = {
    "first-fit": "#0072B2", "next-fit": "#56B4E9", "best-fit": "#009E73", "worst-fit": "#D55E00",
    "buddy": "#E69F00", "segregated": "#7A5230", "size-class": "#882255", "tlsf": "#332288",
    "pytorch": "#2323EB", "bfc": "#52CC72", "stitch": "#715EEB", "paged": "#85CCC7",
    "slab": "#637999", "half-fit": "#703380", "quick-fit": "#85CCA1", "pool": "#1B2FB2",
    "stack": "#997A3D", "bump": "#9C9C9C", "compact": "#5E96EB", "optimum": "#222222",
    "native": "#B2AB47",
}  # fmt: skip
OTHERS = ("#4477AA", "#EE6677", "#228833", "#BBAA22", "#3FB5CC", "#B0529A", "#EE7733", "#5A5AA8", "#A65628")
SHADES = (0.0, 0.25, -0.3, 0.45)  # towards white, towards black
DASHES: tuple[str | tuple[float, tuple[float, ...]], ...] = (
    "-",
    (0, (5, 1.5)),
    (0, (2, 1.2)),
    (0, (6, 1.5, 1.5, 1.5)),
)


def base_name(label: str) -> str:
    """The policy without its options."""
    return label.partition(":")[0]


def policy_colour(label: str) -> Colour:
    """The colour of a policy, from its label alone; variants of one policy are shades of it."""
    base = base_name(label)
    text = BUILT_IN.get(base) or OTHERS[crc32(base.encode()) % len(OTHERS)]
    return mixed(_parsed(text), SHADES[_variant(label) % len(SHADES)])


def policy_dashes(label: str) -> str | tuple[float, tuple[float, ...]]:
    """The line style of a policy: solid without options, dashed by its options otherwise."""
    if label == base_name(label):
        return DASHES[0]
    return DASHES[1 + _variant(label) // len(SHADES) % (len(DASHES) - 1)]


def mixed(colour: Colour, share: float) -> Colour:
    """The colour mixed with white (share > 0) or black (share < 0), solid: alpha would not print alike."""
    other = 1.0 if share > 0 else 0.0
    red, green, blue = (part + (other - part) * abs(share) for part in colour)
    return (red, green, blue)


def light(colour: Colour, level: float = 0.85) -> Colour:
    """The same hue at a fixed lightness, for areas."""
    hue, _, saturation = colorsys.rgb_to_hls(*colour)
    return colorsys.hls_to_rgb(hue, level, saturation)


def _variant(label: str) -> int:
    options = label.partition(":")[2]
    return crc32(options.encode()) if options else 0


def _parsed(text: str) -> Colour:
    red, green, blue = (int(text[at : at + 2], 16) / 255 for at in (1, 3, 5))
    return (red, green, blue)
