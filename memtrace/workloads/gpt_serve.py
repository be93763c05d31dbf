"""Serving a decoder-only transformer with continuous batching: weights, activations, key-value caches.

Requests arrive at `rate` a second (Poisson), with log-normal prompts and answers of the means that Kwon et al. 2023 give
for ShareGPT and Alpaca (figure 11), or as in a CSV with the columns prompt and output (lengths=FILE). In each iteration
every running sequence gets a token; waiting requests are admitted first come, first served, as long as their caches fit
kv_memory.

kv is how a sequence's cache is kept: max reserves max_len tokens, pow2 the prompt and the next power of two of the answer,
oracle exactly what will be needed (the three variants of Orca in Kwon et al. 2023), grow doubles its block and copies, pages
takes pages of `page` tokens. Where pages or grow find no room, the last admitted sequence is preempted and computed again.
prefix_share of the requests begin with the same prefix_tokens; pages keeps the whole pages of this prefix only once.

Source: Yu et al. 2022 (Orca); Kwon et al. 2023 (PagedAttention).
"""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np

from memtrace.errors import UsageError
from memtrace.units import format_size
from memtrace.workloads.events import Made
from memtrace.workloads.options import Between, Bytes
from memtrace.workloads.serving.engine import TAGS, Run
from memtrace.workloads.serving.lengths import MEANS, Requests, drawn, from_file, poisson, shortened
from memtrace.workloads.serving.scheduler import KINDS, Rules
from memtrace.workloads.transformer.models import PRESETS, Preset
from memtrace.workloads.transformer.setup import Setup

BANDWIDTH = 1.555e12  # bytes a second of the memory of an A100 of 40 GB
RATE = 156e12  # operations a second: half of an A100's peak of 16-bit operations


def generate(
    seed: int,
    *,
    preset: Annotated[Preset, "published sizes"] = "opt-13b",
    requests: Annotated[int, Between(1, 10**8, "served in all")] = 100,
    rate: Annotated[float, Between(1e-6, 1e6, "requests a second")] = 2.0,
    lengths: Annotated[str, "sharegpt, alpaca, or a CSV file"] = "sharegpt",
    prompt_mean: Annotated[float | None, Between(1, 1e6, "tokens; default: as in lengths")] = None,
    output_mean: Annotated[float | None, Between(1, 1e6, "tokens; default: as in lengths")] = None,
    max_len: Annotated[int, Between(2, 1 << 24, "tokens of prompt and answer")] = 2048,
    kv: Annotated[Literal["max", "pow2", "oracle", "grow", "pages"], "how caches are kept"] = "pages",
    page: Annotated[int, Between(1, 1 << 16, "tokens of a page")] = 16,
    kv_memory: Annotated[int, Bytes(1, 1 << 50, "room for caches")] = 12 << 30,
    running: Annotated[int, Between(1, 1 << 16, "sequences at most")] = 256,
    prefix_tokens: Annotated[int, Between(0, 1 << 20, "of the shared prefix")] = 0,
    prefix_share: Annotated[float, Between(0, 1, "of the requests begin with it")] = 0.0,
    tensor_parallel: Annotated[int, Between(1, 1 << 12, "devices that share a model")] = 1,
    weights: Annotated[bool, "of the model"] = True,
    activations: Annotated[bool, "of each iteration"] = True,
) -> Made:
    """Return the events of the workload `gpt-serve`; raises UsageError if a single sequence would not fit."""
    given = {key: value for key, value in locals().items() if key != "seed"}
    run = prepare(np.random.default_rng(seed), **given)
    facts = {
        "kv_bytes_per_token": str(run.rules.token_bytes),
        "mean_prompt_tokens": f"{run.requests.prompt.mean():.2f}",
        "mean_output_tokens": f"{run.requests.output.mean():.2f}",
    }
    return Made(run.pieces(), TAGS, facts)


def prepare(
    rng: np.random.Generator, preset: str, requests: int, rate: float, lengths: str, prompt_mean: float | None,
    output_mean: float | None, max_len: int, kv: str, page: int, kv_memory: int, running: int, prefix_tokens: int,
    prefix_share: float, tensor_parallel: int, weights: bool, activations: bool,
) -> Run:  # fmt: skip
    """Return the run whose events `generate` returns; the options have the names and meanings of `generate`.

    Raises UsageError for options that exclude each other.
    """
    model = PRESETS[preset]
    if model.kv_heads % tensor_parallel:
        raise UsageError(f"tensor_parallel={tensor_parallel} does not divide the {model.kv_heads} key-value heads of {preset}")
    setup = Setup(model, 1, 2, shards=tensor_parallel)
    token_bytes = 2 * model.layers * (model.kv_width // tensor_parallel) * setup.element
    prefix = prefix_tokens // page * page if kv == "pages" and prefix_share else 0
    if prefix_tokens >= max_len:
        raise UsageError(f"prefix_tokens={prefix_tokens} leaves nothing of max_len={max_len}")
    given = _lengths(rng, requests, lengths, (prompt_mean, output_mean), max_len - prefix_tokens)
    prefixed = rng.random(requests) < prefix_share
    prompt = given[0] + np.where(prefixed, prefix_tokens, 0)
    cache = kv_memory // token_bytes - prefix
    needed = (4 if kv == "grow" else 1) * max_len + page  # a growing block is there twice, and up to twice too large
    if cache < needed:
        room = format_size((needed + prefix) * token_bytes)
        raise UsageError(
            f"kv_memory={kv_memory} has no room for a sequence of max_len={max_len}; it takes {room} ({token_bytes:,} B a token)"
        )
    count = model.parameters(tensor_parallel)
    times = (int(2 * count / BANDWIDTH * 1e9), token_bytes / BANDWIDTH * 1e9, 2 * count / RATE * 1e9)
    rules = Rules(KINDS.index(kv), page, max_len, running, token_bytes, prefix, *times)
    return Run(setup, rules, Requests(prompt, given[1], poisson(rng, requests, rate), prefixed), cache, weights, activations)


def _lengths(
    rng: np.random.Generator, count: int, kind: str, means: tuple[float | None, float | None], longest: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return the tokens of `count` prompts and answers, shortened so that both together have at most `longest` tokens.

    `kind` is a key of MEANS or the path of a CSV file; `means` replace those of the kind where not None.
    """
    prompt, output = drawn(rng, count, kind, means) if kind in MEANS else from_file(kind, count)
    return shortened(prompt, output, longest)
