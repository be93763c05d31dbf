"""Describe how a model is trained, and compute the sizes in bytes of what its operators allocate at a sequence length."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from memtrace.workloads.transformer.models import Model

# Names of tags, and their indices.
TAGS = ("weight", "gradient", "optimizer", "activation", "temporary", "workspace", "input")
WEIGHT, GRADIENT, OPTIMIZER, ACTIVATION, TEMPORARY, WORKSPACE, INPUT = range(7)

INDEX = 8  # bytes of a token's number
FLOAT = 4  # bytes of an fp32 number


@dataclass(frozen=True)
class Setup:
    """Describe what does not change from step to step."""

    model: Model
    batch: int  # sequences of a pass
    element: int  # bytes of an element of weights, gradients and activations
    flash: bool = True  # flash attention, else the scores are kept
    checkpointing: str = "none"  # "none", "selective" or "full"
    dropout: bool = False
    optimizer: str = "adamw"  # "adamw", "adam", "momentum" or "sgd"
    clip: bool = True  # whether the gradients' norm is clipped
    accumulate: int = 1  # passes of a step
    shards: int = 1  # devices of tensor parallelism
    sequence_parallel: bool = False
    replicas: int = 1  # devices of data parallelism
    zero: int = 0  # stage of ZeRO, 0 to 3

    @property
    def mixed(self) -> bool:
        """Return whether the optimizer keeps fp32 copies of the weights."""
        return self.element < FLOAT


class Sizes:
    """Compute sizes in bytes at a sequence length; length and sizes may be arrays, with one element for each step."""

    def __init__(self, setup: Setup, length: Any) -> None:
        """Compute all sizes for `length` tokens in each sequence of the batch."""
        model, e = setup.model, setup.element
        self.length, self.tokens = length, setup.batch * length
        tokens, shards = self.tokens, setup.shards
        self.split = shards if setup.sequence_parallel else 1  # parts of the tensors that tensor parallelism does not split
        self.hidden = tokens * model.hidden * e  # a layer's whole output
        self.outer = -(-self.hidden // self.split)  # the output of a norm, a residual sum, a dropout after a matrix
        self.outer_mask = -(-tokens * model.hidden // self.split)
        self.statistics = -(-tokens * FLOAT // self.split)  # a mean or deviation for each token
        self.context = self.hidden // shards  # the attention's output, and its queries
        self.keys = tokens * model.kv_width // shards * e
        self.qkv = self.context + 2 * self.keys
        self.ffn = tokens * (model.ffn // shards) * e
        heads = model.heads // shards
        self.scores = setup.batch * heads * length * length * e
        self.scores_mask = setup.batch * heads * length * length
        self.softmax_sums = setup.batch * heads * (-(-length // 32) * 32) * FLOAT
        self.attention_workspace = tokens * (model.hidden // shards) * FLOAT + setup.batch * heads * -(-length // 64) * 16
        logits = setup.batch * model.classes if model.classes else tokens * -(-model.vocab // shards)
        self.logits, self.float_logits = logits * e, logits * FLOAT
        self.indices = tokens * INDEX
