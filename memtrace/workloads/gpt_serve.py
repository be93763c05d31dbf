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

from dataclasses import dataclass
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


@dataclass(frozen=True, kw_only=True)
class Options:
    """The options of `generate`, checked one by one."""

    preset: str  # key of PRESETS
    requests: int  # served in all
    rate: float  # requests a second
    lengths: str  # key of MEANS, or the path of a CSV file
    prompt_mean: float | None  # tokens; None: as in `lengths`
    output_mean: float | None  # tokens; None: as in `lengths`
    max_len: int  # tokens of prompt and answer, at most
    kv: str  # one of KINDS: how caches are kept
    page: int  # tokens of a page
    kv_memory: int  # bytes of room for caches
    running: int  # sequences at most
    prefix_tokens: int  # of the shared prefix
    prefix_share: float  # of the requests begin with it
    tensor_parallel: int  # devices that share a model
    weights: bool  # the trace has those of the model
    activations: bool  # the trace has those of each iteration


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
    run = prepare(np.random.default_rng(seed), Options(**given))
    facts = {
        "kv_bytes_per_token": str(run.rules.token_bytes),
        "mean_prompt_tokens": f"{run.requests.prompt.mean():.2f}",
        "mean_output_tokens": f"{run.requests.output.mean():.2f}",
    }
    return Made(run.pieces(), TAGS, facts)


def prepare(rng: np.random.Generator, asked: Options) -> Run:
    """Return the run whose events `generate` returns; raises UsageError for options that exclude each other."""
    model = PRESETS[asked.preset]
    shards, longest, page = asked.tensor_parallel, asked.max_len, asked.page
    if model.kv_heads % shards:
        raise UsageError(f"tensor_parallel={shards} does not divide the {model.kv_heads} key-value heads of {asked.preset}")
    setup = Setup(model, 1, 2, shards=shards)
    token_bytes = 2 * model.layers * (model.kv_width // shards) * setup.element
    prefix = asked.prefix_tokens // page * page if asked.kv == "pages" and asked.prefix_share else 0
    if asked.prefix_tokens >= longest:
        raise UsageError(f"prefix_tokens={asked.prefix_tokens} leaves nothing of max_len={longest}")
    means = (asked.prompt_mean, asked.output_mean)
    own, output = _lengths(rng, asked.requests, asked.lengths, means, longest - asked.prefix_tokens)
    prefixed = rng.random(asked.requests) < asked.prefix_share
    cache = asked.kv_memory // token_bytes - prefix
    needed = (4 if asked.kv == "grow" else 1) * longest + page  # a growing block is there twice, and up to twice too large
    if cache < needed:
        room = format_size((needed + prefix) * token_bytes)
        raise UsageError(
            f"kv_memory={asked.kv_memory} has no room for a sequence of max_len={longest}; "
            f"it takes {room} ({token_bytes:,} B a token)"
        )
    count = model.parameters(shards)
    rules = Rules(
        kind=KINDS.index(asked.kv),
        page=page,
        longest=longest,
        most_running=asked.running,
        token_bytes=token_bytes,
        prefix=prefix,
        base_ns=int(2 * count / BANDWIDTH * 1e9),
        held_ns=token_bytes / BANDWIDTH * 1e9,
        token_ns=2 * count / RATE * 1e9,
    )
    prompt = own + np.where(prefixed, asked.prefix_tokens, 0)
    arrival = poisson(rng, asked.requests, asked.rate)
    return Run(
        setup=setup,
        rules=rules,
        requests=Requests(prompt=prompt, output=output, arrival=arrival, prefixed=prefixed),
        cache_tokens=cache,
        weights=asked.weights,
        activations=asked.activations,
    )


def _lengths(
    rng: np.random.Generator, count: int, kind: str, means: tuple[float | None, float | None], longest: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return the tokens of `count` prompts and answers, shortened so that both together have at most `longest` tokens.

    `kind` is a key of MEANS or the path of a CSV file; `means` replace those of the kind where not None.
    """
    prompt, output = drawn(rng, count, kind, means) if kind in MEANS else from_file(kind, count)
    return shortened(prompt, output, longest)
