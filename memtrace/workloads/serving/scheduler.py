"""Schedule requests, first come, first served, into iterations of a serving engine, and write the events of its key-value caches.

An iteration first makes room for one token of every running sequence, then admits the requests that fit, runs, and frees the
caches of finished sequences. If there is no room, the sequence that was admitted last is preempted: its cache is freed, and
all of its tokens are computed again when it is admitted next (recomputation, Kwon et al. 2023, section 4.5); in such an
iteration nobody is admitted. With caches in pages these are the events of vLLM 0.33.0 without prefix caching and budget.
In this file a slot is the index of a running sequence.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from memtrace.kernels import jit
from memtrace.trace.batches import MISSING
from memtrace.trace.model import Int32s, Int64s, Op

ALLOC, FREE, COPY = int(Op.ALLOC), int(Op.FREE), int(Op.COPY)
KINDS = ("max", "pow2", "oracle", "grow", "pages")
MAX, POW2, ORACLE, GROW, PAGES = range(5)

# Indices in `Engine.counts`: next request to admit, running sequences, preempted requests on the stack, next id of a block,
# tokens of free room, free pages on the stack, preemptions so far, time in ns, finished requests.
NEXT_REQUEST, RUNNING, PREEMPTED, NEXT_ID, FREE_TOKENS, FREE_PAGES, PREEMPTIONS, CLOCK, FINISHED = range(9)
# Indices in `Engine.sums`, over iterations: sum of tokens held, sum and maximum of tokens reserved, number of iterations,
# sum of running sequences.
HELD, RESERVED, MOST_RESERVED, ITERATIONS, SEQUENCES = range(5)


class Rules(NamedTuple):
    """Describe what does not change during a run."""

    kind: int  # how a cache is kept: MAX, POW2, ORACLE, GROW or PAGES
    page: int  # tokens of a page
    longest: int  # upper bound of the tokens of a sequence
    most_running: int  # upper bound of the running sequences
    token_bytes: int  # bytes of a token in the cache
    prefix: int  # tokens of the shared prefix that are in shared pages, a multiple of the page
    base_ns: int  # time of an iteration for reading the weights
    held_ns: float  # time for each token held in a cache, for reading it
    token_ns: float  # time for each token computed


class Engine(NamedTuple):
    """Keep the state between calls. Arrays of running sequences are indexed by slot, in the order of admission."""

    request: Int64s  # [slot] number of the request
    tokens: Int64s  # [slot] tokens held in the cache
    room: Int64s  # [slot] tokens that the cache has room for
    block: Int64s  # [slot] id of the cache's block, or its newest page
    made: Int64s  # [request] tokens of the answer so far
    again: Int64s  # stack of preempted requests
    page_below: Int64s  # [page] the page of the same sequence before this one, -1 for none
    free_pages: Int64s  # stack of free pages
    counts: Int64s
    sums: NDArray[np.float64]


class Out(NamedTuple):
    """Receive the events of the caches, and for each iteration what the model computes."""

    op: NDArray[np.uint8]
    id: Int64s
    size: Int64s  # bytes, MISSING for a free
    dst: Int64s  # second block of a copy, else MISSING
    iteration: Int32s  # number of iterations of this call in which the model ran before the event
    tokens: Int64s  # [iteration] tokens computed
    sequences: Int64s  # [iteration] running sequences
    time: Int64s  # [iteration] ns at which the model's run begins
    end: Int64s  # [iteration] ns at which it ends


@jit(inline="always")
def _reserved(kind, prompt, output, held, longest, page):  # type: ignore[no-untyped-def]
    """Return the tokens of room that a sequence gets when it is admitted with `held` tokens in its cache."""
    if kind == MAX:
        return longest
    if kind == POW2:
        room = np.int64(1)
        while room < output:
            room *= 2
        return min(prompt + room, max(longest, prompt + output))
    if kind == ORACLE:
        return prompt + output
    if kind == GROW:
        room = np.int64(1)
        while room < held + 1:
            room *= 2
        return room
    return -(-held // page) * page


@jit(error_model="numpy")
def _write(out, at, op, id, size, dst, iteration):  # type: ignore[no-untyped-def]
    """Write an event at index `at` of the output, and return the next index."""
    out.op[at], out.id[at], out.size[at], out.dst[at], out.iteration[at] = op, id, size, dst, iteration
    return at + 1


@jit(error_model="numpy")
def _add_pages(rules, engine, out, at, slot, tokens, iteration):  # type: ignore[no-untyped-def]
    """Add pages for `tokens` more tokens (a multiple of the page) to a sequence; enough pages must be free.

    Writes their allocs from index `at` on, and returns the next index.
    """
    counts = engine.counts
    for _ in range(tokens // rules.page):
        counts[FREE_PAGES] -= 1
        page = engine.free_pages[counts[FREE_PAGES]]
        engine.page_below[page] = engine.block[slot]
        engine.block[slot] = page
        at = _write(out, at, ALLOC, page, rules.page * rules.token_bytes, MISSING, iteration)
    return at


@jit(error_model="numpy")
def _free_cache(rules, engine, out, at, slot, iteration):  # type: ignore[no-untyped-def]
    """Free the cache of a sequence: write its frees from index `at` on, and return the next index.

    The slot itself stays; the caller removes it.
    """
    counts = engine.counts
    counts[FREE_TOKENS] += engine.room[slot]
    if rules.kind != PAGES:
        return _write(out, at, FREE, engine.block[slot], MISSING, MISSING, iteration)
    page = engine.block[slot]
    counts[FREE_PAGES] += engine.room[slot] // rules.page
    top = counts[FREE_PAGES]  # the newest page is freed first, and is the first one to be used again
    while page >= 0:
        at = _write(out, at, FREE, page, MISSING, MISSING, iteration)
        top -= 1
        engine.free_pages[top] = page
        page = engine.page_below[page]
    return at


@jit(error_model="numpy")
def _preempt_last(rules, engine, out, at, iteration):  # type: ignore[no-untyped-def]
    """Preempt the sequence that was admitted last: free its cache, and push its request on the stack `again`.

    Returns the next index of the output.
    """
    counts = engine.counts
    counts[RUNNING] -= 1
    slot = counts[RUNNING]
    engine.again[counts[PREEMPTED]] = engine.request[slot]
    counts[PREEMPTED] += 1
    counts[PREEMPTIONS] += 1
    return _free_cache(rules, engine, out, at, slot, iteration)


@jit(error_model="numpy")
def _make_room(rules, engine, out, at, iteration):  # type: ignore[no-untyped-def]
    """Make room for one more token of each running sequence, oldest first, by new pages or a block of twice the room.

    Preempts the last admitted sequences where no room is left. Returns (whether any was preempted, next index of the output).
    """
    counts, slot, before = engine.counts, np.int64(0), engine.counts[PREEMPTIONS]
    while slot < counts[RUNNING]:
        # The newest token of a sequence is stored by the next iteration; pages are taken for it then, a block has room before.
        if engine.tokens[slot] < engine.room[slot] + (rules.kind == PAGES):
            slot += 1
            continue
        more = rules.page if rules.kind == PAGES else 2 * engine.room[slot]
        if more > counts[FREE_TOKENS]:
            at = _preempt_last(rules, engine, out, at, iteration)  # the preempted sequence may be this one
            continue
        if rules.kind == PAGES:
            at = _add_pages(rules, engine, out, at, slot, more, iteration)
            engine.room[slot] += more
            counts[FREE_TOKENS] -= more
        else:
            old, new = engine.block[slot], counts[NEXT_ID]
            counts[NEXT_ID] += 1
            at = _write(out, at, ALLOC, new, more * rules.token_bytes, MISSING, iteration)
            at = _write(out, at, COPY, old, engine.tokens[slot] * rules.token_bytes, new, iteration)
            at = _write(out, at, FREE, old, MISSING, MISSING, iteration)
            counts[FREE_TOKENS] += engine.room[slot] - more
            engine.block[slot], engine.room[slot] = new, more
        slot += 1
    return counts[PREEMPTIONS] > before, at


@jit(error_model="numpy")
def _admit(rules, engine, requests, out, at, iteration):  # type: ignore[no-untyped-def]
    """Admit preempted and then arrived requests, as long as their caches fit.

    Returns (tokens to compute beyond one for each running sequence, next index of the output).
    """
    prompt, output, arrival, prefixed = requests.prompt, requests.output, requests.arrival, requests.prefixed
    counts, computed = engine.counts, np.int64(0)
    while counts[RUNNING] < rules.most_running:
        again = counts[PREEMPTED] > 0
        if again:
            request = engine.again[counts[PREEMPTED] - 1]
        elif counts[NEXT_REQUEST] < prompt.size and arrival[counts[NEXT_REQUEST]] <= counts[CLOCK]:
            request = counts[NEXT_REQUEST]
        else:
            break
        shared = rules.prefix if prefixed[request] else 0
        held = prompt[request] + engine.made[request] - shared
        room = _reserved(rules.kind, prompt[request], output[request], held, rules.longest, rules.page)
        if room > counts[FREE_TOKENS]:
            break
        slot = counts[RUNNING]
        engine.request[slot], engine.tokens[slot], engine.room[slot], engine.block[slot] = request, held, room, -1
        if rules.kind == PAGES:
            at = _add_pages(rules, engine, out, at, slot, room, iteration)
        else:
            engine.block[slot] = counts[NEXT_ID]
            at = _write(out, at, ALLOC, counts[NEXT_ID], room * rules.token_bytes, MISSING, iteration)
            counts[NEXT_ID] += 1
        counts[FREE_TOKENS] -= room
        counts[RUNNING] += 1
        computed += held - 1
        if again:
            counts[PREEMPTED] -= 1
        else:
            counts[NEXT_REQUEST] += 1
    return computed, at


@jit(error_model="numpy")
def _advance(rules, engine, output, out, at, iteration):  # type: ignore[no-untyped-def]
    """Add a token to each running sequence, and remove the finished ones with their caches.

    Returns (tokens held in caches, next index of the output). In pages the newest token is not stored yet.
    """
    counts, sums, kept = engine.counts, engine.sums, np.int64(0)
    held, reserved = np.int64(0), np.int64(0)
    for slot in range(counts[RUNNING]):
        request = engine.request[slot]
        engine.tokens[slot] += 1
        engine.made[request] += 1
        held += engine.tokens[slot] - (rules.kind == PAGES)
        reserved += engine.room[slot]
        if engine.made[request] >= output[request]:
            at = _free_cache(rules, engine, out, at, slot, iteration)
            counts[FINISHED] += 1
            continue
        for column in (engine.request, engine.tokens, engine.room, engine.block):
            column[kept] = column[slot]
        kept += 1
    counts[RUNNING] = kept
    sums[HELD] += held
    sums[RESERVED] += reserved
    sums[MOST_RESERVED] = max(sums[MOST_RESERVED], reserved)
    sums[ITERATIONS] += 1
    return held, at


@jit(error_model="numpy")
def serve(rules, engine, requests, out, most_in_one):  # type: ignore[no-untyped-def]
    """Run iterations until the output may have no room for another, or all requests are served.

    `most_in_one` is an upper bound of the events of one iteration. Returns (events written, iterations written); no iteration
    means that all requests are served.
    """
    counts, at, iteration = engine.counts, np.int64(0), np.int64(0)
    while at + most_in_one <= out.op.size and iteration < out.tokens.size:
        waiting = counts[PREEMPTED] + requests.prompt.size - counts[NEXT_REQUEST]
        if counts[RUNNING] == 0:
            if waiting == 0:
                break
            if counts[PREEMPTED] == 0:
                counts[CLOCK] = max(counts[CLOCK], requests.arrival[counts[NEXT_REQUEST]])
        preempted, at = _make_room(rules, engine, out, at, iteration)
        computed = np.int64(0)
        if not preempted:
            computed, at = _admit(rules, engine, requests, out, at, iteration)
        running = counts[RUNNING]
        out.tokens[iteration], out.sequences[iteration], out.time[iteration] = computed + running, running, counts[CLOCK]
        engine.sums[SEQUENCES] += running
        iteration += 1
        held, at = _advance(rules, engine, requests.output, out, at, iteration)
        nanoseconds = rules.base_ns + held * rules.held_ns + (computed + running) * rules.token_ns
        counts[CLOCK] += np.int64(nanoseconds)
        out.end[iteration - 1] = counts[CLOCK]
    return at, iteration
