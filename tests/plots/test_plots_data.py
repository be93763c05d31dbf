"""What plots draw with: curves and grids, scales, colours and words that fit."""

from __future__ import annotations

from itertools import pairwise

import numpy
import pytest
from hypothesis import given
from hypothesis import strategies as st

from memtrace.drawing.frame import Frame
from memtrace.drawing.panel import Panel
from memtrace.drawing.saving import file_names
from memtrace.drawing.scales import class_label, class_ticks, common_limit, count_ticks, size_ticks
from memtrace.drawing.text import printable, short_labels, shorten, width, wrap
from memtrace.plots import occupancy_age, occupancy_tag, usable
from memtrace.plots.addresses import HOLE, UNUSED
from memtrace.plots.hole_sizes import DARK, PALE, shaded
from memtrace.plots.occupancy import coloured
from memtrace.plots.series import Cells, Region, cells_of, curve, highest_samples, hole_counts, means, tag_names

PYTORCH = "pytorch:expandable_segments=True,max_split_size_mb="

# Series


def test_a_short_curve_is_drawn_as_steps() -> None:
    x, y = curve(numpy.array([0, 5, 9]), numpy.array([1, 7, 2]), 100)
    assert x.tolist() == [0, 5, 5, 9, 9]
    assert y.tolist() == [1, 1, 7, 7, 2]


@given(st.lists(st.integers(0, 1 << 50), min_size=1, max_size=400), st.integers(2, 40))
def test_a_curve_keeps_its_ends_and_every_peak(values: list[int], columns: int) -> None:
    events, heights = numpy.arange(len(values)) * 3, numpy.array(values)
    x, y = curve(events, heights, columns)
    assert len(x) == len(y) <= max(2 * columns, 2 * (columns + 1))
    assert (numpy.diff(x) >= 0).all()
    assert (y.max(), y.min()) == (heights.max(), heights.min())
    assert (x[0], x[-1]) == (events[0], events[-1])


@given(st.lists(st.integers(0, 1 << 40), min_size=1, max_size=400), st.integers(2, 40))
def test_of_many_samples_each_column_keeps_the_fullest_and_means_keep_the_sum_of_layers(values: list[int], columns: int) -> None:
    events, heights = numpy.arange(len(values)) * 3, numpy.array(values)
    kept = highest_samples(events, heights, columns)
    assert (numpy.diff(kept) > 0).all()
    assert len(kept) <= max(columns, columns + 1)
    assert heights[kept].max() == heights.max()
    x, upper = means(events, heights, columns)
    again, lower = means(events, heights // 2, columns)
    _, between = means(events, heights - heights // 2, columns)
    assert x.tolist() == again.tolist()
    assert numpy.allclose(lower + between, upper)
    assert heights.min() <= upper.min() and upper.max() <= heights.max()


def test_a_column_of_a_map_shows_the_fullest_of_its_moments() -> None:
    found = cells_of(cells((0, [1, 0]), (1, [10, 10]), (2, [1, 0]), (3, [1, 0])), last=3, columns=2, most_rows=2)
    assert found is not None
    assert found.share.tolist() == [[1, 0.1], [1, 0]]


def test_no_samples_are_no_curve() -> None:
    assert [part.size for part in curve(numpy.array([]), numpy.array([]), 10)] == [0, 0]


def cells(*columns: tuple[int, list[int]]) -> dict[str, numpy.ndarray]:
    rows = [(event, 10 * at, 10, used) for event, column in columns for at, used in enumerate(column)]
    names = ("event", "address_from_bytes", "address_bytes", "live_bytes")
    return {name: numpy.array(values) for name, values in zip(names, zip(*rows, strict=True), strict=True)}


def test_occupancy_holds_each_column_until_the_next_and_ends_with_the_policy() -> None:
    found = cells_of(cells((0, [10, 0]), (4, [5, 10])), last=15, columns=15, most_rows=2)
    assert found is not None
    assert (found.regions, found.span) == ((Region(0, 0),), 20)
    assert found.share[0, :6].tolist() == [1, 1, 1, 1, 0.5, 0.5]
    assert numpy.isnan(found.share[:, 6:]).all()


def test_occupancy_of_a_policy_alone_holds_its_last_moment_to_its_end() -> None:
    found = cells_of(cells((5, [10, 0])), last=8, columns=8, most_rows=2)
    assert found is not None
    assert found.share[0].tolist() == [1] * 8


def test_occupancy_merges_rows_without_losing_bytes() -> None:
    found = cells_of(cells((0, [10, 0, 5, 5, 10])), last=1, columns=1, most_rows=3)
    assert found is not None
    assert found.share[:, 0].tolist() == [0.5, 0.5, 1]


def test_merged_rows_have_the_tag_of_most_bytes_and_the_mean_age() -> None:
    rows = cells((0, [10, 4, 5, 1]), (4, [0, 4, 5, 1]))
    rows["tag"] = numpy.array(["a", "b", "b", None, None, "b", "a", None], object)
    rows["age_from_events"] = numpy.array([4, 8, 16, 16, numpy.nan, 32, 2, 2])
    assert tag_names([rows]) == ("a", "b")
    found = cells_of(rows, last=7, columns=8, most_rows=2, tags=("a", "b"))
    assert found is not None
    assert found.tag[:, [0, 5]].tolist() == [[0, 1], [1, 0]]
    assert found.age[:, 5].tolist() == [5, 1]
    assert found.age[0, 0] == pytest.approx((10 * 2 + 4 * 3) / 14)


def test_the_order_of_rows_does_not_matter_nor_does_a_row_that_is_missing() -> None:
    rows = cells((0, [10, 4, 5, 1]), (4, [0, 4, 0, 1]))
    rows["tag"] = numpy.array(["a", "b", "b", None, None, "b", None, None], object)
    rows["age_from_events"] = numpy.array([4, 8, 16, 16, numpy.nan, 32, numpy.nan, 2])
    expected = cells_of(rows, last=7, columns=8, most_rows=2, tags=("a", "b"))
    assert expected is not None
    for order in ([3, 7, 1, 0, 2, 6, 5, 4], [0, 1, 2, 3, 4, 5, 7]):  # nothing lives in the row that is left out, number 6
        found = cells_of({name: values[order] for name, values in rows.items()}, 7, 8, 2, ("a", "b"))
        assert found is not None
        numpy.testing.assert_equal(found._asdict(), expected._asdict())


def test_a_gap_begins_a_region_and_no_row_crosses_it() -> None:
    rows = cells((0, [10, 0, 5, 5, 10]))
    rows["address_from_bytes"] = numpy.array([0, 10, 20, 1000, 1010])
    found = cells_of(rows, last=1, columns=1, most_rows=3)
    assert found is not None
    assert found.share[:, 0].tolist() == [0.5, 0.5, 0.75]
    assert found.regions == (Region(0, 0), Region(2, 1000)) and found.ends() == [(Region(0, 0), 2), (Region(2, 1000), 1)]


def test_holes_are_coloured_below_the_highest_address_used_so_far() -> None:
    share = numpy.array([[1.0, 1.0, numpy.nan], [0.0, 0.0, numpy.nan], [0.0, 1.0, numpy.nan], [0.0, 0.0, 0.0]])
    pixels = coloured(Cells(share, share, share, 10, (Region(0, 0),)), (0.0, 0.0, 0.0))
    hole, unused = (tuple(round(255 * part) for part in colour) for colour in (HOLE, UNUSED))
    assert [tuple(pixel) for pixel in pixels[:, 0]] == [(0, 0, 0), unused, unused, unused]
    assert [tuple(pixel) for pixel in pixels[:, 1]] == [(0, 0, 0), hole, (0, 0, 0), unused]
    assert [tuple(pixel) for pixel in pixels[:, 2]] == [unused] * 4


def test_hole_counts_hold_between_samples_and_are_zero_where_there_are_none() -> None:
    rows = {"hole_bytes_from": numpy.array([16, 16, 32]), "event": numpy.array([1, 4, 4])}
    timeline = {"event": numpy.arange(6), "holes": numpy.array([0, 3, 3, 0, 3, 3])}
    counts = hole_counts({**rows, "holes": numpy.array([3, 1, 2])}, timeline, numpy.array([1, 4]), 6, 6)
    assert {k: v.tolist() for k, v in counts.items()} == {4: [0, 3, 3, 0, 1, 1], 5: [0, 0, 0, 0, 2, 2]}


def test_hole_counts_go_from_white_over_pale_to_dark() -> None:
    pixels = shaded(numpy.array([[0.0, 1.0, 1000.0]]), 1000)[0]
    assert pixels.tolist() == [[255] * 3, *([round(255 * part) for part in c] for c in (PALE, DARK))]


# Scales


def test_size_ticks_are_round_in_one_unit() -> None:
    assert size_ticks(3.2 * 2**30) == [(0, "0"), *((k * 2**30, f"{k} GiB") for k in (1, 2, 3))]
    assert [label for _, label in size_ticks(900)] == ["0", "200 B", "400 B", "600 B", "800 B"]
    assert [label for _, label in size_ticks(1500 * 2**20)][-1] == "1 GiB"


def test_count_ticks_read_as_thousands_and_millions() -> None:
    assert [label for _, label in count_ticks(1_300_000)] == ["0", "0.5 M", "1 M"]
    assert [label for _, label in count_ticks(3)] == ["0", "1", "2", "3"]
    assert count_ticks(0) == [(0, "0")]


@given(st.floats(1, 2.0**62), st.integers(2, 8))
def test_ticks_are_even_within_the_limit_and_few(limit: float, most: int) -> None:
    for ticks in (size_ticks(limit, most), count_ticks(limit, most)):
        values = [value for value, _ in ticks]
        steps = [b - a for a, b in pairwise(values)]
        assert 1 <= len(ticks) <= most + 1
        assert values[-1] <= limit * 1.000001
        assert not steps or max(steps) - min(steps) <= 1e-6 * max(steps)
        assert len({label for _, label in ticks}) == len(ticks)


def test_classes_are_named_by_their_lower_end() -> None:
    assert [class_label(1 << k, "size") for k in (0, 9, 10, 25)] == ["1 B", "512 B", "1 KiB", "32 MiB"]
    assert [class_label(1 << k, "lifetime") for k in (0, 9, 12, 20)] == ["1", "512", "4 k", "1 M"]
    assert [label for _, label in class_ticks(range(9, 31))] == [
        "1 KiB",
        "32 KiB",
        "1 MiB",
        "32 MiB",
        "1 GiB",
    ]


def test_an_outlier_does_not_set_the_common_limit() -> None:
    assert common_limit([7, 8, 9]) == 9
    assert common_limit([7, 8, 900]) == 8
    assert common_limit([7, 900]) == 7
    assert common_limit([0, 0]) == common_limit([]) == 1


def test_a_panel_places_values_and_keeps_what_is_beyond_at_its_edge() -> None:
    panel = Panel(Frame(7, 3), left=1, top=1, width=4, height=2, across=100, up=10)
    assert panel.x([0, 50, 100, 400]).tolist() == [1, 3, 5, 5]
    assert panel.y([0, 5, 10, 99]).tolist() == [3, 2, 1, 1]


def test_a_band_is_drawn_only_where_its_curves_are_apart() -> None:
    """A PDF would show the edges of one without any height as hairlines."""
    panel = Panel(Frame(7, 3), left=1, top=1, width=4, height=2, across=4, up=10)
    x, low = numpy.arange(5.0), numpy.full(5, 5.0)
    panel.band(x, low, low, "#000000")
    assert not panel.frame.areas
    panel.band(x, low, numpy.array([5, 5, 10, 10, 5.001]), "#000000")
    [(points, _)] = panel.frame.areas
    assert points.tolist() == [[3, 1], [4, 1], [4, 2], [3, 2]]


# Words


@given(st.lists(st.text(max_size=60), unique=True, max_size=12), st.integers(40, 120))
def test_short_labels_fit_and_stay_apart(labels: list[str], room: int) -> None:
    short = short_labels(labels, 8, room)
    assert len(set(short.values())) == len(labels)
    assert all(width(text, 8) <= room for text in short.values())


def test_a_short_label_keeps_what_tells_it_from_its_neighbour() -> None:
    labels = [PYTORCH + mb for mb in ("128", "256")]
    one, other = short_labels(labels, 8, 120).values()
    assert one.startswith("pytorch:")
    assert one.endswith("128")
    assert other.endswith("256")
    assert shorten("best-fit", 8, 120) == "best-fit"


@given(st.text(), st.integers(60, 300))
def test_wrapped_lines_fit_and_lose_no_letter(text: str, room: int) -> None:
    clean = printable(text)
    lines = wrap(clean, 9, room)
    assert all(width(line, 9) <= room for line in lines)
    assert "".join(lines).replace(" ", "") == clean.replace(" ", "")


def test_what_the_font_lacks_is_replaced() -> None:
    assert printable("a\n日\u202eb\x00é") == "a ??b?é"


def test_file_names_are_safe_and_apart() -> None:
    names = file_names(["a/b", "a_b", "A_B", "..", "x" * 300, "ok-1.2"])
    assert list(names.values()) == ["a_b", "a_b-2", "A_B-3", "trace", "x" * 60, "ok-1.2"]


def test_letters_stand_where_much_of_a_tag_lies() -> None:
    tag = numpy.full((24, 28), -1)
    tag[:12, :14], tag[12:, 14:] = 0, 1
    found = list(occupancy_tag.letters(Cells(numpy.ones(tag.shape), tag, numpy.ones(tag.shape), 10, (Region(0, 0),))))
    assert [code for code, *_ in found] == [0, 1]
    assert found[0][1] < 0.5 and found[0][2] < 0.5 < found[1][1] and found[1][2] > 0.5


def test_ages_and_tags_are_painted_by_their_palettes() -> None:
    share, nan = numpy.array([[1.0, 0.0], [1.0, 1.0]]), numpy.nan
    cells = Cells(share, numpy.array([[1, -1], [-1, 0]]), numpy.array([[2.0, nan], [6.0, 2.0]]), 10, (Region(0, 0),))
    hole, young, old = ([round(255 * part) for part in c] for c in (HOLE, occupancy_age.STOPS[0], occupancy_age.STOPS[-1]))
    assert occupancy_age.age_pixels(cells, (2.0, 6.0)).tolist() == [[young, hole], [old, young]]
    first, second, none = ([round(255 * p) for p in c] for c in (*occupancy_tag.COLOURS[:2], occupancy_tag.NONE))
    assert occupancy_tag.tagged(cells).tolist() == [[second, hole], [none, first]]


def test_the_share_of_free_memory_that_serves_a_size_is_that_of_the_holes() -> None:
    """Beside lists of holes: at each power of two the share of their bytes in those that are at least as large."""
    chance = numpy.random.default_rng(5)
    samples = [chance.integers(1, 5000, count).tolist() for count in (1, 3, 40, 7, 12)]
    rows = [(event, hole) for event, holes in enumerate(samples) for hole in holes]
    classes: dict[tuple[int, int], int] = {}
    for event, hole in rows:
        key = (event, 1 << hole.bit_length() - 1)
        classes[key] = classes.get(key, 0) + hole
    table = {
        "event": numpy.array([event for event, _ in classes]),
        "hole_bytes_from": numpy.array([start for _, start in classes]),
        "free_bytes": numpy.array(list(classes.values())),
    }
    found = usable.usable(table, range(14))
    for at, size in enumerate(1 << k for k in range(14)):
        shares = [sum(hole for hole in holes if hole >= size) / sum(holes) for holes in samples]
        assert found[:, at] == pytest.approx(numpy.percentile(shares, usable.BAND))
    half = max(1 << k for k in range(14) if found[1, k] >= 0.5)
    assert usable.numbers([found], range(14)) == [class_label(half, "size")]
    assert (usable.usable({name: column[:0] for name, column in table.items()}, range(3)) == 0).all()
