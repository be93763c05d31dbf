"""Colours: told apart by all eyes, in grey and in the dark; lines and words that stand out from their ground."""

from __future__ import annotations

import re
from itertools import combinations, pairwise, product
from pathlib import Path

import numpy
import pytest
from matplotlib.colors import to_rgb

from memtrace.contract.policy import constants_of
from memtrace.drawing.style import ALARM, BUILT_IN, FAINT, INK, LIVE, SHARED, light, mixed, policy_colour, policy_dashes
from memtrace.engine.registry import builtin_policies, parse_policies
from memtrace.plots import occupancy_age, occupancy_tag
from memtrace.plots.addresses import HOLE
from memtrace.report import html

PYTORCH = "pytorch:expandable_segments=True,max_split_size_mb="

# Machado, Oliveira and Fernandes 2009, severity 1: linear RGB as seen without one kind of cone.
EYES = {
    "normal": numpy.eye(3),
    "deuteranopia": numpy.array([[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.01182, 0.04294, 0.968881]]),
    "protanopia": numpy.array(
        [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]
    ),
    "tritanopia": numpy.array([[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.3039]]),
}


def test_a_policy_has_one_colour_and_options_make_it_a_shade() -> None:
    assert policy_colour("first-fit") == tuple(part / 255 for part in (0x00, 0x72, 0xB2))
    assert policy_dashes("best-fit") == "-"
    assert policy_dashes("best-fit:align=32") != "-"
    styles = {(policy_colour(PYTORCH + mb), policy_dashes(PYTORCH + mb)) for mb in ("64", "128", "256")}
    assert len(styles) == 3
    assert policy_colour("my-own") == policy_colour("my-own")


@pytest.mark.parametrize("group", ["embedded", "pools", "kernel"])
def test_policies_of_a_group_are_told_apart(group: str) -> None:
    names = {policy.name for policy in parse_policies([group])}
    assert names == {name for name in SHARED if constants_of(builtin_policies()[name]).GROUPS[0] == group}
    assert len({policy_colour(name) for name in names}) == len(names)


@pytest.mark.parametrize("base", [*BUILT_IN, "my-own"])
def test_options_make_a_shade_that_differs_from_the_policy_without(base: str) -> None:
    plain = policy_colour(base)
    shades = {policy_colour(f"{base}:align={16 << power}") for power in range(12)}
    assert len(shades) == 3 and plain not in shades
    seen = [_lab(_linear(colour)) for colour in (plain, *shades)]
    assert min(float(numpy.linalg.norm(one - other)) for one, other in combinations(seen, 2)) > 5


@pytest.mark.parametrize("eyes", EYES)
def test_built_in_colours_are_told_apart(eyes: str) -> None:
    seen = {name: _lab(EYES[eyes] @ _linear(policy_colour(name))) for name in BUILT_IN}
    closest = min((float(numpy.linalg.norm(seen[one] - seen[other])), one, other) for one, other in combinations(seen, 2))
    assert closest[0] > 13, closest


def contrast(one: tuple[float, float, float], other: tuple[float, float, float]) -> float:
    """WCAG 2's, from linear light as the test has it."""
    darker, lighter = sorted(float(_linear(colour) @ [0.2126, 0.7152, 0.0722]) for colour in (one, other))
    return (lighter + 0.05) / (darker + 0.05)


def themes() -> list[dict[str, tuple[float, float, float]]]:
    """The colours of the page's light and dark theme."""
    css = (Path(html.__file__).parent / "page.css").read_text()
    found = [dict(re.findall(r"--(\w+): (#\w+);", line)) for line in css.splitlines()[:2]]
    return [{name: to_rgb(colour) for name, colour in theme.items()} for theme in found]


@pytest.mark.parametrize("options", ["", ":align=32", ":align=64", ":align=128", ":align=256", ":header=8", ":header=16"])
@pytest.mark.parametrize("base", [*BUILT_IN, "my-own", "yours", "another"])
def test_lines_stand_out_3_to_1_from_paper_in_both_themes_of_the_page(base: str, options: str) -> None:
    colour = policy_colour(base + options)
    light_theme, dark_theme = themes()
    assert contrast(colour, light_theme["paper"]) >= 3
    assert contrast(mixed(colour, 0.4), dark_theme["paper"]) >= 3  # as explorer.js and page.css lighten them


@pytest.mark.parametrize("base", BUILT_IN)
def test_in_grey_a_tint_is_between_what_is_live_and_paper(base: str) -> None:
    tint = light(policy_colour(base))
    assert contrast(tint, to_rgb(LIVE)) >= 1.3
    assert contrast(tint, (1.0, 1.0, 1.0)) >= 1.4
    assert contrast(tint, policy_colour(base)) >= 1.9


def test_words_stand_out_4_5_to_1() -> None:
    white = (1.0, 1.0, 1.0)
    for ink in (INK, FAINT, ALARM):
        assert contrast(to_rgb(ink), white) >= 4.5
    for theme in themes():
        for ink, ground in product(("ink", "faint"), ("paper", "card")):
            assert contrast(theme[ink], theme[ground]) >= 4.5
        assert contrast(theme["alarm"], theme["paper"]) >= 4.5


def test_in_the_dark_no_age_and_no_tag_looks_like_a_hole() -> None:
    hole = themes()[1]["hole"]
    for colour in (*occupancy_age.palette(), *occupancy_tag.COLOURS, occupancy_tag.NONE):
        assert contrast(mixed(colour, 0.4), hole) >= 1.5


def _linear(colour: tuple[float, float, float]) -> numpy.ndarray:
    part = numpy.array(colour)
    return numpy.where(part <= 0.04045, part / 12.92, ((part + 0.055) / 1.055) ** 2.4)


def _lab(linear: numpy.ndarray) -> numpy.ndarray:
    to_xyz = numpy.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
    xyz = to_xyz @ numpy.clip(linear, 0, 1) / numpy.array([0.9505, 1, 1.089])
    x, y, z = numpy.where(xyz > 0.008856, numpy.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return numpy.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


@pytest.mark.parametrize("eyes", EYES)
def test_tags_are_told_apart(eyes: str) -> None:
    seen = [_lab(EYES[eyes] @ _linear(colour)) for colour in (*occupancy_tag.COLOURS, occupancy_tag.NONE, HOLE)]
    assert min(float(numpy.linalg.norm(one - other)) for one, other in combinations(seen, 2)) > 22


def test_tags_are_told_apart_in_grey() -> None:
    levels = sorted(_lab(_linear(colour))[0] for colour in (*occupancy_tag.COLOURS, HOLE))
    assert min(later - earlier for earlier, later in pairwise(levels)) > 3.5


def grey(colour: tuple[float, float, float]) -> float:
    return sum(part * weight for part, weight in zip(colour, (0.299, 0.587, 0.114), strict=True))


def test_in_grey_no_age_and_no_tag_looks_like_a_hole_and_older_is_darker() -> None:
    ages = [grey(colour) for colour in occupancy_age.palette()]
    assert ages == sorted(ages, reverse=True)
    for level in (*ages, *(grey(colour) for colour in occupancy_tag.COLOURS), grey(occupancy_tag.NONE)):
        assert level < grey(HOLE) - 0.1
