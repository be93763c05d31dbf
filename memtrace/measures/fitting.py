"""How many blocks of one size the free memory would serve, against what as many bytes in one piece would.

A hole of h bytes has room for floor(h / S) blocks of S bytes. What is recorded of holes is their number and their bytes by class,
floor(log2 h), so for S = 2^k the sum over the holes is known within bounds: those of class k hold one block each, and n holes
of a class above it with b bytes in all hold at least max(n 2^(class - k), ceil((b - n (S - 1)) / S)) and at most floor(b / S).
For a class with a single hole both are exact.
"""

import numpy as np

from memtrace.contract.bits import highest_set
from memtrace.engine import recorder as rec
from memtrace.engine.known import SIZES, STATES
from memtrace.measures.declaration import Ints, Readings, metric

ORDER = 3
CLASSES = 64
FRAGMETRICS = "after fragmetrics: blocks that fit against the ideal, floor(F / S)"


@metric(
    "ratio",
    "higher",
    "mean over up to 200 of the samples, those with F >= S, of the blocks of S bytes that are sure to fit the holes by "
    "their classes / floor(F / S); S is the 99th percentile of the requests, rounded up to a power of two",
    FRAGMETRICS,
    (STATES, SIZES),
)
def fit_share_p99_mean(r: Readings) -> float | None:
    size_class = ceil_class(r.facts.p99_request)
    count, size = classes_of(r)
    ideal = size.sum(axis=1) >> size_class
    sure = least_that_fit(count, size, size_class)
    return float((sure[ideal > 0] / ideal[ideal > 0]).mean()) if (ideal > 0).any() else None


def ceil_class(size: int) -> int:
    """Return the least k for which 2^k bytes are at least ``size``."""
    return int(highest_set(2 * max(size, 1) - 1))


def classes_of(r: Readings) -> tuple[Ints, Ints]:
    """Return the numbers and the bytes of the holes by class at up to 200 of the samples, each int64[sample, class]."""
    table = r.placement.recorder.classes[: r.total(rec.CLASS_SAMPLE)]
    return table[:, :CLASSES], table[:, CLASSES:]


def least_that_fit(count: Ints, size: Ints, size_class: int) -> Ints:
    """Return a lower bound, int64[sample], of the blocks of 2^size_class bytes that fit the holes.

    ``count`` and ``size`` are the numbers and bytes of holes by class, as `classes_of` returns them.
    """
    found: Ints = count[:, size_class].copy()
    for above in range(size_class + 1, CLASSES):
        number, held = count[:, above], size[:, above]
        by_bytes = ((held + number - 1) >> size_class) - number + 1
        found += np.where(number > 0, np.maximum(number << (above - size_class), by_bytes), 0)
    return found


def most_that_fit(count: Ints, size: Ints, size_class: int) -> Ints:
    """Return an upper bound, int64[sample], of the blocks of 2^size_class bytes that fit the holes, as `least_that_fit`."""
    found: Ints = count[:, size_class] + (size[:, size_class + 1 :] >> size_class).sum(axis=1)
    return found
