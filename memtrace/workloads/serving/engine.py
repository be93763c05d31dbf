"""Generate the events of a serving run: the scheduler's events, with the activations of each iteration between them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from memtrace.trace.batches import MISSING
from memtrace.trace.model import Int64s, Op
from memtrace.workloads.events import Piece
from memtrace.workloads.serving import scheduler
from memtrace.workloads.serving.lengths import Requests
from memtrace.workloads.serving.scheduler import Engine, Out, Rules
from memtrace.workloads.transformer.forward import Forward
from memtrace.workloads.transformer.setup import TEMPORARY, Setup, Sizes
from memtrace.workloads.transformer.states import States
from memtrace.workloads.transformer.tape import Tape, Template

# Names of tags (the first are those of transformer.setup), and indices of the last two.
TAGS = ("weight", "gradient", "optimizer", "activation", "temporary", "workspace", "input", "kv-cache", "prefix")
KV_CACHE, PREFIX = 7, 8
ITERATION_EVENTS = 1 << 18  # about the number of activation events that one piece has
ITERATIONS = 1 << 12  # iterations of a piece if activations are left out


@dataclass
class Run:
    """Describe and run a serving engine; `share` can be called after all pieces were read."""

    setup: Setup
    rules: Rules
    requests: Requests
    cache_tokens: int  # tokens for which the caches have room
    weights: bool  # whether the trace has the model's weights
    activations: bool  # whether the trace has the activations
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

    def share(self) -> float:
        """Return the tokens held in caches divided by the tokens of room reserved, summed over all iterations."""
        sums = self.engine.sums
        return float(sums[scheduler.HELD] / sums[scheduler.RESERVED])

    def pieces(self) -> Iterator[Piece]:
        """Yield the run's events: weights and the shared prefix first, then iterations until all requests are served."""
        tape = Tape()
        if self.weights:
            States(tape, self.setup).make_weights()
        for _ in range(self.rules.prefix // self.rules.page):
            tape.alloc(self.rules.page * self.rules.token_bytes, PREFIX)
        first, weights = tape.first_id, tape.cut()
        yield _with(weights.laid_out(first, 1), np.zeros(weights.op.size, np.int64))
        forward = Forward(tape, self.setup)
        forward.begun = True
        events = self._template(tape, forward, np.ones(1, np.int64), np.ones(1, np.int64)).op.size
        most = 2 * max(1, self.cache_tokens // self.rules.page) + 4 * self.rules.most_running + 8
        iterations = max(1, ITERATION_EVENTS // events) if events else ITERATIONS
        buffers = _out(max(1 << 14, 2 * most), iterations)
        base = tape.next_id + (1 << 20)  # first id of the cache, above the ids of activations
        while True:
            at, done = scheduler.serve(self.rules, self.engine, self.requests, buffers, most)
            if not done:
                return
            template = self._template(tape, forward, buffers.tokens[:done], buffers.sequences[:done])
            yield _merged(buffers, at, done, template, tape.next_id, base)

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


def _merged(out: Out, at: int, done: int, template: Template, first_id: int, base: int) -> Piece:
    """Return the cache's events with the model's events of each iteration between them.

    `at` is the number of cache events in `out`, `done` that of iterations. A cache event follows `out.iteration` runs of the
    model. Ids of the cache count from `base`, ids of activations from `first_id`.
    """
    per = template.op.size
    ran = out.iteration[:at].astype(np.int64)
    cache = np.arange(at) + per * ran
    before = np.searchsorted(ran, np.arange(done), side="right")  # [iteration] number of cache events before it
    model = (before + per * np.arange(done))[:, None] + np.arange(per)
    total = at + per * done
    op, id, tag = np.empty(total, np.uint8), np.empty(total, np.int64), np.full(total, -1, np.int32)
    size, dst, time = np.empty(total, np.int64), np.full(total, MISSING), np.empty(total, np.int64)
    op[cache], id[cache], size[cache] = out.op[:at], out.id[:at] + base, out.size[:at]
    dst[cache] = np.where(out.dst[:at] == MISSING, MISSING, out.dst[:at] + base)
    tag[cache[out.op[:at] == Op.ALLOC]] = KV_CACHE
    time[cache] = np.concatenate([out.time[:1], out.end[:done]])[ran]
    if per:
        op[model], id[model], tag[model] = template.op, template.id + first_id, template.tag
        size[model] = template.size
        time[model] = out.time[:done, None]
    np.maximum.accumulate(time, out=time)
    return Piece(op, id, size, tag, time, None, dst)


def _with(piece: Piece, time: Int64s) -> Piece:
    """Return the piece with these times, and an empty dst column."""
    return piece._replace(time=time, dst=np.full(piece.op.size, MISSING))
