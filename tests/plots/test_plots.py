"""Plots: what they draw, that it fits, and the files they become."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from functools import cache
from itertools import combinations
from pathlib import Path

import numpy
import pytest
from PIL import Image
from sample_results import TWELVE, sample

from memtrace import plots
from memtrace.drawing.frame import TALLEST, WIDTH, Frame
from memtrace.drawing.raster import DOTS_PER_INCH
from memtrace.drawing.style import policy_colour
from memtrace.drawing.text import width
from memtrace.plots.free_map import run_lengths
from memtrace.plots.series import last_event
from memtrace.report.flow import SHRINKS
from memtrace.report.policy_pages import results_of_policy
from memtrace.results.tables import Results

NAMES = [
    "peaks",
    "overhead-and-work",
    "memory",
    "memory-by-policy",
    "waste",
    "waste-by-size",
    "occupancy",
    "occupancy-age",
    "occupancy-tag",
    "free-ranges",
    "fragmentation",
    "next-request",
    "usable-by-size",
    "blocks-that-fit",
    "hole-sizes",
    "distributions",
    "size-lifetime",
]


def drawn(name: str, results: Results, trace: str = "training-step", share: float = 1.0) -> Frame:
    """What a plot has gathered to draw, at a share of the height that it asks for."""
    plot = next(plot for plot in plots.plots() if name == plot.NAME)
    frame = Frame(WIDTH, share * plot.height(results, trace))
    plot.draw(results, trace, frame)
    return frame


def words(frame: Frame) -> list[str]:
    return [word.text for word in frame.words]


def test_free_cells_are_counted_by_column_and_region() -> None:
    free = numpy.array([[1, 0], [1, 1], [0, 1], [1, 1], [1, 1]], bool)
    assert run_lengths(free, [0]).tolist() == [[2, 0], [2, 4], [0, 4], [2, 4], [2, 4]]
    assert run_lengths(free, [0, 3]).tolist() == [[2, 0], [2, 2], [0, 2], [2, 2], [2, 2]]


# Every plot


def test_plots_are_found_in_the_order_of_the_report() -> None:
    assert [plot.NAME for plot in plots.plots()] == NAMES


def test_finding_a_plot_does_not_import_pyplot() -> None:
    code = "import sys, memtrace.plots as p; p.plots(); assert 'matplotlib.pyplot' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_importing_the_package_of_plots_does_not_import_matplotlib() -> None:
    code = "import sys, memtrace.plots, memtrace.report, memtrace.results.verdict, memtrace.results.suggestions;"
    code += "assert not {'matplotlib', 'pyarrow', 'numba', 'numpy'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


RUNS = {
    "twelve": {"policies": TWELVE},
    "one": {"policies": ("best-fit",)},
    "some out of memory": {"capacity": int(2.7 * 2**30)},
    "out of memory at the first event": {"capacity": 1000},
    "nothing": {"events": ()},
    "two events": {"events": ((0, 100), (0, 0))},
    "many": {
        "policies": tuple(f"policy-{k}:depth={k}" for k in range(40)),
        "events": ((0, 100), (1, 7), (0, 0)),
    },
    "a name of 60 letters": {"traces": ("x" * 60,)},
}


@pytest.fixture(scope="module", params=RUNS)
def run(request: pytest.FixtureRequest) -> Results:
    return sample(**RUNS[request.param])


@pytest.fixture(scope="module")
def frame_of(run: Results) -> Callable[[str, float], Frame]:
    """What each plot draws of a run, drawn once for all tests that look at it."""
    [trace] = run.traces()
    return cache(lambda name, share: drawn(name, run, trace, share))


@pytest.mark.parametrize("share", [1.0, 1.0 - SHRINKS])
@pytest.mark.parametrize("name", NAMES)
def test_nothing_leaves_the_frame(frame_of: Callable[[str, float], Frame], name: str, share: float) -> None:
    frame = frame_of(name, share)
    places = [stroke.points for stroke in frame.lines + frame.behind] + [points for points, _ in frame.areas]
    assert frame.height <= TALLEST + 1.5
    for points in places:
        assert points[:, 0].min() >= -0.01
        assert points[:, 0].max() <= frame.width + 0.01
        assert points[:, 1].min() >= -0.01
        assert points[:, 1].max() <= frame.height + 0.01


@pytest.mark.parametrize("share", [1.0, 1.0 - SHRINKS])
@pytest.mark.parametrize("name", NAMES)
def test_no_two_texts_overlap_and_none_is_cut(frame_of: Callable[[str, float], Frame], name: str, share: float) -> None:
    frame = frame_of(name, share)
    boxes = []
    for word in frame.words:
        wide, tall = width(word.text, word.size, word.bold) / 72, word.size * 0.73 / 72
        left = word.left - wide * {"left": 0, "center": 0.5, "right": 1}[word.align]
        boxes.append((left, left + wide, word.middle - tall / 2, word.middle + tall / 2, word.text))
        assert left >= -0.01, word.text
        assert left + wide <= frame.width + 0.01, word.text
        assert word.middle - tall / 2 >= 0, word.text
        assert word.middle + tall / 2 <= frame.height, word.text
    for one, other in combinations(boxes, 2):
        apart = one[1] <= other[0] or other[1] <= one[0] or one[3] <= other[2] or other[3] <= one[2]
        assert apart, (one[4], other[4])


@pytest.mark.parametrize("name", NAMES)
def test_a_figure_has_few_images_and_lines_however_many_policies(name: str) -> None:
    """Drawing time is the number of these."""
    frame = drawn(name, sample(TWELVE))
    assert len(frame.images) <= 13
    assert len(frame.lines) + len(frame.behind) + len(frame.areas) <= 600


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
    assert "24.1 GiB *" in words(drawn("memory-by-policy", results))


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
    assert words(drawn("size-lifetime", results)) == ["No block was freed, or the results do not say."]
    assert words(drawn("waste-by-size", results)) == ["The results do not say how large the blocks of requests were."]
    assert words(drawn("next-request", results)) == ["The results do not say what was requested next."]


def test_more_policies_than_panels_are_said_to_be_left_out() -> None:
    results = sample(tuple(f"policy-{k}" for k in range(40)), events=((0, 100), (0, 0)))
    for plot in plots.plots():
        if plot.NAME not in ("distributions", "size-lifetime", "overhead-and-work", "memory"):
            assert "of 40 policies are shown" in plot.caption(results, "training-step"), plot.NAME


def test_a_policy_alone_is_drawn_over_its_own_span_of_events() -> None:
    results = sample(("first-fit", "best-fit", "buddy"), capacity=int(2.7 * (1 << 30)))
    ends = {
        policy: int(results.rows("timeline", "training-step", policy)["event"][-1])
        for policy in results.policies("training-step")
    }
    assert len(set(ends.values())) > 1
    for policy, end in ends.items():
        assert last_event(results_of_policy(results, "training-step", policy), "training-step") == end
    assert last_event(results, "training-step") == max(ends.values())
