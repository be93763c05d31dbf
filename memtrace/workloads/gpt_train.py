"""Training steps of a decoder-only transformer, operator by operator, as PyTorch's eager mode allocates.

Weights, gradients, optimizer states (fp32 masters and moments in mixed precision), activations that are kept for the
backward pass and freed in reverse, temporaries of one operator, the loss over the vocabulary. Each step frees the
gradients of the step before (`zero_grad`). The trace is that of one device: with tensor_parallel its part of the matrices,
with data_parallel and zero its share of optimizer states (1), gradients (2) and weights (3), which are gathered block by block.

preset gives the sizes of a published model; layers, hidden and so on overrule it. With seq_min below seq each step has a
length of its own. Checkpointing keeps the input of each block (full), or computes only the attention's inside again
(selective; Korthikanti et al. 2022). Not modelled: communication buffers, the CUDA context, autocast's copies of weights.

Source: requests of PyTorch 2.14 as recorded in traces/gpt-6x512-fp32.csv; Korthikanti et al. 2022; Rajbhandari et al. 2020.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Any, Literal

import numpy as np

from memtrace.errors import UsageError
from memtrace.workloads.events import Made
from memtrace.workloads.options import Between
from memtrace.workloads.transformer.models import PRESETS, Preset
from memtrace.workloads.transformer.setup import TAGS, Setup, Sizes
from memtrace.workloads.transformer.tape import MOST_BYTES
from memtrace.workloads.transformer.training import Training, lengths, state_bytes

Count = Annotated[int | None, Between(1, 1 << 20, "default: the preset's")]
ELEMENT = {"fp32": 4, "fp16": 2, "bf16": 2}  # bytes of a number


def generate(
    seed: int,
    *,
    preset: Annotated[Preset, "published sizes"] = "gpt2",
    arch: Annotated[Literal["preset", "gpt", "llama"], "default: the preset's"] = "preset",
    layers: Annotated[int | None, Between(1, 10_000, "blocks")] = None,
    hidden: Annotated[int | None, Between(8, 1 << 20, "width")] = None,
    heads: Annotated[int | None, Between(1, 1 << 14, "divide hidden")] = None,
    kv_heads: Annotated[int | None, Between(1, 1 << 14, "divide heads")] = None,
    ffn: Annotated[int | None, Between(1, 1 << 22, "width of the MLP")] = None,
    vocab: Annotated[int | None, Between(2, 1 << 24, "tokens known")] = None,
    context: Annotated[int | None, Between(1, 1 << 24, "learned positions of gpt")] = None,
    tied: Annotated[Literal["preset", "true", "false"], "output layer = token table"] = "preset",
    seq: Annotated[int | None, Between(1, 1 << 24, "tokens of a sequence; default: the context, or 2,048")] = None,
    seq_min: Annotated[int | None, Between(1, 1 << 24, "shortest; each step draws from seq_min to seq")] = None,
    batch: Annotated[int, Between(1, 1 << 20, "sequences of a pass")] = 8,
    dtype: Annotated[Literal["fp32", "fp16", "bf16"], "of weights, gradients, activations"] = "bf16",
    attention: Annotated[Literal["flash", "math"], "math keeps the scores"] = "flash",
    checkpointing: Annotated[Literal["none", "selective", "full"], "what is computed again"] = "none",
    dropout: Annotated[bool, "keeps masks"] = False,
    optimizer: Annotated[Literal["adamw", "adam", "momentum", "sgd"], "its states"] = "adamw",
    clip: Annotated[bool, "clip the gradients' norm"] = True,
    accumulate: Annotated[int, Between(1, 1 << 16, "passes of a step")] = 1,
    tensor_parallel: Annotated[int, Between(1, 1 << 12, "devices that share a matrix")] = 1,
    sequence_parallel: Annotated[bool, "they share norms and residuals too"] = False,
    data_parallel: Annotated[int, Between(1, 1 << 20, "devices with the same weights")] = 1,
    zero: Annotated[int, Between(0, 3, "stage of ZeRO")] = 0,
    steps: Annotated[int, Between(1, 10**9, "training steps")] = 10,
) -> Made:
    """Return the events of the workload `gpt-train`; raises UsageError for sizes that do not divide or exceed each other."""
    base = PRESETS[preset]
    asked: dict[str, Any] = {"layers": layers, "hidden": hidden, "heads": heads, "vocab": vocab}
    given = {key: value for key, value in asked.items() if value is not None}
    base = replace(base, **given, arch=base.arch if arch == "preset" else arch)
    wide = ffn or (4 * base.hidden if hidden is not None else base.ffn)
    base = replace(base, ffn=wide, kv_heads=kv_heads or (base.heads if heads is not None else base.kv_heads))
    most = seq or context or base.context or 2048
    positions = (context or base.context or most) if base.arch == "gpt" else 0
    model = replace(base, context=positions, tied=base.tied if tied == "preset" else tied == "true")
    setup = Setup(
        model, batch, ELEMENT[dtype], attention == "flash", checkpointing, dropout, optimizer, clip, accumulate,
        tensor_parallel, sequence_parallel, data_parallel, zero,
    )  # fmt: skip
    check(setup, most, seq_min)
    training = Training(setup, most)
    drawn = lengths(np.random.default_rng(seed), seq_min or most, most)
    facts = {"parameters": str(model.parameters()), "model_state_bytes": str(state_bytes(setup))}
    return Made(training.pieces(drawn, steps, (seq_min or most) < most), TAGS, facts)


def check(setup: Setup, seq: int, seq_min: int | None) -> None:
    """Raise UsageError for options that exclude each other, which the limits of single options cannot say.

    `seq` is the longest sequence in tokens, `seq_min` the shortest or None.
    """
    model, shards = setup.model, setup.shards
    divide("heads", model.heads, "hidden", model.hidden)
    divide("kv_heads", model.kv_heads, "heads", model.heads)
    for name, value in (("heads", model.heads), ("kv_heads", model.kv_heads), ("ffn", model.ffn)):
        divide("tensor_parallel", shards, name, value)
    if model.context and seq > model.context:
        raise UsageError(f"seq={seq} is longer than context={model.context}; try seq={model.context}, or set context")
    if seq_min is not None and seq_min > seq:
        raise UsageError(f"seq_min={seq_min} is above seq={seq}")
    largest = max(int(size) for size in vars(Sizes(setup, seq)).values())  # numpy would overflow without an error
    if largest > MOST_BYTES:
        raise UsageError(f"a block of {largest:,} bytes is more than an address space holds; try a smaller seq or batch")
    if setup.sequence_parallel and shards == 1:
        raise UsageError("sequence_parallel=true needs tensor_parallel above 1")
    if setup.zero and setup.replicas == 1:
        raise UsageError(f"zero={setup.zero} needs data_parallel above 1: it cuts the states among replicas")


def divide(name: str, value: int, other: str, whole: int) -> None:
    """Raise UsageError, with the nearest value that does, unless `value` divides `whole`.

    `name` and `other` are the options that the two numbers come from.
    """
    if whole % value:
        near = min((n for n in range(1, min(2 * value, whole) + 1) if whole % n == 0), key=lambda n: abs(n - value))
        raise UsageError(f"{name}={value} does not divide {other}={whole}; the nearest that does is {near}")
