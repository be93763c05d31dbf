"""Make scales in people's units: ticks at round sizes (KiB to EiB) or round counts (k, M, G, T), and their labels."""

from __future__ import annotations

from collections.abc import Iterable
from math import floor, log10

# Units of sizes, by power of 1024, and of counts, by power of 1000.
BINARY = ("B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB")
DECIMAL = ("", " k", " M", " G", " T")
OUTLIER = 4  # times the median: a larger value is left out of a common scale, since it would flatten all others

Tick = tuple[float, str]  # value, label


def size_ticks(limit: float, most: int = 5) -> list[Tick]:
    """Return ticks at about ``most`` round sizes from 0 to ``limit`` bytes, all in one unit."""
    power = 0
    while limit >= 1000 * 1024**power and power + 1 < len(BINARY):
        power += 1
    unit = 1024**power
    return [
        (value * unit, f"{value:g} {BINARY[power]}" if value else "0") for value in _round_values(limit / unit, most, power == 0)
    ]


def count_ticks(limit: float, most: int = 5) -> list[Tick]:
    """Return ticks at about ``most`` round counts from 0 to ``limit``, such as 0, 0.5 M, 1 M."""
    power = 0
    while limit >= 1000 ** (power + 1) and power + 1 < len(DECIMAL):
        power += 1
    unit = 1000**power
    values = _round_values(limit / unit, most, power == 0)
    return [(value * unit, f"{value:g}{DECIMAL[power]}" if value else "0") for value in values]


def _round_values(limit: float, most: int, whole: bool) -> list[float]:
    """Return evenly spaced round values from 0 to ``limit``, about ``most``; only integers if ``whole``."""
    if limit <= 0:
        return [0.0]
    rough = max(1.0, limit / most) if whole else limit / most
    decade = 10.0 ** floor(log10(rough))
    steps = [size * decade for size in (1, 2, 2.5, 5, 10)]
    step = next(s for s in steps if s >= rough * (1 - 1e-9) and not (whole and s % 1))
    return [round(step * k, 9) for k in range(int(limit / step * (1 + 1e-9)) + 1)]


def class_label(class_from: int, kind: str) -> str:
    """Return the label of a power-of-two class, which is its lower end.

    It is `4 KiB` for sizes, and `4 k` (of 1024) for lifetimes.
    """
    if kind != "size":
        return str(class_from) if class_from < 1000 else _binary(class_from, ("", "k", "M", "G", "T", "P", "E"))
    return _binary(class_from, BINARY)


def class_of(start: int) -> int:
    """Return the number of the power-of-two class with this lower end; class 0 also holds 0."""
    return max(0, int(start).bit_length() - 1)


def _binary(value: int, units: tuple[str, ...]) -> str:
    """Return the value in the largest unit, a power of 1024, that is not larger than the value."""
    power = min((value.bit_length() - 1) // 10, len(units) - 1) if value else 0
    return f"{value >> (10 * power)} {units[power]}".rstrip()


def class_ticks(classes: range, most: int = 5) -> list[Tick]:
    """Return at most about ``most`` ticks at round size classes, such as 1 KiB, 32 KiB, 1 MiB."""
    step = next(step for step in (1, 2, 5, 10, 20, 40, 80) if len(classes) <= most * step)
    return [(k, class_label(1 << k, "size")) for k in classes if k % step == 0]


def common_limit(values: Iterable[float]) -> float:
    """Return the end of a scale for these values: the largest of them that is at most OUTLIER times the median.

    Values of 0 and below do not count; without others it is 1.
    """
    known = sorted(value for value in values if value > 0)
    if not known:
        return 1.0
    middle = known[(len(known) - 1) // 2]
    return max(value for value in known if value <= OUTLIER * middle)
