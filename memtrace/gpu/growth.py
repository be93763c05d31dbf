"""Tell from recordings of several batch sizes or sequence lengths how much memory others need, and the largest that fits.

The peak of live bytes grows smoothly with the size: a line is fitted, or a parabola if four or more recordings need one. What a
setting needs beyond it, on the smallest device for each recording, jumps: its mean is added. The error is what the fit misses at
most when each recording is left out in turn, and how far the additions lie apart, and one segment, the step in which memory is
taken.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from memtrace.errors import UsageError
from memtrace.gpu.capacity import LARGE_PAGE
from memtrace.gpu.rows import smallest
from memtrace.gpu.screen import name_of, same_as, table_of
from memtrace.structures.caching.versions import Version
from memtrace.units import format_apart, format_size
from memtrace.wrapping import folded

if TYPE_CHECKING:
    from memtrace.trace import Trace

BENT = 0.01  # share of the largest need: if a line misses by more, and there are points enough, a parabola is fitted
FOR_PARABOLA = 4  # points
MOST_SIZE = 1 << 40  # upper bound of sizes that are considered
SCHEMA = "memtrace.growth/1"


@dataclass(frozen=True)
class Growth:
    """Say how the memory that a setting needs grows with a size. Memory is in bytes."""

    conf: str
    needs: tuple[int, ...]  # smallest device for each recording, as measured
    coefficients: tuple[
        float, ...
    ]  # of the fit of live bytes: constant, per unit of the size, and per square if it is a parabola
    beyond: float  # what the setting needs beyond the live bytes, on the mean
    error: float | None  # None with two recordings, which show none
    largest: int | None = None  # largest size that fits, with the error added; None: no capacity is given, or size 1 does not fit

    def at(self, size: float) -> float:
        """Return the memory that a size needs, by the fit."""
        return float(sum(c * size**i for i, c in enumerate(self.coefficients))) + self.beyond


def growth_of(traces: list[Trace], sizes: list[int], confs: list[str], capacity: int | None, version: Version) -> list[Growth]:
    """Return how each setting's need grows, the one that fits the largest size first; ``sizes``: of each trace.

    Raises UsageError unless there are two sizes or more, all different and positive, one for each trace.
    """
    if len(sizes) != len(traces) or len(set(sizes)) != len(sizes) or len(sizes) < 2 or min(sizes) < 1:
        raise UsageError(f"{len(traces)} recordings need as many different sizes from 1 on, at least two; given: {sizes}")
    live = [trace.facts.peak_live_bytes for trace in traces]
    found = []
    for conf in confs:
        needs = [smallest(trace, conf, version) for trace in traces]
        if all(need is not None for need in needs):
            found.append(fitted(conf, sizes, live, [int(need) for need in needs if need is not None], capacity))
    at = max(sizes)
    return sorted(found, key=lambda one: (-(one.largest or 0), one.at(at)))


def fitted(conf: str, sizes: list[int], live: list[int], needs: list[int], capacity: int | None) -> Growth:
    """Return the fit for a setting: ``live`` are the peaks of live bytes, ``needs`` the smallest devices, for each size."""
    straight = _missed(sizes, live, 1)
    bent = len(sizes) >= FOR_PARABOLA and straight > BENT * max(live) and _missed(sizes, live, 2) < straight
    degree = 2 if bent else 1
    beyond = [need - alive for need, alive in zip(needs, live, strict=True)]
    growth = Growth(
        conf=conf,
        needs=tuple(needs),
        coefficients=tuple(float(c) for c in np.polynomial.polynomial.polyfit(sizes, live, degree)),
        beyond=sum(beyond) / len(beyond),
        error=_missed(sizes, live, degree) + max(beyond) - min(beyond) + LARGE_PAGE if len(sizes) > degree + 1 else None,
    )
    return replace(growth, largest=largest_that_fits(growth, capacity)) if capacity is not None else growth


def _missed(sizes: list[int], bytes_: list[int], degree: int) -> float:
    """Return what a fit misses at most, each point left out of it in turn."""
    missed = 0.0
    for out in range(len(sizes)):
        x, y = [s for i, s in enumerate(sizes) if i != out], [n for i, n in enumerate(bytes_) if i != out]
        fit = np.polynomial.polynomial.polyfit(x, y, min(degree, len(x) - 1))
        missed = max(missed, abs(float(np.polynomial.polynomial.polyval(sizes[out], fit)) - bytes_[out]))
    return missed


def largest_that_fits(growth: Growth, capacity: int) -> int | None:
    """Return the largest size whose need, with the error added, is no more than the capacity; None if size 1 needs more.

    MOST_SIZE stands for any size: the need does not grow.
    """

    def fits(size: int) -> bool:
        """Return whether a size fits."""
        return growth.at(size) + (growth.error or 0) <= capacity

    if not fits(1):
        return None
    low, high = 1, 2
    while high < MOST_SIZE and fits(high):
        low, high = high, 2 * high
    if fits(high):
        return MOST_SIZE
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low


def screen(found: list[Growth], sizes: list[int], capacity: int | None, width: int = 80) -> list[str]:
    """Return the lines for a terminal: the needs of each setting, per unit of the size, and the largest size that fits."""
    order = sorted(range(len(sizes)), key=lambda i: sizes[i])
    head = ("setting", *(f"at {sizes[i]}" for i in order), "each more", "error", "largest")
    cells = []
    texts = [format_apart(one.needs[i] for one in found) for i in order]
    first: dict[Any, Growth] = {}
    same: dict[str, list[str]] = {}
    for one in found:
        before = first.setdefault((one.needs, one.coefficients), one)
        if before is not one:
            same.setdefault(before.conf, []).append(name_of(one.conf))
            continue
        error = "-" if one.error is None else format_size(one.error)
        largest = "-" if capacity is None else "any" if one.largest == MOST_SIZE else str(one.largest or "none")
        each = one.at(sizes[order[-1]] + 1) - one.at(sizes[order[-1]])
        cells.append(
            (
                name_of(one.conf),
                *(text_of(one.needs[i]) for i, text_of in zip(order, texts, strict=True)),
                format_size(each),
                error,
                largest,
            )
        )
    where = "" if capacity is None else f"; largest that fits {format_size(capacity)}, the error added"
    said = f"smallest device by size, and what each further unit needs beyond the largest recorded{where}"
    if len(sizes) == 2:
        said += "; two recordings show no error: a third would"
    lines = [*folded(said, width), *table_of(head, cells, width)]
    for sentence in same_as(same):
        lines += folded(sentence, width)
    if any(one.at(max(sizes)) <= one.at(min(sizes)) for one in found):
        lines += folded("the memory does not grow with the size: are --sizes those of the recordings, in their order?", width)
    return lines


def document(found: list[Growth], sizes: list[int], capacity: int | None) -> dict[str, Any]:
    """Return the fits as a JSON document."""
    rows = [
        {
            "conf": one.conf,
            "needs_bytes": dict(zip(map(str, sizes), one.needs, strict=True)),
            "live_coefficients": list(one.coefficients),
            "beyond_live_bytes": one.beyond,
            "error_bytes": one.error,
            "largest": one.largest,
        }
        for one in found
    ]
    return {"schema": SCHEMA, "capacity_bytes": capacity, "rows": rows}
