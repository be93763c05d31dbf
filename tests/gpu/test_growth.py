"""How memory grows with batch size and sequence length: the fit, its error, and sizes that were not used for it."""

from __future__ import annotations

import json

import pytest
from conftest import Run

from memtrace.errors import UsageError
from memtrace.gpu.growth import fitted, growth_of, largest_that_fits
from memtrace.gpu.rows import smallest
from memtrace.reading import read
from memtrace.structures.caching.versions import Version

LAST = Version(2, 15)
MODEL = "gpt-train:layers=2,hidden=128,heads=4,vocab=1000,steps=1"


SEGMENT = 20 << 20  # the step in which memory is taken, which is part of every error


def test_a_line_is_found_again() -> None:
    live = [1000 + 300 * n for n in (2, 4, 8)]
    found = fitted("", [2, 4, 8], live, [n + 50 for n in live], SEGMENT + 4060)
    assert found.coefficients == pytest.approx((1000, 300)) and found.beyond == 50
    assert found.error == pytest.approx(SEGMENT, abs=1e-3) and found.largest == 10
    assert fitted("", [2, 4], live[:2], live[:2], None).error is None
    assert fitted("", [2, 4, 8], live, [n + i for n, i in zip(live, (0, 70, 20), strict=True)], None).error == pytest.approx(
        SEGMENT + 70
    )


def test_a_parabola_needs_four_points() -> None:
    sizes = [64, 128, 256, 512]
    live = [10_000 + 50 * n + n * n for n in sizes]
    assert len(fitted("", sizes, live, live, None).coefficients) == 3
    assert len(fitted("", sizes[:3], live[:3], live[:3], None).coefficients) == 2
    assert fitted("", sizes, live, live, None).at(700) == pytest.approx(10_000 + 50 * 700 + 700 * 700)


def test_the_largest_fits_and_one_more_does_not() -> None:
    found = fitted("", [1, 2, 4], [1000, 1500, 2700], [1000, 1500, 2700], None)
    largest = largest_that_fits(found, SEGMENT + 10_000)
    assert largest is not None and found.error
    assert found.at(largest) + found.error <= SEGMENT + 10_000 < found.at(largest + 1) + found.error
    assert largest_that_fits(found, 100) is None


@pytest.mark.parametrize("conf", ["", "expandable_segments:True"])
def test_sizes_that_were_not_used_for_the_fit_are_foretold(conf: str) -> None:
    """A generated series: three sizes are fitted, and others, some beyond them, need what the fit says, within its error."""
    used, other = [4, 8, 16], [6, 12, 20, 24]
    found = growth_of([read(f"{MODEL},batch={n}") for n in used], used, [conf], None, LAST)[0]
    assert found.error is not None
    for size in other:
        need = smallest(read(f"{MODEL},batch={size}"), conf, LAST)
        assert need is not None and abs(found.at(size) - need) <= found.error


@pytest.mark.parametrize("sizes", [[1], [1, 1], [0, 2], [1, 2, 3]])
def test_sizes_that_make_no_sense(sizes: list[int]) -> None:
    traces = [read(f"{MODEL},batch=1")] * 2
    with pytest.raises(UsageError, match="different sizes"):
        growth_of(traces, sizes, [""], None, LAST)


def test_the_command(memtrace: Run) -> None:
    files = [f"{MODEL},batch={n}" for n in (2, 4)]
    arguments = ["--sizes", "2,4", "--conf", "", "--capacity", "1GiB"]
    found = json.loads(memtrace("whatif", *files, *arguments, "--json").stdout)
    assert found["rows"][0]["largest"] > 4 and found["rows"][0]["error_bytes"] is None
    text = memtrace("whatif", *files, *arguments).stdout
    assert "two recordings show no error" in text.replace("\n  ", " ") and all(len(line) <= 80 for line in text.splitlines())
    assert memtrace("whatif", *files, "--sizes", "2,x").returncode == 2
