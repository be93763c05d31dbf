"""Fine-tuning an encoder on sentences of varying length: batches padded to their longest, or bucketed by length.

Sentences have log-normal lengths. A batch is as long as its longest sentence, rounded up to `pad`; with bucket above 1 that many
batches are sorted by length together, so that batches are more alike inside and differ more among each other. The model is
trained step by step as in gpt-train, with a classifier over the whole sentence in place of the vocabulary. The next batch's input
is copied on stream 1.

Source: sizes of BERT (Devlin et al. 2019).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Literal

import numpy as np

from memtrace.errors import UsageError
from memtrace.workloads.chance import lognormal, whole
from memtrace.workloads.events import Made
from memtrace.workloads.options import Between
from memtrace.workloads.transformer.models import Model
from memtrace.workloads.transformer.setup import TAGS, Setup
from memtrace.workloads.transformer.training import Training

# Name -> layers, hidden width, heads.
MODELS = {"bert-base": (12, 768, 12), "bert-large": (24, 1024, 16), "distilbert": (6, 768, 12)}
VOCAB, POSITIONS = 30522, 512
ELEMENT = {"fp32": 4, "fp16": 2, "bf16": 2}  # bytes of a number


def generate(
    seed: int,
    *,
    model: Annotated[Literal["bert-base", "bert-large", "distilbert"], "published sizes"] = "bert-base",
    batch: Annotated[int, Between(1, 1 << 16, "sentences")] = 32,
    mean_tokens: Annotated[float, Between(1, 512, "of a sentence")] = 60.0,
    spread: Annotated[float, Between(0.01, 10, "of their lengths: deviation by mean")] = 0.8,
    longest: Annotated[int, Between(8, POSITIONS, "longer sentences are cut")] = 256,
    pad: Annotated[int, Between(1, POSITIONS, "lengths are multiples of it")] = 8,
    bucket: Annotated[int, Between(1, 4096, "batches that are sorted together; 1: none are")] = 1,
    classes: Annotated[int, Between(1, 1 << 20, "told apart")] = 3,
    attention: Annotated[Literal["math", "flash"], "math keeps the scores"] = "math",
    dropout: Annotated[bool, "keeps masks"] = True,
    dtype: Annotated[Literal["fp32", "fp16", "bf16"], "of weights, gradients, activations"] = "fp32",
    steps: Annotated[int, Between(1, 10**9, "training steps")] = 100,
) -> Made:
    """Return the events of the workload `nlp`; raises UsageError if pad is above longest."""
    if pad > longest:
        raise UsageError(f"pad={pad} is above longest={longest}")
    layers, hidden, heads = MODELS[model]
    encoder = Model("gpt", layers, hidden, heads, heads, 4 * hidden, VOCAB, POSITIONS, False, classes)
    setup = Setup(encoder, batch, ELEMENT[dtype], attention == "flash", dropout=dropout)
    training = Training(setup, longest, input_stream=1)
    draw = batches(np.random.default_rng(seed), batch, mean_tokens, spread, longest, pad, bucket)
    return Made(training.pieces(draw, steps, varying=True), TAGS, {"parameters": str(encoder.parameters())})


def batches(
    rng: np.random.Generator, batch: int, mean: float, spread: float, longest: int, pad: int, bucket: int
) -> Callable[[int], np.ndarray]:
    """Return a function that draws the padded lengths, in tokens, of the next n batches.

    `batch` is the number of sentences of a batch; the other options have the names and meanings of `generate`.
    """
    waiting = np.empty(0, np.int64)

    def draw(count: int) -> np.ndarray:
        """Return the padded lengths of the next `count` batches."""
        nonlocal waiting
        while waiting.size < count:
            tokens = whole(lognormal(rng, batch * bucket, mean, spread), 1, longest)
            if bucket > 1:
                tokens = np.sort(tokens)
            padded = np.minimum(-(-tokens.reshape(bucket, batch).max(axis=1) // pad) * pad, longest)
            waiting = np.concatenate([waiting, rng.permutation(padded)])
        found, waiting = waiting[:count], waiting[count:]
        return found

    return draw
