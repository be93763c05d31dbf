"""Agents in the Auto-GPT loop: plan, act, observe, over a context that grows, is cut and summarised.

Each step of an agent plans (a prompt is built of the whole context, a key-value cache is held while the model runs, a plan comes
out), acts (a tool returns a few or very many bytes, which are parsed) and observes (a message joins the context). A context
beyond its limit has its older half freed and replaced by a summary. An agent may fork sub-agents, which copy its context, live
for a few steps and leave their result. All write into one long-term store, whose entries are merged into segments, and small
segments into larger ones, as in a log-structured index. Streams are threads: each agent has one of `threads`, the store's is the
last. Sizes: 4 bytes of text a token; an embedding of 1,536 floats an entry; 128 KiB of cache a token, as in a model of 7 to 8
billion parameters with grouped queries.

Source: the loop of Yao et al. 2023 (ReAct) and Auto-GPT; the store's merging is O'Neil et al. 1996.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Annotated

import numpy as np

from memtrace.workloads.chance import lognormal
from memtrace.workloads.events import Made
from memtrace.workloads.lifespans import NEVER, SECOND, Spans, Stretch, events
from memtrace.workloads.options import Between, Bytes

TAGS = ("prompt", "kv-cache", "plan", "tool-output", "parsed", "message", "summary", "entry", "segment", "fork")
PROMPT, KV_CACHE, PLAN, TOOL, PARSED, MESSAGE, SUMMARY, ENTRY, SEGMENT, FORK = range(10)

MILLISECOND = 1_000_000
TEXT = 4  # bytes of a token
EMBEDDING = 1536 * 4
SYSTEM_TOKENS = 800
TOGETHER = 32  # agents planned together
MERGED = 8  # segments that become one
FORK_DEPTH = 2


def generate(
    seed: int,
    *,
    agents: Annotated[int, Between(1, 10**7, "started in all")] = 200,
    rate: Annotated[float, Between(1e-4, 1e5, "agents started a second")] = 0.5,
    steps: Annotated[float, Between(1, 1e5, "mean steps of an agent")] = 20.0,
    context: Annotated[int, Between(1000, 1 << 24, "tokens, beyond which it is summarised")] = 8192,
    tool_tokens: Annotated[float, Between(1, 1e7, "mean of a tool's output")] = 900.0,
    forks: Annotated[float, Between(0, 1, "share of steps that fork a sub-agent")] = 0.04,
    stored: Annotated[float, Between(0, 1, "share of steps that write into the store")] = 0.5,
    segment: Annotated[int, Between(2, 1 << 20, "entries that become a segment")] = 64,
    threads: Annotated[int, Between(1, 1 << 16, "of agents")] = 8,
    kv_token: Annotated[int, Bytes(0, 1 << 30, "of a token in the cache; 0: the model runs elsewhere")] = 131_072,
) -> Made:
    """Events of `agent`."""
    rng = np.random.default_rng(seed)
    world = _World(rng, agents, rate, steps, context, tool_tokens, forks, stored, segment, threads, kv_token)
    return Made(events(world.stretches()), TAGS)


@dataclass
class _Block:
    birth: int
    size: int
    tag: int
    stream: int
    death: int = NEVER
    number: int = -1  # once it was handed over


@dataclass
class _World:
    rng: np.random.Generator
    agents: int
    rate: float
    steps: float
    context: int
    tool_tokens: float
    forks: float
    stored: float
    segment: int
    threads: int
    kv_token: int
    blocks: list[_Block] = field(default_factory=list)  # planned, not yet handed over
    entries: list[_Block] = field(default_factory=list)  # in the store, not yet merged
    levels: list[list[_Block]] = field(default_factory=list)  # segments by how often they were merged
    late: list[_Block] = field(default_factory=list)  # handed over as staying, and merged since
    given: int = 0
    until: int = 0  # the end of the stretch before

    def stretches(self) -> Iterator[Stretch]:
        start, left, number = 0, self.agents, 0
        while left:
            count = min(left, TOGETHER)
            for gap in (-np.log1p(-self.rng.random(count)) / self.rate).tolist():
                start += int(gap * SECOND)
                self._agent(start, [self._message(start, SYSTEM_TOKENS, number)], number, 0)
                number += 1
            left -= count
            end = start if left else NEVER
            self._store(end)
            yield self._stretch(end)
            self.until = end

    def _new(self, birth: int, size: int, tag: int, stream: int, death: int = NEVER) -> _Block:
        made = _Block(birth, max(1, size), tag, stream, death)
        self.blocks.append(made)
        return made

    def _message(self, birth: int, tokens: int, number: int) -> _Block:
        return self._new(birth, tokens * TEXT, MESSAGE, number % self.threads)

    def _agent(self, start: int, context: list[_Block], number: int, depth: int) -> int:
        """The loop, from `start`; returns when it ends."""
        rng, now = self.rng, start
        for _ in range(1 + int(-np.log1p(-rng.random()) * self.steps / (1 + 3 * depth))):
            now = self._plan(now, context, number)
            if depth < FORK_DEPTH and rng.random() < self.forks:
                now = self._fork(now, context, number, depth)
            now = self._act(now, context, number)
            self._cut(now, context, number)
        for message in context:
            message.death = now + MILLISECOND
        return now + MILLISECOND

    def _plan(self, now: int, context: list[_Block], number: int) -> int:
        """The prompt is the whole context; the plan is a message of it."""
        thread, tokens = number % self.threads, sum(message.size for message in context) // TEXT
        answer = 1 + int(lognormal(self.rng, 1, 180, 0.8)[0])
        done = now + 50 * MILLISECOND + tokens * 100_000 + answer * 20 * MILLISECOND
        self._new(now, tokens * TEXT, PROMPT, thread, now + 5 * MILLISECOND)
        if self.kv_token:
            self._new(now + MILLISECOND, (tokens + answer) * self.kv_token, KV_CACHE, thread, done)
        self._new(done - MILLISECOND, answer * 40, PARSED, thread, done + MILLISECOND)
        plan = self._new(done, answer * TEXT, PLAN, thread)
        context.append(plan)
        return done

    def _act(self, now: int, context: list[_Block], number: int) -> int:
        """A tool's output is parsed, cut to a message, and perhaps stored."""
        rng, thread = self.rng, number % self.threads
        tokens = 1 + int(lognormal(rng, 1, self.tool_tokens, 2.0)[0])
        done = now + int(lognormal(rng, 1, 1.5, 1.5)[0] * SECOND)
        observed = done + 10 * MILLISECOND
        self._new(done, tokens * TEXT, TOOL, thread, observed + MILLISECOND)
        parts = 1 + min(64, tokens // 100)
        for part in range(parts):
            self._new(done + (part + 1) * 10_000, 64 + tokens * TEXT // parts, PARSED, thread, observed)
        context.append(self._message(observed, min(tokens, self.context // 4), number))
        if rng.random() < self.stored:
            entry = self._new(observed + MILLISECOND, EMBEDDING + min(tokens, 512) * TEXT, ENTRY, self.threads)
            self.entries.append(entry)
        return observed + 2 * MILLISECOND

    def _cut(self, now: int, context: list[_Block], number: int) -> None:
        """Beyond the limit the older half, but for the system's message, becomes a summary."""
        if sum(message.size for message in context) <= self.context * TEXT:
            return
        half = context[1 : 1 + len(context) // 2]
        size = max(64, sum(message.size for message in half) // 8)
        for message in half:
            message.death = now + MILLISECOND
        context[1 : 1 + len(half)] = [self._new(now, size, SUMMARY, number % self.threads)]

    def _fork(self, now: int, context: list[_Block], number: int, depth: int) -> int:
        """A sub-agent copies the context, lives for a few steps, and leaves a message."""
        thread = (number + depth + 1) % self.threads
        copies = [self._new(now + 1000 * place, old.size, FORK, thread) for place, old in enumerate(context)]
        done = self._agent(now + MILLISECOND, copies, number + depth + 1, depth + 1)
        context.append(self._message(done, 1 + int(lognormal(self.rng, 1, 150, 0.5)[0]), number))
        return done + MILLISECOND

    def _store(self, end: int) -> None:
        """Merge the entries that are known to be all there are before `end`."""
        self.entries.sort(key=lambda entry: entry.birth)
        while len(self.entries) >= self.segment and self.entries[self.segment - 1].birth + SECOND < end:
            merged, self.entries = self.entries[: self.segment], self.entries[self.segment :]
            self._merge(merged, max(merged[-1].birth + MILLISECOND, self.until), 0)

    def _merge(self, parts: list[_Block], now: int, level: int) -> None:
        while len(self.levels) <= level:
            self.levels.append([])
        self.levels[level].append(self._new(now, sum(part.size for part in parts), SEGMENT, self.threads))
        for part in parts:
            part.death = now + 100 * MILLISECOND
            if part.number >= 0:
                self.late.append(part)
        if len(self.levels[level]) == MERGED:
            full, self.levels[level] = self.levels[level], []
            self._merge(full, now + 200 * MILLISECOND, level + 1)

    def _stretch(self, end: int) -> Stretch:
        """All that is planned; a block of the store is given before it is known when it will be merged."""
        blocks, late = self.blocks, self.late
        self.blocks, self.late = [], []
        for block in blocks:
            block.number, self.given = self.given, self.given + 1
        ended = np.array([(block.number, block.death) for block in late], np.int64).reshape(-1, 2)
        return Stretch(end, _spans(blocks), ended[:, 0], ended[:, 1], self.threads)


def _spans(blocks: list[_Block]) -> Spans:
    table = np.array([(b.birth, b.death, b.size, b.tag, b.stream) for b in blocks], np.int64).reshape(-1, 5)
    return Spans(table[:, 0], table[:, 1], table[:, 2], table[:, 3].astype(np.int32), table[:, 4])
