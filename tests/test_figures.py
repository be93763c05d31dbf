"""Figures to publish: ordinary matplotlib artists with the values of the results, and files with text as text."""

from __future__ import annotations

from pathlib import Path

import pytest
from conftest import Run
from matplotlib.figure import Figure

import memtrace
from memtrace import figures
from memtrace.engine.registry import parse_policies
from memtrace.errors import UsageError
from memtrace.reading import read
from memtrace.results.folder import write_folder
from memtrace.results.running import run
from memtrace.results.settings import Settings
from memtrace.results.tables import Results


@pytest.fixture(scope="module")
def results() -> Results:
    traces = [read(f"classic:events=60,seed={seed}") for seed in range(2)]
    return run(traces, parse_policies(["bump", "first-fit", "bump:align=4096"]), Settings(), jobs=1)


@pytest.fixture(scope="module")
def swept() -> Results:
    return run(
        [read("classic:events=60")], parse_policies(["bump", "first-fit"]), Settings(), 1, capacities=[4096, 1 << 20, 1 << 24]
    )


def axes() -> tuple[Figure, figures.Axes]:
    made = Figure()
    return made, made.add_subplot()


def test_memory_draws_the_timeline_into_given_axes_that_can_be_restyled(results: Results) -> None:
    made, ax = axes()
    trace = results.traces()[0]
    assert figures.memory(results, ax, trace=trace, policies=["first-fit", "bump"], labels={"bump": "Bump"}) is ax
    assert [line.get_label() for line in ax.lines] == ["first-fit", "Bump"]
    reserved = results.rows("timeline", trace, "first-fit")["reserved_bytes"]
    unit = {"reserved (B)": 1, "reserved (KiB)": 1024, "reserved (MiB)": 1 << 20}[ax.get_ylabel()]
    assert max(ax.lines[0].get_ydata()) * unit == pytest.approx(reserved.max())
    ax.set_xlim(0, 10)
    ax.legend(loc="upper left", fontsize=6)
    ax.lines[0].set_color("black")
    assert made.axes == [ax] and ax.lines[0].get_color() == "black"


def test_difference_is_what_lies_above_the_first(results: Results) -> None:
    _, ax = axes()
    trace = results.traces()[0]
    figures.difference(results, ax, trace=trace, policies=["first-fit", "bump"])
    one, base = (results.rows("timeline", trace, policy)["reserved_bytes"] for policy in ("bump", "first-fit"))
    unit = {"B": 1, "KiB": 1024, "MiB": 1 << 20}[ax.get_ylabel().partition("(")[2][:-1]]
    assert ax.lines[1].get_ydata()[-1] * unit == pytest.approx(one[-1] - base[-1])


def test_peaks_ratios_and_capacities(results: Results, swept: Results) -> None:
    _, ax = axes()
    figures.peaks(results, ax, trace=results.traces()[1])
    names = [text.get_text() for text in ax.get_yticklabels()]
    rows = {row["policy"]: row for row in results.summary if row["trace"] == results.traces()[1]}
    widths = [bar.get_width() for bar in ax.patches]
    assert len(widths) == 3 and [widths[0] / each for each in widths] == pytest.approx(
        [rows[names[0]]["peak_reserved_bytes"] / rows[name]["peak_reserved_bytes"] for name in names]
    )
    _, ax = axes()
    figures.ratios(results, ax, policies=["bump:align=4096", "bump"])
    assert [text.get_text() for text in ax.get_yticklabels()] == ["bump:align=4096", "bump"]
    _, ax = axes()
    figures.capacities(swept, ax, policies=["bump", "first-fit"])
    assert ax.get_ylim()[0] <= 0 and 100 <= ax.get_ylim()[1] < 110, "shares, whatever those served are"
    for line, policy in zip(ax.lines, ("bump", "first-fit"), strict=True):
        served = [100.0 * (row["status"] == "ok") for row in swept.summary if row["policy"] == policy]
        assert list(line.get_ydata()) == served


def test_what_cannot_be_drawn_is_said(results: Results) -> None:
    _, ax = axes()
    for call, said in (
        (lambda: figures.memory(results, ax), "there are 2 traces; name one"),
        (lambda: figures.memory(results, ax, trace="classic-events-61"), "did you mean"),
        (lambda: figures.ratios(results, ax, policies=["bmp"]), "did you mean 'bump'"),
        (lambda: figures.capacities(results, ax), "no two capacities"),
        (lambda: figures.figure(results, "memry"), "did you mean 'memory'"),
        (lambda: figures.figure(results, "ratios", style="papr"), "did you mean 'paper'"),
        (lambda: figures.save(figures.figure(results, "ratios"), "fig.gif"), "written as .pdf, .svg or .png"),
    ):
        with pytest.raises(UsageError, match=said):
            call()


def test_the_command_writes_text_as_text_and_embeds_fonts(results: Results, memtrace: Run, tmp_path: Path) -> None:
    from pypdf import PdfReader

    write_folder(results, tmp_path / "r")
    how = ("--trace", results.traces()[0], "--policies", "bump:align=4096,first-fit", "--label", "bump:align=4096=Pages of 4 KiB")
    for kind in figures.KINDS:
        done = memtrace("plot", "r", "memory", "-o", f"f.{kind}", "--width", "85mm", "--height", "6cm", *how)
        assert done.returncode == 0, done.stderr
    text = (tmp_path / "f.svg").read_text()
    assert ">Pages of 4 KiB</text>" in text and ">first-fit</text>" in text and ">bump</text>" not in text
    page = PdfReader(tmp_path / "f.pdf").pages[0]
    assert "Pages of 4 KiB" in page.extract_text()
    assert float(page.mediabox.width) * 25.4 / 72 == pytest.approx(85, abs=0.01)
    fonts = [font.get_object()["/DescendantFonts"][0].get_object() for font in page["/Resources"]["/Font"].values()]  # type: ignore[index]
    assert fonts and all("/FontFile2" in font["/FontDescriptor"] for font in fonts)
    before = (tmp_path / "f.pdf").read_bytes()
    memtrace("plot", "r", "memory", "-o", "f.pdf", "--width", "85mm", "--height", "6cm", *how)
    assert (tmp_path / "f.pdf").read_bytes() == before
    assert "difference" in memtrace("plot").stdout
    assert "is no length" in memtrace("plot", "r", "memory", "-o", "f.pdf", "--width", "85").stderr


def test_no_label_is_cut(results: Results) -> None:
    """All that is drawn of a small figure lies within it, also long names."""
    long = dict.fromkeys(("bump", "first-fit", "bump:align=4096"), "a long name, with an option=4096")
    for name, how in (("memory", {"trace": results.traces()[0]}), ("peaks", {"trace": results.traces()[0]}), ("ratios", {})):
        made = figures.figure(results, name, labels=long, **how)
        made.canvas.draw()
        box, (wide, tall) = made.get_tightbbox(), made.get_size_inches()
        assert min(box.x0, box.y0) >= -0.02 and box.x1 <= wide + 0.02 and box.y1 <= tall + 0.02, (name, box, wide, tall)


def test_the_sweep_of_an_option_is_a_line() -> None:
    found = memtrace.run("classic:events=60,seed=0..1", ["bump:align=16|4096|256", "first-fit"], samples=10)
    _, ax = axes()
    figures.options(found, ax, labels={"bump": "Bump"})
    (line,) = ax.lines
    assert list(line.get_xdata()) == [16, 256, 4096] and line.get_label() == "Bump" and ax.get_xlabel() == "align"
    rows = [row for row in found.summary if row["policy"] == "bump:align=256"]
    product = rows[0]["peak_reserved_bytes"] * rows[1]["peak_reserved_bytes"]
    assert line.get_ydata()[1] == pytest.approx((product / (rows[0]["peak_live_bytes"] * rows[1]["peak_live_bytes"])) ** 0.5)
    with pytest.raises(UsageError, match="did you mean 'align'"):
        figures.options(found, ax, option="algin")
