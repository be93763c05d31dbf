"""How a model is trained, and the sizes in bytes of what its operators allocate at a sequence length."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from memtrace.workloads.transformer.models import Model

TAGS = ("weight", "gradient", "optimizer", "activation", "temporary", "workspace", "input")
WEIGHT, GRADIENT, OPTIMIZER, ACTIVATION, TEMPORARY, WORKSPACE, INPUT = range(7)

INDEX = 8  # bytes of a token's number
FLOAT = 4


@dataclass(frozen=True)
class Setup:
    """What does not change from step to step."""

    model: Model
    batch: int
    element: int  # bytes of a weight, a gradient, an activation
    flash: bool = True
    checkpointing: str = "none"
    dropout: bool = False
    optimizer: str = "adamw"
    clip: bool = True
    accumulate: int = 1
    shards: int = 1  # tensor parallel
    sequence_parallel: bool = False
    replicas: int = 1  # data parallel
    zero: int = 0

    @property
    def mixed(self) -> bool:
        """Whether the optimizer keeps fp32 copies of the weights."""
        return self.element < FLOAT


class Sizes:
    """Bytes at a sequence length, which may be an array: one length per step."""

    def __init__(self, setup: Setup, length: Any) -> None:
        model, e = setup.model, setup.element
        self.length, self.tokens = length, setup.batch * length
        tokens, shards = self.tokens, setup.shards
        self.split = shards if setup.sequence_parallel else 1  # of what tensor parallelism alone would hold whole
        self.hidden = tokens * model.hidden * e  # a layer's whole output
        self.outer = -(-self.hidden // self.split)  # of norms, residuals, dropout after the matrices
        self.outer_mask = -(-tokens * model.hidden // self.split)
        self.statistics = -(-tokens * FLOAT // self.split)  # a mean or deviation per token
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
