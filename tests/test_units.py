"""Text at the edge: sizes, counts, times, ratios, and names that are nearly right."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from memtrace.errors import UsageError
from memtrace.names import nearest, unknown
from memtrace.units import (
    format_apart,
    format_count,
    format_ratio,
    format_seconds,
    format_size,
    parse_size,
)


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("0", 0),
        ("4096", 4096),
        ("200MiB", 200 << 20),
        (" 80 GB ", 80 * 10**9),
        ("1.5GiB", 3 << 29),
        (".5KiB", 512),
        ("64kib", 65536),
        ("1_000B", 1000),
        ("7.3GiB", 7838315315),
        ("4EiB", 1 << 62),
    ],
)
def test_sizes_are_read(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("1G", r"write 1GiB \(2\^30\) or 1GB \(10\^9\)"),
        ("64k", r"write 64KiB \(2\^10\) or 64KB \(10\^3\)"),
        ("5Q", "known: B, KiB"),
        ("2Mib/s", "is no size"),
        ("", "is no size"),
        ("-1", "is no size"),
        ("1.5", "not a whole number of bytes"),
        ("9EiB", "more than the largest address space"),
    ],
)
def test_what_is_no_size_is_refused_with_a_hint(text: str, hint: str) -> None:
    with pytest.raises(UsageError, match=hint):
        parse_size(text)


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        (7838315315, "7.3 GiB"),
        ((1 << 20) - 1, "1.0 MiB"),
        (1 << 62, "4.0 EiB"),
        (-2048, "-2.0 KiB"),
    ],
)
def test_sizes_are_written(size: int, text: str) -> None:
    assert format_size(size) == text


def test_different_sizes_are_told_apart() -> None:
    gib, mib = 1 << 30, 1 << 20
    assert [*map(format_apart([gib, 2 * gib, gib]), (gib, None))] == ["1.0 GiB", "-"]
    near = (5 * gib, 5 * gib + 2 * mib, 1000 * mib)
    assert [*map(format_apart(near), near)] == ["5.000 GiB", "5.002 GiB", "1000.0 MiB"]
    edge = (1024 * mib, 1024 * mib - 512)
    assert len({*map(format_apart(edge), edge)}) == 2
    assert format_size(1023.9996 * mib, 3) == "1.000 GiB" and format_size(512, 3) == "512 B"


@given(st.integers(0, 1 << 61))
def test_a_written_size_is_read_as_nearly_the_same(size: int) -> None:
    assert abs(parse_size(format_size(size)) - size) <= max(0.051 * size, 0)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (8.5e-7, "850 ns"),
        (1.2e-6, "1.2 µs"),
        (0.035, "35.0 ms"),
        (1.236, "1.24 s"),
        (59.999, "1 min 00 s"),
        (125, "2 min 05 s"),
        (3720, "1 h 02 min"),
        (-2, "-2.00 s"),
    ],
)
def test_seconds_are_written(seconds: float, text: str) -> None:
    assert format_seconds(seconds) == text


def test_counts_and_ratios_are_written() -> None:
    assert format_count(1234567) == "1,234,567"
    assert format_ratio(1.25) == "1.25x"
    assert format_ratio(1.004) == "1.004x"
    assert format_ratio(1) == "1.00x"


def test_the_nearest_name_is_proposed() -> None:
    known = ["best-fit", "first-fit", "buddy"]
    assert nearest("best-fti", known) == "best-fit"
    assert nearest("Buddy", known) == "buddy"
    assert nearest("zzz", known) is None
    assert str(unknown("policy", "best-fti", known)) == "unknown policy 'best-fti'; did you mean 'best-fit'?"
    assert str(unknown("policy", "zzz", known)) == "unknown policy 'zzz'; known: best-fit, buddy, first-fit"
    assert str(unknown("policy", "x", [])) == "unknown policy 'x'; there is none"
    assert str(unknown("name", "zzz", [str(n) for n in range(20)])).endswith(", ...")
