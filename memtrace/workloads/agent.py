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

# Names of tags, and their indices.
TAGS = ("prompt", "kv-cache", "plan", "tool-output", "parsed", "message", "summary", "entry", "segment", "fork")
PROMPT, KV_CACHE, PLAN, TOOL, PARSED, MESSAGE, SUMMARY, ENTRY, SEGMENT, FORK = range(10)

MILLISECOND = 1_000_000
TEXT = 4  # bytes of a token's text
EMBEDDING = 1536 * 4  # bytes of an entry's embedding
SYSTEM_TOKENS = 800  # tokens of the first message of a context
TOGETHER = 32  # agents that are planned together
MERGED = 8  # segments that are merged into one of the next level
FORK_DEPTH = 2  # sub-agents of sub-agents do not fork


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
    """Return the events of the workload `agent`, as its module describes."""
    rng = np.random.default_rng(seed)
    world = _World(rng, agents, rate, steps, context, tool_tokens, forks, stored, segment, threads, kv_token)
    return Made(events(world.stretches()), TAGS)


@dataclass
class _Block:
    """Describe a planned block."""

    birth: int  # ns
    size: int  # bytes
    tag: int  # index in TAGS
    stream: int  # the agent's thread; the store's is the last
    death: int = NEVER  # ns
    number: int = -1  # its number among all blocks returned, -1 before that


@dataclass
class _World:
    """Simulate the agents and their store, and plan the blocks that they allocate.

    All times are in nanoseconds. The options have the names and meanings of `generate`.
    """

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
    blocks: list[_Block] = field(default_factory=list)  # planned blocks that no stretch has yet
    entries: list[_Block] = field(default_factory=list)  # entries in the store that are not merged yet
    levels: list[list[_Block]] = field(default_factory=list)  # [level] segments that were merged so many times
    late: list[_Block] = field(default_factory=list)  # blocks that an earlier stretch had without a death, and that now have one
    given: int = 0  # number of blocks in earlier stretches
    until: int = 0  # end of the last stretch, ns

    def stretches(self) -> Iterator[Stretch]:
        """Yield the blocks in stretches of time, each with the blocks of TOGETHER agents."""
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
        """Plan a block and return it, so that its death can be set later; sizes below 1 become 1."""
        made = _Block(birth, max(1, size), tag, stream, death)
        self.blocks.append(made)
        return made

    def _message(self, birth: int, tokens: int, number: int) -> _Block:
        """Plan a message of this many tokens in the context of agent `number`, and return its block."""
        return self._new(birth, tokens * TEXT, MESSAGE, number % self.threads)

    def _agent(self, start: int, context: list[_Block], number: int, depth: int) -> int:
        """Run an agent's loop from time `start` with the given messages as context, and return the time when it ends.

        `number` determines the agent's thread, `depth` is how many agents are above a sub-agent.
        """
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
        """Plan a step: a prompt of the whole context, and an answer that joins the context; returns the time when it is done."""
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
        """Call a tool: its output is parsed, shortened to a message of the context, and perhaps stored.

        Returns the time when the step ends.
        """
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
        """Replace the older half of a context that is beyond the limit by a summary, in place.

        The first message, the system's, stays.
        """
        if sum(message.size for message in context) <= self.context * TEXT:
            return
        half = context[1 : 1 + len(context) // 2]
        size = max(64, sum(message.size for message in half) // 8)
        for message in half:
            message.death = now + MILLISECOND
        context[1 : 1 + len(half)] = [self._new(now, size, SUMMARY, number % self.threads)]

    def _fork(self, now: int, context: list[_Block], number: int, depth: int) -> int:
        """Run a sub-agent on a copy of the context; it leaves a message. Returns the time when it has ended."""
        thread = (number + depth + 1) % self.threads
        copies = [self._new(now + 1000 * place, old.size, FORK, thread) for place, old in enumerate(context)]
        done = self._agent(now + MILLISECOND, copies, number + depth + 1, depth + 1)
        context.append(self._message(done, 1 + int(lognormal(self.rng, 1, 150, 0.5)[0]), number))
        return done + MILLISECOND

    def _store(self, end: int) -> None:
        """Merge stored entries into segments, as far as all entries born by then are known at time `end`."""
        self.entries.sort(key=lambda entry: entry.birth)
        while len(self.entries) >= self.segment and self.entries[self.segment - 1].birth + SECOND < end:
            merged, self.entries = self.entries[: self.segment], self.entries[self.segment :]
            self._merge(merged, max(merged[-1].birth + MILLISECOND, self.until), 0)

    def _merge(self, parts: list[_Block], now: int, level: int) -> None:
        """Merge entries or segments into one segment of this level.

        When a level has MERGED segments, they are merged into one of the next level.
        """
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
        """Return all planned blocks as a stretch that ends at `end`.

        A store's block is returned before the time of its merging is known, so its death may follow in a later stretch.
        """
        blocks, late = self.blocks, self.late
        self.blocks, self.late = [], []
        for block in blocks:
            block.number, self.given = self.given, self.given + 1
        ended = np.array([(block.number, block.death) for block in late], np.int64).reshape(-1, 2)
        return Stretch(end, _spans(blocks), ended[:, 0], ended[:, 1], self.threads)


def _spans(blocks: list[_Block]) -> Spans:
    """Return the planned blocks as columns."""
    table = np.array([(b.birth, b.death, b.size, b.tag, b.stream) for b in blocks], np.int64).reshape(-1, 5)
    return Spans(table[:, 0], table[:, 1], table[:, 2], table[:, 3].astype(np.int32), table[:, 4])
