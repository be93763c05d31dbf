"""Learn a workload model from a recorded trace, generate blocks from it, and compare them with the recording.

The model has, for each phase of the trace, a sample of its blocks with size, lifetime and tag. The samples are bounded, however
long the trace is. Lifetimes count allocations. A realloc is the death of a block and the birth of another. Blocks are drawn from
the samples for a trace of any length and scale.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from memtrace.kernels import jit
from memtrace.trace.building import from_columns
from memtrace.trace.model import Facts, Int32s, Int64s, Op, Trace
from memtrace.workloads.classical.phases import NEVER, Births, churn
from memtrace.workloads.events import Piece

ALLOC, FREE, REALLOC = int(Op.ALLOC), int(Op.FREE), int(Op.REALLOC)
SAMPLES = 1024  # upper bound of the samples of a phase
STAYS = -1  # lifetime of a block that is never freed
BIRTHS, DRAWN = range(2)  # entries of Progress.counts: births so far, and state of the random number generator
BIRTHS_AT_ONCE = 1 << 17  # upper bound of the blocks of a batch
MOST_EVENTS = 20_000_000  # longer recordings are not compared


@dataclass(frozen=True)
class Model:
    """Store samples of the blocks of each phase. All phases have the same number of births, up to rounding."""

    births: Int64s  # [phase] births in the recording
    count: Int64s  # [phase] samples taken
    size: Int64s  # [phase, sample] bytes
    life: Int64s  # [phase, sample] births until the free, or STAYS
    tag: Int32s  # [phase, sample] index into `tags`, -1 for none
    tags: tuple[str, ...]


class Samples(NamedTuple):
    """The columns of Model while a trace is read, and which birth each sample describes."""

    births: Int64s  # [phase]
    taken: Int64s  # [phase] as Model.count
    size: Int64s  # [phase, sample] bytes
    life: Int64s  # [phase, sample] births, or STAYS
    tag: Int32s  # [phase, sample]
    owner: Int64s  # [phase, sample] number of the birth among all


class Progress(NamedTuple):
    """What is known of the trace read so far."""

    counts: Int64s  # [BIRTHS, DRAWN]
    sample: Int64s  # [slot] the sample of a live block, phase * samples of a phase + index, or -1 for none
    born: Int64s  # [slot] number of the block's birth


def learn(trace: Trace, phases: int) -> Model:
    """Return the model of a trace, of at most `phases` phases and no more than the trace has births."""
    facts = trace.facts
    total = facts.allocs + facts.reallocs
    phases = max(1, min(phases, total))
    shape = (phases, min(SAMPLES, -(-total // phases)))
    samples = Samples(
        births=np.zeros(phases, np.int64),
        taken=np.zeros(phases, np.int64),
        size=np.zeros(shape, np.int64),
        life=np.zeros(shape, np.int64),
        tag=np.full(shape, -1, np.int32),
        owner=np.full(shape, -1),
    )
    slots = facts.max_live + 1
    progress = Progress(counts=np.array([0, 1], np.int64), sample=np.full(slots, -1), born=np.zeros(slots, np.int64))
    for events in trace.batches():
        _learn(events, total, samples, progress)
    return Model(
        births=samples.births,
        count=samples.taken,
        size=samples.size,
        life=samples.life,
        tag=samples.tag,
        tags=trace.tags,
    )


@jit(error_model="numpy")
def _learn(events, total, samples, progress):  # type: ignore[no-untyped-def]
    """Update the samples with a batch of events, in place, by reservoir sampling (Vitter's algorithm R).

    All births of a phase are kept with equal probability. `total` is the number of births in the trace.
    """
    op, block, size, tag = events.op, events.block, events.size, events.tag
    births, taken, sizes, lives = samples.births, samples.taken, samples.size, samples.life
    tags, owner, counts, sample, born = samples.tag, samples.owner, progress.counts, progress.sample, progress.born
    phases, most = births.size, owner.shape[1]
    for row in range(op.size):
        slot = block[row]
        code = op[row]
        if code == FREE or code == REALLOC:
            if slot < 0:
                continue
            kept = sample[slot]
            if kept >= 0 and owner[kept // most, kept % most] == born[slot]:
                lives[kept // most, kept % most] = counts[BIRTHS] - born[slot]
            sample[slot] = -1
        if code != ALLOC and not (code == REALLOC and size[row] > 0):
            continue
        birth = counts[BIRTHS]
        counts[BIRTHS] += 1
        phase = birth * phases // total
        place = births[phase]
        births[phase] += 1
        if place >= most:
            counts[DRAWN] = (counts[DRAWN] * np.int64(6364136223846793005) + np.int64(1442695040888963407)) & np.int64(
                0x7FFFFFFFFFFFFFFF
            )
            place = (counts[DRAWN] >> 20) % births[phase]
        born[slot] = birth
        if place >= most:
            continue
        taken[phase] = max(taken[phase], place + 1)
        sizes[phase, place], lives[phase, place], owner[phase, place] = size[row], STAYS, birth
        tags[phase, place] = tag[row if tag.size > 1 else 0]
        sample[slot] = phase * most + place


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
