"""Training a recommender: embedding tables, batches of changing size, sparse gradients.

Tables have power-law sizes and stay. A step takes a batch whose size follows the traffic, and for each table a number of indices
that varies; it pools the rows, lets the pooled vectors interact, runs two small networks, and runs the backward pass. A table's
gradient is sparse: the rows that were read, sorted and added up. The next batch's indices come on stream 1 while a step runs.

Source: DLRM (Naumov et al. 2019).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Annotated, Any

import numpy as np

from memtrace.workloads.chance import draw as drawn
from memtrace.workloads.chance import lognormal, whole
from memtrace.workloads.events import Made
from memtrace.workloads.options import Between
from memtrace.workloads.transformer.tape import Tape, training_pieces

# Names of tags, and their indices.
TAGS = ("embedding", "weight", "gradient", "optimizer", "activation", "sparse-gradient", "workspace", "input", "temporary")
EMBEDDING, WEIGHT, GRADIENT, OPTIMIZER, ACTIVATION, SPARSE, WORKSPACE, INPUT, TEMPORARY = range(9)
FLOAT, INDEX = 4, 8  # bytes
LOADING = 1  # stream on which inputs are copied


def generate(
    seed: int,
    *,
    tables: Annotated[int, Between(1, 100_000, "embedding tables")] = 26,
    rows: Annotated[float, Between(1, 1e10, "of a table, in the mean")] = 200_000.0,
    width: Annotated[int, Between(1, 1 << 16, "of an embedding")] = 64,
    batch: Annotated[int, Between(1, 1 << 24, "examples, in the mean")] = 2048,
    traffic: Annotated[float, Between(0, 5, "of the batch size: deviation by mean")] = 0.4,
    lookups: Annotated[float, Between(1, 1e5, "per example and table, in the mean")] = 4.0,
    dense: Annotated[int, Between(1, 1 << 16, "features that are numbers")] = 13,
    hidden: Annotated[int, Between(1, 1 << 16, "width of the networks")] = 512,
    layers: Annotated[int, Between(1, 100, "of each network")] = 3,
    steps: Annotated[int, Between(1, 10**9, "training steps")] = 500,
) -> Made:
    """Return the events of the workload `recommender`, as its module describes."""
    rng = np.random.default_rng(seed)
    sizes = whole(drawn("power", rng, tables, rows, 1.0), 4, 1 << 34)
    model = _Model(Tape(streams=True), sizes, width, dense, hidden, layers)
    model.make()
    examples = _batches(rng, batch, traffic, tables, lookups)
    return Made(training_pieces(model.tape, model.step, examples, steps, varying=True), TAGS, {"rows": str(int(sizes.sum()))})


def _batches(rng: np.random.Generator, batch: int, traffic: float, tables: int, lookups: float) -> Callable[[int], Any]:
    """Return a function that draws the batches of the next n steps."""

    def draw(steps: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the number of examples [step], and the number of indices [step, table]."""
        size = whole(lognormal(rng, steps, batch, traffic) if traffic else np.full(steps, float(batch)), 1, 1 << 26)
        per = np.maximum(1.0, rng.poisson(8 * lookups, (steps, tables)) / 8)
        return size, np.ceil(size[:, None] * per).astype(np.int64)

    return draw


@dataclass
class _Model:
    """Write the allocs and frees of a recommender's training to a tape."""

    tape: Tape
    rows: np.ndarray  # [table]
    width: int  # of an embedding
    dense: int  # features that are numbers
    hidden: int  # width of the networks' inner layers
    layers: int  # of each network

    def make(self) -> None:
        """Write the tables with one number of optimizer state for each row (row-wise Adagrad), and the two networks."""
        for rows in self.rows.tolist():
            self.tape.alloc(rows * self.width * FLOAT, EMBEDDING)
            self.tape.alloc(rows * FLOAT, OPTIMIZER)
        for count in self._parameters():
            self.tape.alloc(count * FLOAT, WEIGHT)
            self.tape.alloc(count * FLOAT, OPTIMIZER)

    def _widths(self) -> tuple[list[int], list[int]]:
        """Return the widths of the layers of the network below the interaction, and of the network above it."""
        vectors = len(self.rows) + 1
        pairs = vectors * (vectors - 1) // 2 + self.width
        below = [self.dense] + [self.hidden] * (self.layers - 1) + [self.width]
        return below, [pairs] + [self.hidden] * (self.layers - 1) + [1]

    def _parameters(self) -> list[int]:
        """Return the numbers of elements of all weights and biases of the two networks."""
        return [count for widths in self._widths() for i, o in pairwise(widths) for count in (i * o, o)]

    def step(self, drawn: tuple[np.ndarray, np.ndarray]) -> None:
        """Write a training step, or several at once; `drawn` is the examples [step] and indices [step, table]."""
        examples, indices = drawn
        columns = [indices[:, table] for table in range(len(self.rows))]
        self._load(examples, columns)
        tape, (below, above) = self.tape, self._widths()
        bottom = self._network(examples, below)
        pooled = [tape.alloc(examples * self.width * FLOAT, ACTIVATION) for _ in columns]
        stacked = tape.alloc(examples * (len(columns) + 1) * self.width * FLOAT, ACTIVATION)
        tape.brief(examples * (len(columns) + 1) ** 2 * FLOAT, TEMPORARY)  # all products, of which half are kept
        pairs = tape.alloc(examples * above[0] * FLOAT, ACTIVATION)
        top = self._network(examples, above)
        loss = [tape.alloc(examples * FLOAT, TEMPORARY), tape.alloc(FLOAT, TEMPORARY)]
        d = self._back(examples, above, top, tape.alloc(examples * FLOAT, TEMPORARY))
        tape.free(pairs)
        dstacked = tape.alloc(examples * (len(columns) + 1) * self.width * FLOAT, TEMPORARY)
        tape.free(d, stacked)
        for used, rows in zip(pooled, columns, strict=True):
            self._sparse(examples, rows)
            tape.free(used)
        d = self._back(examples, below, bottom, dstacked)
        tape.free(d, *reversed(loss))
        for name in [name for name in tape.kept if name.startswith("d ")]:
            tape.free(tape.kept.pop(name))

    def _load(self, examples: np.ndarray, columns: list[np.ndarray]) -> None:
        """Write the next batch's inputs, on their own stream, and the frees of the batch before."""
        sizes = [examples * self.dense * FLOAT, *(rows * INDEX for rows in columns), *((examples + 1) * INDEX for _ in columns)]
        for place, size in enumerate(sizes):
            new = self.tape.alloc(size, INPUT, LOADING)
            if f"input {place}" in self.tape.kept:
                self.tape.free(self.tape.kept[f"input {place}"], stream=LOADING)
            self.tape.kept[f"input {place}"] = new

    def _network(self, examples: np.ndarray, widths: list[int]) -> list[int]:
        """Write the outputs of a network's layers, which are kept, and return their ids; activation functions work in place."""
        return [self.tape.alloc(examples * width * FLOAT, ACTIVATION) for width in widths[1:]]

    def _back(self, examples: np.ndarray, widths: list[int], kept: list[int], d: int) -> int:
        """Write the backward pass of a network, and return the id of the gradient of its input.

        `kept` are the ids of its outputs, `d` that of the gradient of the last output; these are freed.
        """
        tape = self.tape
        for layer in reversed(range(len(kept))):
            tape.free(kept[layer])
            for part, count in (("weight", widths[layer] * widths[layer + 1]), ("bias", widths[layer + 1])):
                tape.kept[f"d {part} {len(tape.kept)}"] = tape.alloc(count * FLOAT, GRADIENT)
            dx = tape.alloc(examples * widths[layer] * FLOAT, TEMPORARY)
            tape.free(d)
            d = dx
        return d

    def _sparse(self, examples: np.ndarray, rows: np.ndarray) -> None:
        """Write a table's sparse gradient: the rows read are sorted, summed where they are equal, and added to the table."""
        tape, width = self.tape, self.width
        d = tape.alloc(examples * width * FLOAT, TEMPORARY)
        order, keys = tape.alloc(rows * INDEX, WORKSPACE), tape.alloc(rows * INDEX, WORKSPACE)
        tape.brief(rows * 16 + 6655, WORKSPACE)
        values = tape.alloc(rows * width * FLOAT, SPARSE)
        unique = tape.alloc((rows - rows // 4) * width * FLOAT, SPARSE)
        tape.free(values, order, d)
        tape.brief((rows - rows // 4) * FLOAT, TEMPORARY)  # the squares' means, of row-wise Adagrad
        tape.free(unique, keys)
