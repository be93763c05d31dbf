"""Plots: the data they draw, their colours and words, and the files they become."""

from __future__ import annotations

import subprocess
import sys
from itertools import combinations, pairwise
from pathlib import Path

import numpy
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from sample_results import TWELVE, sample

from memtrace import plots
from memtrace.plots.colours import BUILT_IN, policy_colour, policy_dashes
from memtrace.plots.frame import TALLEST, WIDTH, Frame
from memtrace.plots.hole_sizes import DARK, PALE, shaded
from memtrace.plots.occupancy import HOLE, UNUSED, coloured
from memtrace.plots.panel import Panel
from memtrace.plots.saving import DOTS_PER_INCH, file_names
from memtrace.plots.scales import class_label, class_ticks, common_limit, count_ticks, size_ticks
from memtrace.plots.series import curve, distinct, hole_counts, occupancy
from memtrace.plots.text import printable, short_labels, shorten, width, wrap
from memtrace.results.tables import Results

NAMES = ["peaks", "memory", "memory-by-policy", "occupancy", "fragmentation", "hole-sizes", "distributions"]
PYTORCH = "pytorch:expandable_segments=True,max_split_size_mb="

# Machado, Oliveira and Fernandes 2009, severity 1: linear RGB as seen without one kind of cone.
EYES = {
    "normal": numpy.eye(3),
    "deuteranopia": numpy.array(
        [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.01182, 0.04294, 0.968881]]
    ),
    "protanopia": numpy.array(
        [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]
    ),
}


def drawn(name: str, results: Results, trace: str = "training-step") -> Frame:
    """What a plot has gathered to draw."""
    from matplotlib.figure import Figure

    plot = next(plot for plot in plots.plots() if name == plot.NAME)
    frame = Frame(Figure(), WIDTH, plot.height(results, trace))
    plot.draw(results, trace, frame)
    return frame


def words(frame: Frame) -> list[str]:
    return [word.text for word in frame.words]


# Every plot


def test_plots_are_found_in_the_order_of_the_report() -> None:
    assert [plot.NAME for plot in plots.plots()] == NAMES


def test_finding_a_plot_does_not_import_pyplot() -> None:
    code = "import sys, memtrace.plots as p; p.plots(); assert 'matplotlib.pyplot' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_importing_the_package_of_plots_does_not_import_matplotlib() -> None:
    code = (
        "import sys, memtrace.plots, memtrace.report, memtrace.report.verdict, memtrace.report.suggestions;"
    )
    code += "assert not {'matplotlib', 'pyarrow', 'numba', 'numpy'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


RUNS = {
    "twelve": {"policies": TWELVE},
    "one": {"policies": ("best-fit",)},
    "some out of memory": {"capacity": int(2.7 * 2**30)},
    "out of memory at the first event": {"capacity": 1000},
    "nothing": {"events": ()},
    "two events": {"events": ((0, 100), (0, 0))},
    "many": {"policies": [f"policy-{k}:depth={k}" for k in range(40)], "events": ((0, 100), (1, 7), (0, 0))},
    "a name of 60 letters": {"traces": ("x" * 60,)},
}


@pytest.fixture(scope="module", params=RUNS)
def run(request: pytest.FixtureRequest) -> Results:
    return sample(**RUNS[request.param])


@pytest.mark.parametrize("name", NAMES)
def test_nothing_leaves_the_frame(run: Results, name: str) -> None:
    [trace] = run.traces()
    frame = drawn(name, run, trace)
    places = [stroke.points for stroke in frame.lines + frame.behind] + [points for points, _ in frame.areas]
    assert frame.height <= TALLEST + 1.5
    for points in places:
        assert points[:, 0].min() >= -0.01
        assert points[:, 0].max() <= frame.width + 0.01
        assert points[:, 1].min() >= -0.01
        assert points[:, 1].max() <= frame.height + 0.01


@pytest.mark.parametrize("name", NAMES)
def test_no_two_texts_overlap_and_none_is_cut(run: Results, name: str) -> None:
    [trace] = run.traces()
    frame = drawn(name, run, trace)
    boxes = []
    for word in frame.words:
        wide, tall = width(word.text, word.size, word.bold) / 72, word.size * 0.73 / 72
        left = word.left - wide * {"left": 0, "center": 0.5, "right": 1}[word.align]
        boxes.append((left, left + wide, word.middle - tall / 2, word.middle + tall / 2, word.text))
        assert -0.01 <= left, word.text
        assert left + wide <= frame.width + 0.01, word.text
        assert 0 <= word.middle - tall / 2, word.text
        assert word.middle + tall / 2 <= frame.height, word.text
    for one, other in combinations(boxes, 2):
        apart = one[1] <= other[0] or other[1] <= one[0] or one[3] <= other[2] or other[3] <= one[2]
        assert apart, (one[4], other[4])


def test_png_files_have_the_size_of_the_plot_and_the_same_bytes_twice(tmp_path: Path) -> None:
    results = sample(("first-fit", "best-fit"))
    first = plots.write_all(results, tmp_path / "one")
    again = plots.write_all(results, tmp_path / "two")
    assert [path.name for path in first] == [f"training-step-{name}.png" for name in NAMES]
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in again]
    with Image.open(first[0]) as image:
        tall = plots.plots()[0].height(results, "training-step")
        assert image.size == pytest.approx((WIDTH * DOTS_PER_INCH, tall * DOTS_PER_INCH), abs=1)
    assert sorted(path.name for path in (tmp_path / "one").iterdir()) == sorted(path.name for path in first)


# One plot each


def test_peaks_say_the_multiple_of_the_bound_and_who_ran_out() -> None:
    results = sample(capacity=int(2.7 * 2**30))
    texts = words(drawn("peaks", results))
    assert "1.003x" in texts
    assert any(text.startswith("out of memory at ") for text in texts)
    assert texts.index("best-fit") < texts.index("worst-fit")


def test_a_policy_far_above_the_others_does_not_flatten_them() -> None:
    results = sample(("first-fit", "best-fit", "bump"))
    assert "> 24.1 GiB" in words(drawn("peaks", results))
    assert "above: 24.1 GiB" in words(drawn("memory", results))
    assert any(text.startswith("own scale") for text in words(drawn("memory-by-policy", results)))


def test_memory_draws_a_line_for_each_policy_in_its_colour() -> None:
    results = sample()
    colours = [stroke.colour for stroke in drawn("memory", results).lines if len(stroke.points) > 100]
    assert sorted(colours) == sorted(policy_colour(policy) for policy in results.policies("training-step"))


def test_a_capacity_in_sight_is_named_and_one_far_above_is_not() -> None:
    assert "capacity 3.0 GiB" in words(drawn("memory", sample(capacity=3 << 30)))
    assert not any("capacity" in text for text in words(drawn("memory", sample(capacity=80 << 30))))


def test_occupancy_is_one_small_image_for_each_policy() -> None:
    frame = drawn("occupancy", sample(TWELVE))
    assert len(frame.images) == 12
    assert not frame.areas[3:]  # the key's only: never a rectangle for a block
    for pixels, _ in frame.images:
        assert len(numpy.unique(pixels.reshape(-1, 3), axis=0)) <= 16


def test_empty_tables_are_said_to_be_empty() -> None:
    results = sample(events=())
    assert words(drawn("occupancy", results)) == ["The results hold no occupancy."]
    assert words(drawn("hole-sizes", results)) == ["No policy had a hole at any of the samples."]
    assert words(drawn("distributions", results)).count("none") == 2


def test_more_policies_than_panels_are_said_to_be_left_out() -> None:
    results = sample([f"policy-{k}" for k in range(40)], events=((0, 100), (0, 0)))
    for plot in plots.plots()[2:]:
        if plot.NAME != "distributions":
            assert "of 40 policies are shown" in plot.caption(results, "training-step"), plot.NAME


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


def test_no_samples_are_no_curve() -> None:
    assert [part.size for part in curve(numpy.array([]), numpy.array([]), 10)] == [0, 0]


@given(st.lists(st.integers(-5, 5)))
def test_distinct_values_are_those_of_numpy(values: list[int]) -> None:
    array = numpy.array(values, dtype=numpy.int64)
    for given_values in (array, numpy.sort(array)):
        found, place = distinct(given_values)
        assert found.tolist() == sorted(set(values))
        assert found[place].tolist() == given_values.tolist()


def cells(*columns: tuple[int, list[int]]) -> dict[str, numpy.ndarray]:
    rows = [(event, 10 * at, 10, used) for event, column in columns for at, used in enumerate(column)]
    names = ("event", "address_from_bytes", "address_bytes", "allocated_bytes")
    return {name: numpy.array(values) for name, values in zip(names, zip(*rows, strict=True), strict=True)}


def test_occupancy_holds_each_column_until_the_next_and_ends_with_the_policy() -> None:
    found = occupancy(cells((0, [10, 0]), (4, [5, 10])), last=15, columns=15, most_rows=2)
    assert found is not None
    assert (found.low, found.top) == (0, 20)
    assert found.share[0, :6].tolist() == [1, 1, 1, 1, 0.5, 0.5]
    assert numpy.isnan(found.share[:, 6:]).all()


def test_occupancy_merges_rows_without_losing_bytes() -> None:
    found = occupancy(cells((0, [10, 0, 5, 5, 10])), last=1, columns=1, most_rows=3)
    assert found is not None
    assert found.share[:, 0].tolist() == [0.5, 0.5, 1]


def test_holes_are_coloured_below_the_highest_address_used_so_far() -> None:
    share = numpy.array(
        [[1.0, 1.0, numpy.nan], [0.0, 0.0, numpy.nan], [0.0, 1.0, numpy.nan], [0.0, 0.0, 0.0]]
    )
    pixels = coloured(share, (0.0, 0.0, 0.0))
    hole, unused = (tuple(round(255 * part) for part in colour) for colour in (HOLE, UNUSED))
    assert [tuple(pixel) for pixel in pixels[:, 0]] == [(0, 0, 0), unused, unused, unused]
    assert [tuple(pixel) for pixel in pixels[:, 1]] == [(0, 0, 0), hole, (0, 0, 0), unused]
    assert [tuple(pixel) for pixel in pixels[:, 2]] == [unused] * 4


def test_hole_counts_hold_between_samples_and_are_zero_without_a_row() -> None:
    rows = {"hole_bytes_from": numpy.array([16, 16, 32]), "event": numpy.array([0, 4, 4])}
    counts = hole_counts({**rows, "holes": numpy.array([3, 1, 2])}, numpy.array([0, 2, 4]), 6, 6)
    assert {k: v.tolist() for k, v in counts.items()} == {4: [3, 3, 0, 0, 1, 1], 5: [0, 0, 0, 0, 2, 2]}


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
    from matplotlib.figure import Figure

    panel = Panel(Frame(Figure(), 7, 3), left=1, top=1, width=4, height=2, across=100, up=10)
    assert panel.x([0, 50, 100, 400]).tolist() == [1, 3, 5, 5]
    assert panel.y([0, 5, 10, 99]).tolist() == [3, 2, 1, 1]


# Colours and words


def test_a_policy_has_one_colour_and_options_make_it_a_shade() -> None:
    assert policy_colour("best-fit") == tuple(part / 255 for part in (0x00, 0x9E, 0x73))
    assert policy_dashes("best-fit") == "-"
    assert policy_dashes("best-fit:align=32") != "-"
    styles = {(policy_colour(PYTORCH + mb), policy_dashes(PYTORCH + mb)) for mb in ("64", "128", "256")}
    assert len(styles) == 3
    assert policy_colour("my-own") == policy_colour("my-own")


@pytest.mark.parametrize("eyes", EYES)
def test_built_in_colours_are_told_apart(eyes: str) -> None:
    seen = {name: _lab(EYES[eyes] @ _linear(policy_colour(name))) for name in BUILT_IN}
    closest = min(
        (float(numpy.linalg.norm(seen[one] - seen[other])), one, other)
        for one, other in combinations(seen, 2)
    )
    assert closest[0] > 12, closest


def _linear(colour: tuple[float, float, float]) -> numpy.ndarray:
    part = numpy.array(colour)
    return numpy.where(part <= 0.04045, part / 12.92, ((part + 0.055) / 1.055) ** 2.4)


def _lab(linear: numpy.ndarray) -> numpy.ndarray:
    to_xyz = numpy.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
    xyz = to_xyz @ numpy.clip(linear, 0, 1) / numpy.array([0.9505, 1, 1.089])
    x, y, z = numpy.where(xyz > 0.008856, numpy.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return numpy.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


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
