"""Serving a decoder-only transformer with continuous batching: weights, activations, key-value caches.

Requests arrive at `rate` a second (Poisson), with log-normal prompts and answers of the means that Kwon et al. 2023 give
for ShareGPT and Alpaca (figure 11), or as in a CSV with the columns prompt and output (lengths=FILE). In each iteration
every running sequence gets a token; waiting requests are admitted first come, first served, as long as their caches fit
kv_memory.

kv is how a sequence's cache is kept: max reserves max_len tokens, pow2 the prompt and the next power of two of the answer,
oracle exactly what will be needed (the three variants of Orca in Kwon et al. 2023), grow doubles its block and copies, pages
takes pages of `page` tokens. Where pages or grow find no room, the last admitted sequence is preempted and computed again.
prefix_share of the requests begin with the same prefix_tokens; pages keeps the whole pages of this prefix only once.

engine=vllm serves by the rules of vLLM 0.33.0, to the event: at most `budget` tokens are computed in an iteration, long prompts
in chunks; a request is admitted if the pages of its whole prompt are free (whole_prompt) beside the watermark; with caching, a
page that nobody uses is found again by its content until it is taken for other tokens. The requests with a prefix have one of
`prefixes` different ones, as likely each; `turns` requests in a row are a conversation, each `pause` seconds after the one
before, and repeat all that was said. Page 0 of the pool is never used. The trace has a page as long as a request uses it; one
that is found after nobody used it is allocated again with the tag "kv-cache found". Not modelled: asynchronous scheduling,
priorities, sliding windows, more than one group of caches.

Source: Yu et al. 2022 (Orca); Kwon et al. 2023 (PagedAttention); vLLM 0.33.0, V1 engine.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal, NamedTuple

import numpy as np

from memtrace.errors import UsageError
from memtrace.units import format_size
from memtrace.workloads.events import Made
from memtrace.workloads.options import Between, Bytes
from memtrace.workloads.serving import vllm
from memtrace.workloads.serving.engine import TAGS, Plain, Run, Vllm
from memtrace.workloads.serving.lengths import MEANS, Requests, drawn, from_file, poisson, shortened
from memtrace.workloads.serving.scheduler import KINDS, Rules
from memtrace.workloads.transformer.models import PRESETS, Preset
from memtrace.workloads.transformer.setup import Setup

BANDWIDTH = 1.555e12  # bytes a second of the memory of an A100 of 40 GB
RATE = 156e12  # operations a second: half of an A100's peak of 16-bit operations
VLLM_ONLY = ("budget", "caching", "whole_prompt", "watermark", "lookahead", "prefixes", "turns", "pause")


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
    engine: str = "plain"  # plain, or vllm
    budget: int = 8192  # vllm: tokens computed in an iteration, at most
    caching: bool = True  # vllm: pages are found again by their content
    whole_prompt: bool = True  # vllm: admission needs the pages of the whole prompt
    watermark: float = 0.0  # vllm: share of the pool that an admission leaves free
    lookahead: int = 0  # vllm: tokens for which a request holds pages in advance
    prefixes: int = 1  # vllm: number of different prefixes
    turns: int = 1  # vllm: requests of a conversation
    pause: float = 60.0  # vllm: seconds between the requests of a conversation


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
    engine: Annotated[Literal["plain", "vllm"], "whose rules"] = "plain",
    budget: Annotated[int, Between(1, 1 << 24, "vllm: tokens of an iteration")] = Options.budget,
    caching: Annotated[bool, "vllm: of prefixes"] = Options.caching,
    whole_prompt: Annotated[bool, "vllm: must fit at admission"] = Options.whole_prompt,
    watermark: Annotated[float, Between(0, 1, "vllm: of the pool")] = Options.watermark,
    lookahead: Annotated[int, Between(0, 1 << 10, "vllm: tokens")] = Options.lookahead,
    prefixes: Annotated[int, Between(1, 10**6, "vllm: different ones")] = Options.prefixes,
    turns: Annotated[int, Between(1, 1000, "vllm: of a conversation")] = Options.turns,
    pause: Annotated[float, Between(0, 1e6, "vllm: seconds between turns")] = Options.pause,
) -> Made:
    """Return the events of the workload `gpt-serve`; raises UsageError if a single sequence would not fit."""
    given = {key: value for key, value in locals().items() if key != "seed"}
    run, facts = prepare(np.random.default_rng(seed), Options(**given))
    return Made(run.pieces(), TAGS, facts)


def prepare(rng: np.random.Generator, asked: Options) -> tuple[Run, dict[str, str]]:
    """Return the run whose events `generate` returns, and what is known of it before.

    Raises UsageError for options that exclude each other.
    """
    model = PRESETS[asked.preset]
    shards, longest = asked.tensor_parallel, asked.max_len
    if model.kv_heads % shards:
        raise UsageError(f"tensor_parallel={shards} does not divide the {model.kv_heads} key-value heads of {asked.preset}")
    others = [name for name in VLLM_ONLY if getattr(asked, name) != getattr(Options, name)]
    if asked.engine == "plain" and others:
        raise UsageError(f"{others[0]} is an option of engine=vllm; add engine=vllm, or leave {others[0]} out")
    if asked.prefix_tokens >= longest:
        raise UsageError(f"prefix_tokens={asked.prefix_tokens} leaves nothing of max_len={longest}")
    setup = Setup(model, 1, 2, shards=shards)
    token_bytes = 2 * model.layers * (model.kv_width // shards) * setup.element
    count = model.parameters(shards)
    pace = Pace(
        base_ns=int(2 * count / BANDWIDTH * 1e9),
        held_ns=token_bytes / BANDWIDTH * 1e9,
        token_ns=2 * count / RATE * 1e9,
    )
    served = (_plain if asked.engine == "plain" else _vllm)(rng, asked, token_bytes, pace)
    prompt, output = (served.requests if isinstance(served, Plain) else served.texts)[:2]
    facts = {
        "kv_bytes_per_token": str(token_bytes),
        "mean_prompt_tokens": f"{prompt.mean():.2f}",
        "mean_output_tokens": f"{output.mean():.2f}",
    }
    return Run(setup, served, asked.weights, asked.activations), facts


class Pace(NamedTuple):
    """The time of an iteration: so much for the weights, and for each token held in a cache and each one computed, in ns."""

    base_ns: int
    held_ns: float
    token_ns: float


def _plain(rng: np.random.Generator, asked: Options, token_bytes: int, pace: Pace) -> Plain:
    """Return the plain scheduler with the requests that are asked for; raises UsageError if a sequence would not fit."""
    longest, page = asked.max_len, asked.page
    prefix = asked.prefix_tokens // page * page if asked.kv == "pages" and asked.prefix_share else 0
    own, output = _lengths(rng, asked, longest - asked.prefix_tokens)
    prefixed = rng.random(asked.requests) < asked.prefix_share
    cache = asked.kv_memory // token_bytes - prefix
    needed = (4 if asked.kv == "grow" else 1) * longest + page  # a growing block is there twice, and up to twice too large
    _check_room(asked, cache, needed, prefix, token_bytes)
    rules = Rules(
        kind=KINDS.index(asked.kv),
        page=page,
        longest=longest,
        most_running=asked.running,
        token_bytes=token_bytes,
        prefix=prefix,
        base_ns=pace.base_ns,
        held_ns=pace.held_ns,
        token_ns=pace.token_ns,
    )
    prompt = own + np.where(prefixed, asked.prefix_tokens, 0)
    arrival = poisson(rng, asked.requests, asked.rate)
    return Plain(rules, Requests(prompt=prompt, output=output, arrival=arrival, prefixed=prefixed), cache)


def _vllm(rng: np.random.Generator, asked: Options, token_bytes: int, pace: Pace) -> Vllm:
    """Return vLLM's scheduler with the requests that are asked for; raises UsageError if a sequence would not fit."""
    if asked.kv != "pages":
        raise UsageError(f"engine=vllm keeps caches in pages; kv={asked.kv} is for engine=plain")
    page, longest = asked.page, asked.max_len
    pages = asked.kv_memory // (page * token_bytes)
    _check_room(asked, (pages - 1) * page, longest + asked.lookahead + page, 0, token_bytes)
    rules = vllm.Rules(
        page=page,
        most_running=asked.running,
        budget=asked.budget,
        caching=asked.caching,
        whole_prompt=asked.whole_prompt,
        lookahead=asked.lookahead,
        watermark=int(asked.watermark * pages),
        base_ns=pace.base_ns,
        held_ns=pace.held_ns,
        token_ns=pace.token_ns,
        all_kinds=False,
    )
    return Vllm(rules, conversations(rng, asked), pages, page * token_bytes)


def conversations(rng: np.random.Generator, asked: Options) -> vllm.Texts:
    """Return the requests of engine=vllm, in the order of arrival.

    Every `turns` requests in a row are a conversation. It begins at a time of the Poisson process; a prompt is all that was
    said before, and the new question. A conversation that would become longer than `max_len` starts anew, with the same
    prefix.
    """
    count, turns = asked.requests, asked.turns
    own, output = _lengths(rng, asked, asked.max_len - asked.prefix_tokens)
    talks = -(-count // turns)
    prefixed = rng.random(talks) < asked.prefix_share
    shared = rng.integers(asked.prefixes, size=talks)
    begin = poisson(rng, talks, asked.rate / turns)
    talk, turn = np.arange(count) // turns, np.arange(count) % turns
    lead = np.where(prefixed, asked.prefix_tokens, 0)[talk]
    prompt, text = lead + own, asked.prefixes + np.arange(count)
    for later in range(1, turns):
        at = np.arange(later, count, turns)  # this turn of every conversation that has so many
        whole = prompt[at - 1] + output[at - 1] + own[at]
        goes_on = whole + output[at] <= asked.max_len
        prompt[at] = np.where(goes_on, whole, prompt[at])
        text[at] = np.where(goes_on, text[at - 1], text[at])
    arrival = begin[talk] + (turn * asked.pause * 1e9).astype(np.int64)
    order = np.argsort(arrival, kind="stable")
    return vllm.Texts(
        prompt=prompt[order],
        output=output[order],
        arrival=arrival[order],
        shared=shared[talk][order],
        shared_tokens=lead[order],
        own=text[order],
    )


def _check_room(asked: Options, cache: int, needed: int, prefix: int, token_bytes: int) -> None:
    """Raise UsageError if there is room for fewer than ``needed`` tokens beside those of the prefix."""
    if cache < needed:
        room = format_size((needed + prefix) * token_bytes)
        raise UsageError(
            f"kv_memory={asked.kv_memory} has no room for a sequence of max_len={asked.max_len}; "
            f"it takes {room} ({token_bytes:,} B a token)"
        )


def _lengths(rng: np.random.Generator, asked: Options, longest: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the tokens of prompts and answers, shortened so that both together have at most ``longest`` tokens."""
    means = (asked.prompt_mean, asked.output_mean)
    count, kind = asked.requests, asked.lengths
    prompt, output = drawn(rng, count, kind, means) if kind in MEANS else from_file(kind, count)
    return shortened(prompt, output, longest)
