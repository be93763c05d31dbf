"""Learn a workload model from a recorded trace, generate blocks from it, and compare them with the recording."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from memtrace.lean import njit
from memtrace.trace.building import from_columns
from memtrace.trace.model import Facts, Int32s, Int64s, Op, Trace
from memtrace.workloads.classical.phases import Births, churn
from memtrace.workloads.events import Piece

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


NEVER = 1 << 62  # time of death of a block that is never freed
BIRTHS_AT_ONCE = 1 << 17  # upper bound of the blocks of a batch


def births(model: Model, rng: np.random.Generator, scale: float, repeat: int) -> Iterator[Births]:
    """Yield the blocks of all phases in order, `repeat` times, in batches.

    Each phase has `scale` times the births of the recording, which live `scale` times as long, so `scale` times as many blocks
    are live. A block that the recording never frees stays until its repetition ends, in the last repetition for ever.
    """
    counts = np.maximum(1, np.round(model.births * scale)).astype(np.int64)
    length, clock = int(counts.sum()), 0
    for round in range(repeat):
        end = NEVER if round == repeat - 1 else (round + 1) * length
        for phase, count in enumerate(counts.tolist()):
            for chosen in _chosen(int(model.count[phase]), count, rng):
                life = model.life[phase, chosen]
                due = clock + np.arange(chosen.size) + np.maximum(1, np.round(life * scale)).astype(np.int64)
                stays = life == STAYS
                tag = model.tag[phase, chosen].astype(np.int32)
                yield Births(model.size[phase, chosen], np.where(stays, end, due), tag)
                clock += chosen.size


def _chosen(samples: int, count: int, rng: np.random.Generator) -> Iterator[np.ndarray]:
    """Yield `count` indices of samples, in arrays of at most BIRTHS_AT_ONCE, each sample as often as the others, in random order.

    Large blocks are rare, so independent draws might miss them.
    """
    while count > 0:
        parts, size = [], 0
        while size < min(count, BIRTHS_AT_ONCE):
            parts.append(rng.permutation(samples))
            size += samples
        found = np.concatenate(parts)[: min(count, BIRTHS_AT_ONCE)]
        count -= found.size
        yield found


MOST_EVENTS = 20_000_000  # longer recordings are not compared


def closeness(model: Model, recorded: Facts, seed: int) -> dict[str, str]:
    """Return ratios and distances of a trace, generated at the recording's own length and scale, to the recording, as texts.

    A ratio is generated / recorded. A distance is that of Kolmogorov and Smirnov, over classes of powers of two: 0 for equal
    distributions, 1 for disjoint ones. Returns nothing for a recording of more than MOST_EVENTS events.
    """
    if recorded.events > MOST_EVENTS:
        return {}
    pieces = list(churn(births(model, np.random.default_rng(seed), 1.0, 1), 2 * MOST_EVENTS))
    joined = Piece(*(np.concatenate([getattr(p, name) for p in pieces]) for name in ("op", "id", "size", "tag")))
    made = from_columns(joined.op, joined.id, joined.size).facts
    ratios = {
        name: getattr(made, name) / max(1, getattr(recorded, name)) for name in ("peak_live_bytes", "max_live", "total_bytes")
    }
    distances = {
        name: distance(getattr(made, f"{name}_counts"), getattr(recorded, f"{name}_counts")) for name in ("size", "lifetime")
    }
    shown = {f"fit_{name}_ratio": f"{ratio:.4f}" for name, ratio in ratios.items()}
    return shown | {f"fit_{name}_distance": f"{value:.4f}" for name, value in distances.items()}


def distance(first: Int64s, second: Int64s) -> float:
    """Return the largest difference between the cumulative shares of two arrays of counts."""
    shares = [np.cumsum(counts) / max(1, counts.sum()) for counts in (first, second)]
    return float(np.abs(shares[0] - shares[1]).max())
