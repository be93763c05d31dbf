"""Positive random numbers of a given mean from the distributions of the literature.

All come from uniform and normal draws by formulas of their own, so that the numbers do not change with numpy.
"""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Distribution = Literal["fixed", "uniform", "exponential", "hyperexponential", "lognormal", "power", "bimodal"]

PARETO = 1.5  # the power law's exponent: a mean, but no variance
SMALL_SHARE, SMALL_PART = 0.9, 0.5  # bimodal: nine of ten have half the mean, the tenth 5.5 times


def draw(kind: Distribution, rng: np.random.Generator, count: int, mean: float, spread: float) -> Floats:
    """`count` numbers above 0 with this mean; `spread` is the coefficient of variation of those that can be told it."""
    if kind == "fixed":
        return np.full(count, float(mean))
    if kind == "uniform":
        return 2 * mean * rng.random(count)
    if kind == "exponential":
        return -mean * np.log1p(-rng.random(count))
    if kind == "hyperexponential":
        return hyperexponential(rng, count, mean, spread)
    if kind == "lognormal":
        return lognormal(rng, count, mean, spread)
    if kind == "power":
        return mean * (PARETO - 1) / PARETO * (1 - rng.random(count)) ** (-1 / PARETO)
    large = mean * (1 - SMALL_SHARE * SMALL_PART) / (1 - SMALL_SHARE)
    return np.where(rng.random(count) < SMALL_SHARE, mean * SMALL_PART, large)


def hyperexponential(rng: np.random.Generator, count: int, mean: float, spread: float) -> Floats:
    """Two exponentials with balanced means (Allen, Probability, Statistics and Queueing Theory, 3.2.9); spread at least 1."""
    squared = max(spread, 1.0) ** 2
    share = (1 + math.sqrt((squared - 1) / (squared + 1))) / 2
    first = rng.random(count) < share
    means = np.where(first, mean / (2 * share), mean / (2 * (1 - share)) if share < 1 else 0.0)
    return -means * np.log1p(-rng.random(count))


def lognormal(rng: np.random.Generator, count: int, mean: float, spread: float) -> Floats:
    variance = math.log1p(spread * spread)
    return np.exp(math.log(mean) - variance / 2 + math.sqrt(variance) * rng.standard_normal(count))


def whole(numbers: Floats, least: int, most: int) -> NDArray[np.int64]:
    """Rounded up to whole numbers, and cut to the limits."""
    return np.clip(np.ceil(numbers), least, most).astype(np.int64)
