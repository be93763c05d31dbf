"""Define the sizes of published models, and the parameters of each block in the order in which they are allocated."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Arch = Literal["gpt", "llama"]


@dataclass(frozen=True)
class Model:
    """Describe a model's architecture and sizes.

    gpt: LayerNorm, biases, learned positions, GELU. llama: RMSNorm, no biases, rotary positions, SwiGLU.
    """

    arch: Arch
    layers: int  # transformer blocks
    hidden: int  # width of the residual stream
    heads: int  # of the queries
    kv_heads: int  # of keys and values
    ffn: int  # inner width of the MLP
    vocab: int  # tokens known
    context: int  # learned positions; 0 for rotary positions
    tied: bool  # whether the output layer shares its weights with the token embedding
    classes: int = 0  # of a classifier over whole sequences, which then is the output layer; 0: over the vocabulary

    def parameters(self, shards: int = 1) -> int:
        """Return the number of elements in all parameters of one of `shards` tensor-parallel parts."""
        first, block, last = self.outer(shards)[0], self.block(shards), self.outer(shards)[1]
        return sum(count for _, count in [*first, *last]) + self.layers * sum(count for _, count in block)

    def outer(self, shards: int = 1) -> tuple[list[tuple[str, int]], list[tuple[str, int]]]:
        """Return name and number of elements of the parameters before the blocks, and of those after them."""
        table = -(-self.vocab // shards) * self.hidden
        first = [("tokens", table)] + ([("positions", self.context * self.hidden)] if self.context else [])
        head = self.classes * self.hidden if self.classes else table
        last = self._norm("norm") + ([] if self.tied else [("head", head)])
        return first, last

    def block(self, shards: int = 1) -> list[tuple[str, int]]:
        """Return name and number of elements of the parameters of a block, whose matrices are split into `shards` parts."""
        h, kv, ffn = self.hidden, self.kv_width // shards, self.ffn // shards
        own = h // shards
        if self.arch == "llama":
            matrices = [("q", h * own), ("k", h * kv), ("v", h * kv), ("proj", h * own)]
            mlp = [("gate", h * ffn), ("up", h * ffn), ("down", h * ffn)]
            return [*self._norm("norm1"), *matrices, *self._norm("norm2"), *mlp]
        wide = own + 2 * kv
        return [
            *self._norm("norm1"),
            *(("qkv", h * wide), ("qkv.bias", wide), ("proj", own * h), ("proj.bias", h)),
            *self._norm("norm2"),
            *(("up", h * ffn), ("up.bias", ffn), ("down", ffn * h), ("down.bias", h)),
        ]

    def _norm(self, name: str) -> list[tuple[str, int]]:
        """Return name and number of elements of a norm's parameters."""
        return [(name, self.hidden)] + ([(f"{name}.bias", self.hidden)] if self.arch == "gpt" else [])

    @property
    def kv_width(self) -> int:
        """Return the width of all keys of a token, which is that of the values too."""
        return self.hidden // self.heads * self.kv_heads


def _gpt(layers: int, hidden: int, heads: int, context: int) -> Model:
    """Return a GPT-2 or GPT-3 of these sizes."""
    return Model("gpt", layers, hidden, heads, heads, 4 * hidden, 50257, context, tied=True)


PRESETS = {
    "gpt2": _gpt(12, 768, 12, 1024),  # Radford et al. 2019
    "gpt2-medium": _gpt(24, 1024, 16, 1024),
    "gpt2-large": _gpt(36, 1280, 20, 1024),
    "gpt2-xl": _gpt(48, 1600, 25, 1024),
    "gpt3-6.7b": _gpt(32, 4096, 32, 2048),  # Brown et al. 2020, table 2.1
    "gpt3-13b": _gpt(40, 5120, 40, 2048),
    "gpt3-175b": _gpt(96, 12288, 96, 2048),
    "opt-13b": Model("gpt", 40, 5120, 40, 40, 20480, 50272, 2050, tied=True),  # Zhang et al. 2022
    "llama-7b": Model("llama", 32, 4096, 32, 32, 11008, 32000, 0, tied=False),  # Touvron et al. 2023
    "llama-13b": Model("llama", 40, 5120, 40, 40, 13824, 32000, 0, tied=False),
    "llama-70b": Model("llama", 80, 8192, 64, 8, 28672, 32000, 0, tied=False),  # Llama 2
}
Preset = Literal[
    "gpt2", "gpt2-medium", "gpt2-large", "gpt2-xl", "gpt3-6.7b", "gpt3-13b", "gpt3-175b", "opt-13b",
    "llama-7b", "llama-13b", "llama-70b",
]  # fmt: skip
