"""Schedule requests as vLLM's engine does: a budget of tokens for each step, prompts in chunks, and prefix caching.

A step first gives every running request the tokens that are not computed yet, in the order of admission, as far as the budget
goes; if the free pages do not suffice, the request that was admitted last is preempted: its pages are let go, and all its
tokens are computed again. If nobody was preempted, waiting requests are admitted, the first in line only, as long as their
pages fit. After the step each request whose tokens are all computed gets one more, and the finished ones let their pages go.
In this file a slot is a row of the tables of running requests; a place is an index in the order of admission.

Rules: vLLM 0.33.0, V1 engine, found by running it (vllm/v1/core/sched/scheduler.py). Not modelled: asynchronous scheduling,
priorities, sliding windows, speculative decoding other than its lookahead.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from memtrace.kernels import jit
from memtrace.trace.model import Int32s, Int64s
from memtrace.workloads.serving.block_pool import (
    FREE_PAGES,
    BlockPool,
    found,
    let_go,
    new_pool,
    set_key,
    take,
    use_again,
)

# Kinds of events: a free page is taken; a page is found by its key, and was free, or was in use; a page is let go, and is free
# now, or is still used by another request. The kinds from FOUND_IN_USE on change no page's use, and are left out by default.
TAKEN, FOUND_FREE, FREED, FOUND_IN_USE, LET_GO = range(5)
# Indices in `Batch.counts`: next request that arrives, running requests, preempted ones on the stack, preemptions so far, time
# in ns, finished requests, tokens computed so far; tokens of requests when they were admitted, and those of them that were found
# in pages; steps so far.
NEXT_REQUEST, RUNNING, PREEMPTED, PREEMPTIONS, CLOCK, FINISHED, COMPUTED, ASKED_TOKENS, FOUND_TOKENS, STEPS = range(10)
MOST_PAGES = 1 << 20  # of a request: a key is the number of a text, times this, plus the number of the page


class Rules(NamedTuple):
    """Describe what does not change during a run."""

    page: int  # tokens of a page
    most_running: int  # upper bound of the running requests
    budget: int  # most tokens that are computed in a step
    caching: bool  # pages are found again by their content
    whole_prompt: bool  # a request is admitted only if the pages of its whole prompt are free
    lookahead: int  # tokens beyond those computed for which a request holds pages
    watermark: int  # pages that an admission leaves free, if any request runs
    base_ns: int  # time of a step for reading the weights
    held_ns: float  # time for each token held in a cache, for reading it
    token_ns: float  # time for each token computed
    all_kinds: bool  # events of all kinds are written


class Texts(NamedTuple):
    """Describe requests by columns, one element for each, in the order of arrival.

    A request's tokens are those of a text: the first ``shared_tokens`` are those of the text ``shared``, the rest, its answer
    included, those of the text ``own``. Two requests with the same own text have the same shared one.
    """

    prompt: Int64s  # tokens
    output: Int64s  # tokens of the answer
    arrival: Int64s  # ns
    shared: Int64s  # number of the text that it begins with
    shared_tokens: Int64s
    own: Int64s  # number of the text that it goes on with


class Batch(NamedTuple):
    """Keep the state of the running requests between calls."""

    order: Int64s  # [place] slot
    planned: Int64s  # [place] tokens that this step computes
    spare: Int64s  # stack of slots that no request has
    request: Int64s  # [slot] number of the request
    known: Int64s  # [slot] tokens of prompt and answer so far
    done: Int64s  # [slot] tokens computed
    held: Int64s  # [slot] pages
    keyed: Int64s  # [slot] pages that have their key
    table: Int32s  # [slot, place] pages
    made: Int64s  # [request] tokens of the answer so far
    again: Int64s  # stack of preempted requests
    counts: Int64s


class Out(NamedTuple):
    """Receive the events of pages, and for each step what the model computes."""

    kind: np.ndarray  # uint8
    page: Int64s
    request: Int64s
    step: Int32s  # number of steps of this call in which the model ran before the event
    tokens: Int64s  # [step] tokens computed
    sequences: Int64s  # [step] requests of which tokens are computed
    time: Int64s  # [step] ns at which the model's run begins
    end: Int64s  # [step] ns at which it ends


def new_batch(rules: Rules, texts: Texts) -> Batch:
    """Return the state in which no request runs."""
    most = rules.most_running
    longest = int((texts.prompt + texts.output).max(initial=1)) + rules.lookahead
    request, known, done, held, keyed = (np.zeros(most, np.int64) for _ in range(5))
    return Batch(
        order=np.zeros(most, np.int64),
        planned=np.zeros(most, np.int64),
        spare=np.arange(most)[::-1].copy(),
        request=request,
        known=known,
        done=done,
        held=held,
        keyed=keyed,
        table=np.zeros((most, -(-longest // rules.page) + 1), np.int32),
        made=np.zeros(texts.prompt.size, np.int64),
        again=np.zeros(most + 1, np.int64),
        counts=np.zeros(10, np.int64),
    )


def new_out(events: int, steps: int) -> Out:
    """Return empty output arrays for this many events and steps."""
    page, request = (np.empty(events, np.int64) for _ in range(2))
    tokens, sequences, time, end = (np.empty(steps, np.int64) for _ in range(4))
    return Out(
        kind=np.empty(events, np.uint8),
        page=page,
        request=request,
        step=np.empty(events, np.int32),
        tokens=tokens,
        sequences=sequences,
        time=time,
        end=end,
    )


def most_events(rules: Rules, pool: BlockPool, batch: Batch) -> int:
    """Return an upper bound of the events of one step.

    So many pages are in use at once as the running requests have at most. In a step each of these is freed by a preemption,
    taken by a running request, taken or found by an admission, and freed at the end, at most once.
    """
    in_use = min(pool.key.size, batch.table.size)
    return 4 * in_use + (2 * batch.table.size if rules.all_kinds else 0)


def start(rules: Rules, texts: Texts, pages: int) -> tuple[BlockPool, Batch]:
    """Return a pool of ``pages`` pages, page 0 included, and a batch, as they are before the first step."""
    return new_pool(pages), new_batch(rules, texts)


@jit(error_model="numpy")
def _key(texts, request, place, page):  # type: ignore[no-untyped-def]
    """Return the key of a request's full page ``place``: equal for requests with the same tokens up to its end."""
    text = texts.shared[request] if (place + 1) * page <= texts.shared_tokens[request] else texts.own[request]
    return text * MOST_PAGES + place


@jit(error_model="numpy")
def _write(rules, out, at, kind, page, request, step):  # type: ignore[no-untyped-def]
    """Write an event at index ``at`` of the output if its kind is asked for, and return the next index."""
    if kind < FOUND_IN_USE or rules.all_kinds:
        out.kind[at], out.page[at], out.request[at], out.step[at] = kind, page, request, step
        at += 1
    return at


@jit(error_model="numpy")
def _missing(rules, batch, slot, tokens):  # type: ignore[no-untyped-def]
    """Return how many more pages a request needs so that ``tokens`` of its tokens and the lookahead have room."""
    return max(-(-(tokens + rules.lookahead) // rules.page) - batch.held[slot], 0)


@jit(error_model="numpy")
def _extend(rules, pool, batch, texts, out, at, slot, tokens, step):  # type: ignore[no-untyped-def]
    """Give a request the pages that ``tokens`` of its tokens need, and the full ones their keys; return the next index."""
    request = batch.request[slot]
    for _ in range(_missing(rules, batch, slot, tokens)):
        page = take(pool)
        batch.table[slot, batch.held[slot]] = page
        batch.held[slot] += 1
        at = _write(rules, out, at, TAKEN, page, request, step)
    if rules.caching:
        for place in range(batch.keyed[slot], min(tokens, batch.known[slot]) // rules.page):
            set_key(pool, np.int64(batch.table[slot, place]), _key(texts, request, place, rules.page))
            batch.keyed[slot] = place + 1
    return at


@jit(error_model="numpy")
def _remove(rules, pool, batch, out, at, slot, step):  # type: ignore[no-untyped-def]
    """Let all pages of a request go, the last one first, and its slot; return the next index."""
    behind = np.int64(0)
    for place in range(batch.held[slot] - 1, -1, -1):
        page = np.int64(batch.table[slot, place])
        free, behind = let_go(pool, page, behind)
        at = _write(rules, out, at, FREED if free else LET_GO, page, batch.request[slot], step)
    batch.spare[batch.table.shape[0] - batch.counts[RUNNING] - 1] = slot
    return at


@jit(error_model="numpy")
def _preempt_last(rules, pool, batch, out, at, step):  # type: ignore[no-untyped-def]
    """Preempt the request that was admitted last; it is the next one to be admitted. Return the next index."""
    counts = batch.counts
    counts[RUNNING] -= 1
    slot = batch.order[counts[RUNNING]]
    batch.again[counts[PREEMPTED]] = batch.request[slot]
    counts[PREEMPTED] += 1
    counts[PREEMPTIONS] += 1
    return _remove(rules, pool, batch, out, at, slot, step)


@jit(error_model="numpy")
def _go_on(rules, pool, batch, texts, out, at, step):  # type: ignore[no-untyped-def]
    """Plan the running requests' tokens; return (budget that is left, whether one was preempted, planned, next index).

    ``planned`` is the number of requests, from the first on, of which tokens are computed.
    """
    counts, budget, place, preempted = batch.counts, np.int64(rules.budget), np.int64(0), False
    while place < counts[RUNNING] and budget > 0:
        slot = batch.order[place]
        tokens = min(batch.known[slot] - batch.done[slot], budget)
        end = batch.done[slot] + tokens
        # Most steps neither need a page nor fill one.
        fills_none = not rules.caching or end < (batch.keyed[slot] + 1) * rules.page
        if fills_none and end + rules.lookahead <= batch.held[slot] * rules.page:
            batch.planned[place] = tokens
            budget -= tokens
            place += 1
            continue
        missing = _missing(rules, batch, slot, end)
        while missing > pool.counts[FREE_PAGES] and place < counts[RUNNING]:
            at = _preempt_last(rules, pool, batch, out, at, step)
            preempted = True
        if place == counts[RUNNING]:
            break
        at = _extend(rules, pool, batch, texts, out, at, slot, end, step)
        batch.planned[place] = tokens
        budget -= tokens
        place += 1
    return budget, preempted, place, at


@jit(error_model="numpy")
def _found_pages(rules, pool, batch, texts, request, known, slot):  # type: ignore[no-untyped-def]
    """Write the pages that hold a request's first tokens to its row of the table; return (how many, how many are free).

    The last token is always computed, so its page is not looked for.
    """
    hits, free = np.int64(0), np.int64(0)
    if rules.caching:
        while hits < (known - 1) // rules.page:
            page = found(pool, _key(texts, request, hits, rules.page))
            if page == 0:
                break
            batch.table[slot, hits] = page
            free += pool.users[page] == 0
            hits += 1
    return hits, free


@jit(error_model="numpy")
def _admit(rules, pool, batch, texts, out, at, step, budget):  # type: ignore[no-untyped-def]
    """Admit preempted and then arrived requests, as long as budget and free pages suffice; return (budget left, next index)."""
    counts, size = batch.counts, rules.page
    while budget > 0 and counts[RUNNING] < rules.most_running:
        again = counts[PREEMPTED] > 0
        if again:
            request = batch.again[counts[PREEMPTED] - 1]
        elif counts[NEXT_REQUEST] < texts.prompt.size and texts.arrival[counts[NEXT_REQUEST]] <= counts[CLOCK]:
            request = counts[NEXT_REQUEST]
        else:
            break
        slot = batch.spare[batch.table.shape[0] - counts[RUNNING] - 1]
        known = texts.prompt[request] + batch.made[request]
        hits, free = _found_pages(rules, pool, batch, texts, request, known, slot)
        done = hits * size
        tokens = min(known - done, budget)
        leave = pool.counts[FREE_PAGES] - free - (rules.watermark if counts[RUNNING] > 0 else 0)
        if rules.whole_prompt and -(-known // size) - hits > leave:
            break
        if -(-(done + tokens + rules.lookahead) // size) - hits > leave:
            break
        for place in range(hits):
            page = np.int64(batch.table[slot, place])
            at = _write(rules, out, at, FOUND_FREE if use_again(pool, page) else FOUND_IN_USE, page, request, step)
        batch.request[slot], batch.known[slot], batch.done[slot] = request, known, done
        batch.held[slot], batch.keyed[slot] = hits, hits
        at = _extend(rules, pool, batch, texts, out, at, slot, done + tokens, step)
        batch.order[counts[RUNNING]], batch.planned[counts[RUNNING]] = slot, tokens
        counts[RUNNING] += 1
        counts[ASKED_TOKENS] += known
        counts[FOUND_TOKENS] += done
        budget -= tokens
        if again:
            counts[PREEMPTED] -= 1
        else:
            counts[NEXT_REQUEST] += 1
    return budget, at


@jit(error_model="numpy")
def _finish(rules, pool, batch, texts, planned, out, at, step):  # type: ignore[no-untyped-def]
    """Count the planned tokens as computed, add a token where all are, and remove what is finished.

    Returns (tokens held in caches, next index).
    """
    counts, kept, held = batch.counts, np.int64(0), np.int64(0)
    running = counts[RUNNING]
    for place in range(running):
        slot = batch.order[place]
        if place < planned:
            batch.done[slot] += batch.planned[place]
        held += batch.done[slot]
        if place < planned and batch.done[slot] == batch.known[slot]:
            request = batch.request[slot]
            batch.known[slot] += 1
            batch.made[request] += 1
            if batch.made[request] >= texts.output[request]:
                counts[RUNNING] -= 1
                at = _remove(rules, pool, batch, out, at, slot, step)
                counts[FINISHED] += 1
                continue
        batch.order[kept] = slot
        kept += 1
    return held, at


@jit(error_model="numpy")
def serve(rules, pool, batch, texts, out, most_in_one):  # type: ignore[no-untyped-def]
    """Run steps until the output may have no room for another, or all requests are served.

    ``most_in_one`` is an upper bound of the events of one step. Returns (events written, steps written); no step means that all
    requests are served.
    """
    counts, at, step = batch.counts, np.int64(0), np.int64(0)
    while at + most_in_one <= out.kind.size and step < out.tokens.size:
        if counts[RUNNING] == 0 and counts[PREEMPTED] == 0:
            if counts[NEXT_REQUEST] == texts.prompt.size:
                break
            counts[CLOCK] = max(counts[CLOCK], texts.arrival[counts[NEXT_REQUEST]])
        budget, preempted, planned, at = _go_on(rules, pool, batch, texts, out, at, step)
        if not preempted:
            before = counts[RUNNING]
            budget, at = _admit(rules, pool, batch, texts, out, at, step, budget)
            planned += counts[RUNNING] - before
        computed = rules.budget - budget
        out.tokens[step], out.sequences[step], out.time[step] = computed, planned, counts[CLOCK]
        counts[COMPUTED] += computed
        counts[STEPS] += 1
        step += 1
        held, at = _finish(rules, pool, batch, texts, planned, out, at, step)
        counts[CLOCK] += np.int64(rules.base_ns + held * rules.held_ns + computed * rules.token_ns)
        out.end[step - 1] = counts[CLOCK]
    return at, step
