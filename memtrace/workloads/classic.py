"""Random blocks as the literature draws them: steady, in ramps, peaks and plateaus, a comb, a ladder.

In the steady state `live` is the mean lifetime, counted in allocations, and so the mean number of live blocks (Little's
law). ramp, peaks and plateaus are the shapes of Wilson, Johnstone, Neely and Boles 1995, section 2.4: a ramp grows to
`live` blocks over the trace; peaks build up about `live` blocks and drop them; plateaus build up `live` blocks, use them
and drop them. Each peak and plateau has a mean size of its own, between a quarter of the mean and four times the mean.
comb: rows of `live` blocks, of which every second is freed before blocks of twice the size are allocated. ladder: `live`
arrays that grow by `growth` in turn, allocating before they free.

Source: Knuth, The Art of Computer Programming 1, 2.5 (uniform, exponential); Shore 1975 (hyperexponential).
"""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np

from memtrace.errors import UsageError
from memtrace.workloads.chance import Distribution
from memtrace.workloads.classical import phases, steps
from memtrace.workloads.classical.phases import Blocks, churn
from memtrace.workloads.events import Made
from memtrace.workloads.options import Between, Bytes

Pattern = Literal["steady", "ramp", "peaks", "plateaus", "comb", "ladder"]


def generate(
    seed: int,
    *,
    events: Annotated[int, Between(2, 10**12, "in all")] = 1_000_000,
    pattern: Annotated[Pattern, "how the blocks come and go"] = "steady",
    sizes: Annotated[Distribution, "distribution of sizes"] = "lognormal",
    mean: Annotated[int, Bytes(1, 1 << 50, "mean size")] = 256,
    spread: Annotated[float, Between(0.01, 100, "standard deviation by mean, for lognormal and hyperexponential")] = 2.0,
    smallest: Annotated[int, Bytes(0, 1 << 50, "smaller sizes are raised to it")] = 1,
    largest: Annotated[int, Bytes(1, 1 << 60, "larger sizes are cut to it")] = 1 << 30,
    lifetimes: Annotated[Distribution, "distribution of lifetimes"] = "exponential",
    live: Annotated[int, Between(2, 10**8, "blocks live at a time, about")] = 10_000,
    growth: Annotated[float, Between(1.001, 2, "of a ladder's block, at each step")] = 1.05,
) -> Made:
    """Return the events of the workload `classic`; raises UsageError if smallest is above largest."""
    if smallest > largest:
        raise UsageError(f"smallest={smallest} is above largest={largest}")
    if pattern == "comb":
        return Made(steps.comb(events, live, mean, smallest, largest), steps.TAGS, {}, events)
    if pattern == "ladder":
        return Made(steps.ladder(events, live, mean, growth, smallest, largest), steps.TAGS, {}, events)
    blocks = Blocks(pattern, events, sizes, mean, spread, smallest, largest, lifetimes, live)
    return Made(churn(blocks.births(np.random.default_rng(seed)), events), phases.TAGS, {}, events)
