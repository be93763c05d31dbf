"""Generate the events of a serving run: the scheduler's events, with the activations of each iteration between them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from memtrace.trace.batches import MISSING
from memtrace.trace.model import Int32s, Int64s, Op
from memtrace.workloads.events import Piece
from memtrace.workloads.serving import scheduler, vllm
from memtrace.workloads.serving.lengths import Requests
from memtrace.workloads.serving.scheduler import Engine, Out, Rules
from memtrace.workloads.transformer.forward import Forward
from memtrace.workloads.transformer.setup import TEMPORARY, Setup, Sizes
from memtrace.workloads.transformer.states import States
from memtrace.workloads.transformer.tape import Tape, Template

# Names of tags (the first are those of transformer.setup), and indices of the last two.
KINDS = ("weight", "gradient", "optimizer", "activation", "temporary", "workspace", "input")
TAGS = (*KINDS, "kv-cache", "prefix", "kv-cache found")
KV_CACHE, PREFIX, FOUND = 7, 8, 9
ITERATION_EVENTS = 1 << 18  # about the number of activation events that one piece has
ITERATIONS = 1 << 12  # iterations of a piece if activations are left out


class Served(NamedTuple):
    """Describe some iterations: the events of the caches, and what the model computes in each."""

    op: NDArray[np.uint8]
    id: Int64s  # of the caches' blocks, from 0 on
    size: Int64s  # bytes, MISSING for a free
    dst: Int64s  # second block of a copy, else MISSING
    tag: Int32s  # index in TAGS, -1 but for an alloc
    iteration: Int32s  # number of these iterations in which the model ran before the event
    tokens: Int64s  # [iteration] tokens computed
    sequences: Int64s  # [iteration] running sequences
    time: Int64s  # [iteration] ns at which the model's run begins
    end: Int64s  # [iteration] ns at which it ends


class Scheduler(Protocol):
    """Decide which requests run, and where their caches are, until all are served."""

    @property
    def prefix_bytes(self) -> list[int]:
        """Sizes of the blocks that are allocated before the first iteration, and stay."""

    def served(self, iterations: int) -> Iterator[Served]:
        """Yield what happens in the coming iterations, at most so many at once; the arrays are used again for the next."""


@dataclass
class Plain:
    """Serve first come, first served, without a bound of the tokens of an iteration; see `scheduler`."""

    rules: Rules
    requests: Requests
    cache_tokens: int  # tokens for which the caches have room
    engine: Engine = field(init=False)

    def __post_init__(self) -> None:
        """Set up the scheduler's state: no sequence runs, and all room is free."""
        count, running = self.requests.prompt.size, self.rules.most_running
        pages = self.cache_tokens // self.rules.page if self.rules.kind == scheduler.PAGES else 0
        request, tokens, held, block = (np.zeros(running, np.int64) for _ in range(4))
        free = np.arange(pages)[::-1].copy()
        counts = np.zeros(9, np.int64)
        room = pages * self.rules.page if pages else self.cache_tokens
        counts[scheduler.FREE_TOKENS], counts[scheduler.FREE_PAGES] = room, pages
        made, again, sums = np.zeros(count, np.int64), np.zeros(running + 1, np.int64), np.zeros(5)
        self.engine = Engine(
            request=request,
            tokens=tokens,
            room=held,
            block=block,
            made=made,
            again=again,
            page_below=np.full(pages, -1),
            free_pages=free,
            counts=counts,
            sums=sums,
        )

    @property
    def prefix_bytes(self) -> list[int]:
        """Sizes of the pages of the prefix that requests share."""
        return [self.rules.page * self.rules.token_bytes] * (self.rules.prefix // self.rules.page)

    def share(self) -> float:
        """Return the tokens held in caches divided by the tokens of room reserved, summed over all iterations so far."""
        sums = self.engine.sums
        return float(sums[scheduler.HELD] / sums[scheduler.RESERVED])

    def served(self, iterations: int) -> Iterator[Served]:
        """Yield what happens in the coming iterations; see `Scheduler`."""
        most = 2 * max(1, self.cache_tokens // self.rules.page) + 4 * self.rules.most_running + 8
        out = _out(max(1 << 14, 2 * most), iterations)
        while True:
            at, done = scheduler.serve(self.rules, self.engine, self.requests, out, most)
            if not done:
                return
            yield Served(
                op=out.op[:at],
                id=out.id[:at],
                size=out.size[:at],
                dst=out.dst[:at],
                tag=np.where(out.op[:at] == Op.ALLOC, KV_CACHE, -1).astype(np.int32),
                iteration=out.iteration[:at],
                tokens=out.tokens[:done],
                sequences=out.sequences[:done],
                time=out.time[:done],
                end=out.end[:done],
            )


@dataclass
class Vllm:
    """Serve as vLLM's engine does; see `vllm`.

    The trace has a page as long as a request uses it. A page that is found by its content after nobody used it is allocated
    again, under the same id, with a tag of its own; a page that one more request uses has no event.
    """

    rules: vllm.Rules
    texts: vllm.Texts
    pages: int  # of the pool, page 0 included
    page_bytes: int

    @property
    def prefix_bytes(self) -> list[int]:
        """The size of page 0."""
        return [self.page_bytes]

    def served(self, iterations: int) -> Iterator[Served]:
        """Yield what happens from the first iteration on; see `Scheduler`."""
        pool, batch = vllm.start(self.rules, self.texts, self.pages)
        most = vllm.most_events(self.rules, pool, batch)
        out = vllm.new_out(max(1 << 14, 2 * most), iterations)
        while True:
            at, done = vllm.serve(self.rules, pool, batch, self.texts, out, most)
            if not done:
                return
            kind = out.kind[:at]
            freed = kind == vllm.FREED
            yield Served(
                op=np.where(freed, Op.FREE, Op.ALLOC).astype(np.uint8),
                id=out.page[:at],
                size=np.where(freed, MISSING, self.page_bytes),
                dst=np.full(at, MISSING),
                tag=np.select([freed, kind == vllm.FOUND_FREE], [-1, FOUND], KV_CACHE).astype(np.int32),
                iteration=out.step[:at],
                tokens=out.tokens[:done],
                sequences=out.sequences[:done],
                time=out.time[:done],
                end=out.end[:done],
            )


@dataclass
class Run:
    """Describe and run a serving engine: its model, and the scheduler of its requests."""

    setup: Setup
    scheduler: Scheduler
    weights: bool  # whether the trace has the model's weights
    activations: bool  # whether the trace has the activations

    def pieces(self) -> Iterator[Piece]:
        """Yield the run's events: weights and the shared prefix first, then iterations until all requests are served."""
        tape = Tape()
        if self.weights:
            States(tape, self.setup).make_weights()
        for size in self.scheduler.prefix_bytes:
            tape.alloc(size, PREFIX)
        first, weights = tape.first_id, tape.cut()
        yield _with(weights.laid_out(first, 1), np.zeros(weights.op.size, np.int64))
        forward = Forward(tape, self.setup)
        forward.begun = True
        events = self._template(tape, forward, np.ones(1, np.int64), np.ones(1, np.int64)).op.size
        base = tape.next_id + (1 << 20)  # first id of the cache, above the ids of activations
        for served in self.scheduler.served(max(1, ITERATION_EVENTS // events) if events else ITERATIONS):
            yield _merged(served, self._template(tape, forward, served.tokens, served.sequences), tape.next_id, base)

    def _template(self, tape: Tape, forward: Forward, tokens: Int64s, sequences: Int64s) -> Template:
        """Return the events of the model's run in each of these iterations.

        `tokens` and `sequences` [iteration] are the tokens computed and the sequences running. All iterations use the same ids.
        """
        if self.activations:
            one = Sizes(self.setup, tokens)
            x = tape.alloc(one.outer, TEMPORARY)
            for _ in range(self.setup.model.layers):
                x, _saved = forward.block(one, x, keep=False)
            rows = Sizes(self.setup, sequences)
            normed = tape.alloc(rows.outer, TEMPORARY)
            logits = tape.alloc(rows.logits, TEMPORARY)
            probabilities = tape.alloc(rows.float_logits, TEMPORARY)
            picked = tape.alloc(rows.indices, TEMPORARY)
            tape.free(x, normed, logits, probabilities, picked)
        template = tape.cut(tokens.size)
        tape.next_id = tape.first_id = tape.next_id - template.stride  # all blocks are freed, so the ids can be used again
        return template


def _out(events: int, iterations: int) -> Out:
    """Return empty output arrays of the scheduler for this many events and iterations."""
    id, size, dst = (np.empty(events, np.int64) for _ in range(3))
    tokens, sequences, time, end = (np.empty(iterations, np.int64) for _ in range(4))
    return Out(
        op=np.empty(events, np.uint8),
        id=id,
        size=size,
        dst=dst,
        iteration=np.empty(events, np.int32),
        tokens=tokens,
        sequences=sequences,
        time=time,
        end=end,
    )


def _merged(served: Served, template: Template, first_id: int, base: int) -> Piece:
    """Return the caches' events with the model's events of each iteration between them.

    A cache event follows ``served.iteration`` runs of the model. Ids of the cache count from ``base``, ids of activations from
    ``first_id``.
    """
    per, at, done = template.op.size, served.op.size, served.tokens.size
    ran = served.iteration.astype(np.int64)
    cache = np.arange(at) + per * ran
    before = np.searchsorted(ran, np.arange(done), side="right")  # [iteration] number of cache events before it
    model = (before + per * np.arange(done))[:, None] + np.arange(per)
    total = at + per * done
    op, id, tag = np.empty(total, np.uint8), np.empty(total, np.int64), np.full(total, -1, np.int32)
    size, dst, time = np.empty(total, np.int64), np.full(total, MISSING), np.empty(total, np.int64)
    op[cache], id[cache], size[cache] = served.op, served.id + base, served.size
    dst[cache] = np.where(served.dst == MISSING, MISSING, served.dst + base)
    tag[cache] = served.tag
    time[cache] = np.concatenate([served.time[:1], served.end])[ran]
    if per:
        op[model], id[model], tag[model] = template.op, template.id + first_id, template.tag
        size[model] = template.size
        time[model] = served.time[:, None]
    np.maximum.accumulate(time, out=time)
    return Piece(op, id, size, tag, time, None, dst)


def _with(piece: Piece, time: Int64s) -> Piece:
    """Return the piece with these times, and an empty dst column."""
    return piece._replace(time=time, dst=np.full(piece.op.size, MISSING))
