"""Draw positive random numbers of a given mean from the distributions that the literature uses.

All are made from uniform and normal draws by formulas in this file, so that the numbers do not change with numpy's version.
"""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Distribution = Literal["fixed", "uniform", "exponential", "hyperexponential", "lognormal", "power", "bimodal"]

PARETO = 1.5  # exponent of the power law, which then has a mean but no variance
SMALL_SHARE, SMALL_PART = 0.9, 0.5  # bimodal: nine of ten numbers are half the mean, the tenth is 5.5 times the mean


def draw(kind: Distribution, rng: np.random.Generator, count: int, mean: float, spread: float) -> Floats:
    """Return `count` positive random numbers with this mean, from the distribution `kind`.

    `spread` is the coefficient of variation (standard deviation / mean); only hyperexponential and lognormal use it.
    """
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
    """Return draws from a mix of two exponential distributions with balanced means.

    A spread below 1 is taken as 1. Source: Allen, Probability, Statistics and Queueing Theory, 3.2.9.
    """
    squared = max(spread, 1.0) ** 2
    share = (1 + math.sqrt((squared - 1) / (squared + 1))) / 2
    first = rng.random(count) < share
    means = np.where(first, mean / (2 * share), mean / (2 * (1 - share)) if share < 1 else 0.0)
    return -means * np.log1p(-rng.random(count))


def lognormal(rng: np.random.Generator, count: int, mean: float, spread: float) -> Floats:
    """Return log-normal draws with this mean and coefficient of variation `spread`."""
    variance = math.log1p(spread * spread)
    return np.exp(math.log(mean) - variance / 2 + math.sqrt(variance) * rng.standard_normal(count))


def whole(numbers: Floats, least: int, most: int) -> NDArray[np.int64]:
    """Return the numbers rounded up to whole numbers and limited to [least, most]."""
    return np.clip(np.ceil(numbers), least, most).astype(np.int64)
