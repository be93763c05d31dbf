"""Learn from a trace what its blocks are like in each phase: a sample of (size, lifetime, tag).

The samples are bounded, however long the trace is. Lifetimes count allocations. A realloc is the death of a block and the
birth of another.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit

from memtrace.trace.model import Int32s, Int64s, Op, Trace

ALLOC, FREE, REALLOC = int(Op.ALLOC), int(Op.FREE), int(Op.REALLOC)
SAMPLES = 1024  # upper bound of the samples of a phase
STAYS = -1  # lifetime of a block that is never freed
BIRTHS, DRAWN = range(2)  # indices in `counts`: births so far, and state of the random number generator


@dataclass(frozen=True)
class Model:
    """Store samples of the blocks of each phase. All phases have the same number of births, up to rounding."""

    births: Int64s  # [phase] births in the recording
    count: Int64s  # [phase] samples taken
    size: Int64s  # [phase, sample] bytes
    life: Int64s  # [phase, sample] births until the free, or STAYS
    tag: Int32s  # [phase, sample] index into `tags`, -1 for none
    tags: tuple[str, ...]


@njit(cache=True, nogil=True, error_model="numpy")
def _learn(op, block, size, tag, total, counts, births, count, sizes, lives, tags, owner, sample, born):  # type: ignore[no-untyped-def]
    """Update the samples with a batch of events, in place, by reservoir sampling (Vitter's algorithm R).

    All births of a phase are kept with equal probability. `op`, `block`, `size`, `tag` are the batch; `total` is the number of
    births in the trace; `counts` is [BIRTHS, DRAWN]. `births` to `tags` are as in Model. `owner` [phase, sample] is the birth
    that a sample describes. `sample` [slot] is the sample of a live block, phase * samples + index, or -1 for none; `born` [slot]
    is its birth.
    """
    phases, samples = births.size, owner.shape[1]
    for row in range(op.size):
        slot = block[row]
        code = op[row]
        if code == FREE or code == REALLOC:
            if slot < 0:
                continue
            kept = sample[slot]
            if kept >= 0 and owner[kept // samples, kept % samples] == born[slot]:
                lives[kept // samples, kept % samples] = counts[BIRTHS] - born[slot]
            sample[slot] = -1
        if code != ALLOC and not (code == REALLOC and size[row] > 0):
            continue
        birth = counts[BIRTHS]
        counts[BIRTHS] += 1
        phase = birth * phases // total
        place = births[phase]
        births[phase] += 1
        if place >= samples:
            counts[DRAWN] = (counts[DRAWN] * np.int64(6364136223846793005) + np.int64(1442695040888963407)) & np.int64(
                0x7FFFFFFFFFFFFFFF
            )
            place = (counts[DRAWN] >> 20) % births[phase]
        born[slot] = birth
        if place >= samples:
            continue
        count[phase] = max(count[phase], place + 1)
        sizes[phase, place], lives[phase, place], owner[phase, place] = size[row], STAYS, birth
        tags[phase, place] = tag[row if tag.size > 1 else 0]
        sample[slot] = phase * samples + place


def learn(trace: Trace, phases: int) -> Model:
    """Return the model of a trace, of at most `phases` phases and no more than the trace has births."""
    facts = trace.facts
    total = facts.allocs + facts.reallocs
    phases = max(1, min(phases, total))
    shape = (phases, min(SAMPLES, -(-total // phases)))
    births, count, counts = np.zeros(phases, np.int64), np.zeros(phases, np.int64), np.array([0, 1], np.int64)
    size, life, owner = np.zeros(shape, np.int64), np.zeros(shape, np.int64), np.full(shape, -1)
    tag = np.full(shape, -1, np.int32)
    sample, born = np.full(facts.max_live + 1, -1), np.zeros(facts.max_live + 1, np.int64)
    for events in trace.batches():
        _learn(
            events.op, events.block, events.size, events.tag, total, counts, births, count, size, life, tag, owner, sample, born
        )  # fmt: skip
    return Model(births, count, size, life, tag, trace.tags)
