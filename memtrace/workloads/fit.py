"""A model learned from a recorded trace, which generates one that is longer, or has more blocks live.

The recording is cut into phases of equally many allocations. Of each phase a sample of blocks is kept with size,
lifetime (in allocations) and tag, so that sizes and lifetimes by tag, and their correlation, are the recording's.
Generated phases draw from their samples in random order: the order within a phase is lost, and with it what depends on
it, such as stacks of activations; more phases keep more of it. A realloc is taken for a free and an allocation;
streams, alignments and times are left out.

scale=2 has twice as many blocks live, repeat=3 the phases three times over. How close a trace of the recording's own length
and scale comes to the recording is reported: each fit_..._ratio is a generated value divided by the recorded one, each
fit_..._distance is the distance of Kolmogorov and Smirnov.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

import numpy as np

from memtrace.errors import UsageError
from memtrace.trace.model import Trace
from memtrace.workloads.classical.learned_model import births, closeness, learn
from memtrace.workloads.classical.phases import churn
from memtrace.workloads.events import Made
from memtrace.workloads.options import Between

MOST_EVENTS = 10**12  # a bound that no trace reaches: the model's blocks end it


def generate(
    seed: int,
    *,
    read: Callable[[str], Trace],
    trace: Annotated[str, "the recorded trace: a file"] = "",
    phases: Annotated[int, Between(1, 10_000, "of the recording")] = 1000,
    scale: Annotated[float, Between(0.01, 10_000, "of the blocks live, and of the length")] = 1.0,
    repeat: Annotated[int, Between(1, 10**6, "of all phases")] = 1,
) -> Made:
    """Return the events of the workload `fit`; `read` reads the recording from its path.

    Raises UsageError without a recording, InputError if it cannot be read.
    """
    if not trace:
        raise UsageError("trace= is needed: the recorded trace to learn from, as in fit:trace=recorded.parquet,scale=2")
    recorded = read(trace)
    model = learn(recorded, phases)
    drawn = births(model, np.random.default_rng(seed), scale, repeat)
    facts = {"fit_of": recorded.name, **closeness(model, recorded.facts, seed)}
    return Made(churn(drawn, MOST_EVENTS), recorded.tags or ("block",), facts)
