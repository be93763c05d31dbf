"""Looks at a replay's live blocks at some of its events, and counts their bytes by address, tag and age."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from memtrace.contents import kernel
from memtrace.contents.kernel import COLUMN, ROWS, SHIFT, Grid

if TYPE_CHECKING:
    from memtrace.engine.registry import Policy
    from memtrace.trace import Events, Trace

Ints = NDArray[np.int64]
Columns = dict[str, Any]

MOST_ROWS = 512
MOST_COLUMNS, LEAST_COLUMNS = 400, 100
LOOKS = 4  # at a block, for each event of the trace: a large live set is looked at less often
CHEAP = 4_000_000  # looks in all that take no time to speak of
MOST_TAGS = 7  # the tags with the most bytes x events; the others are one
OTHER = "(other)"
SMALLER = 8  # times


@dataclass(frozen=True)
class Kinds:
    """What blocks are told apart by: the names, None for no tag, and the kind of each tag's code; the last is that of -1."""

    names: tuple[str | None, ...]
    of_tag: Ints


class Contents:
    """A `look` of `replaying.replay`; `columns` tells what it saw. Memory is bounded, but for a number for each live block."""

    def __init__(self, trace: Trace, policy: Policy, samples: int) -> None:
        from memtrace.engine.recorder import evenly

        facts = trace.facts
        sampled = evenly(facts.events, samples)
        often = max(LEAST_COLUMNS, min(MOST_COLUMNS, max(CHEAP, LOOKS * facts.events) // max(1, facts.max_live)))
        self.events = sampled[evenly(sampled.size, often)]
        self.kinds = kinds_of(trace)
        self.births = np.zeros(facts.max_live + 1, np.int64)
        self.grid = new_grid(self.events.size, len(self.kinds.names))
        self.take = taker(policy)
        self.virtual = getattr(policy.module, "VIRTUAL", False)
        self.event = 0

    def __call__(self, events: Events, came: int, blocks: Any, state: Any) -> None:
        """These events were replayed up to ``came``."""
        compiled("note_births")(events.op[:came], events.block[:came], self.event, self.births)
        self.event += came
        column = int(self.grid.counts[COLUMN])
        if column < self.events.size and self.event - 1 == self.events[column]:
            self.take(blocks, self.births, self.kinds.of_tag, self.grid, state)

    def columns(self, reserved: int) -> Columns:
        """As in occupancy.parquet: each row of each column, lowest address first.

        A range that nothing ever lived in is left out if it is larger than all that was reserved at once: it was only
        addresses. Where a policy reserves addresses apart from memory, a smaller one is, too, and what lies above is.
        """
        pages, place = layout(self.grid, self.virtual, reserved)
        taken, height = int(self.grid.counts[COLUMN]), 1 << int(self.grid.counts[SHIFT])
        found = place >= 0
        live = np.zeros((taken, pages.size, self.grid.live.shape[2]), np.int64)
        live[:, found] = self.grid.live[:taken, place[found]]
        born = np.zeros((taken, pages.size))
        born[:, found] = self.grid.born[:taken, place[found]]
        total = live.sum(axis=2)
        return {
            "event": np.repeat(self.events[:taken], pages.size),
            "address_from_bytes": np.tile(pages * height, taken),
            "address_bytes": np.full(taken * pages.size, height, np.int64),
            "live_bytes": total.ravel(),
            "tag": named(np.where(total > 0, live.argmax(axis=2), -1).ravel(), self.kinds.names),
            "age_from_events": ages(self.events[:taken], total, born),
        }


def at_the_end(policy: Policy, blocks: Any, state: Any, tags: int) -> Columns:
    """The live bytes that a replay ended with, by ranges of addresses; gaps are left out as in `Contents.columns`.

    The blocks by slot and the policy's state are those of its end; ``tags``: how many the trace has.
    """
    from memtrace.structures.ledger import RESERVED

    grid = new_grid(1, 1)
    taker(policy)(blocks, np.zeros(len(blocks), np.int64), np.zeros(tags + 1, np.int64), grid, state)
    pages, place = layout(grid, getattr(policy.module, "VIRTUAL", False), int(state.ledger[RESERVED]))
    height = 1 << int(grid.counts[SHIFT])
    return {
        "address_from_bytes": pages * height,
        "address_bytes": np.full(pages.size, height, np.int64),
        "live_bytes": np.where(place >= 0, grid.live[0, place, 0], 0),
    }


def layout(grid: Grid, virtual: bool, reserved: int) -> tuple[Ints, Ints]:
    """The pages that are shown of a heap of so many bytes, and the row of each, -1 where nothing lived."""
    shown, most = (0, reserved // SMALLER) if virtual else (reserved, reserved)
    while True:
        counts = grid.counts
        used = grid.pages[: counts[ROWS]]
        order = np.argsort(used)
        height = 1 << int(counts[SHIFT])
        pages = filled(used[order], -(-most // height), -(-shown // height))
        if pages.size <= MOST_ROWS:
            place = np.full(pages.size, -1, np.int64)
            place[np.searchsorted(pages, used[order])] = order
            return pages, place
        counts[COLUMN] -= 1
        compiled("fold")(grid)
        counts[COLUMN] += 1


def filled(used: Ints, most: int, reserved: int) -> Ints:
    """Ascending pages, and those between and below them, but for gaps of more than ``most``; up to ``reserved`` where there
    is no such gap."""
    if not used.size:
        return np.arange(min(1, reserved))
    before = np.concatenate(([-1], used[:-1]))
    far = used - before - 1 > most
    parts = [np.arange(b + 1, u + 1) if not gap else np.array([u]) for b, u, gap in zip(before, used, far, strict=True)]
    if not far.any() and used[-1] + 1 < reserved:
        parts.append(np.arange(used[-1] + 1, reserved))
    return np.concatenate(parts)


def named(kinds: Ints, names: tuple[str | None, ...]) -> Any:
    """Text, null for -1 and for blocks without a tag."""
    import pyarrow as pa

    known = np.array([name is not None for name in names])
    codes = np.where((kinds >= 0) & known[kinds], kinds, -1)
    texts = pa.array([name or "" for name in names], pa.string())
    return texts.take(pa.array(codes, mask=codes < 0))


def ages(events: Ints, live: Ints, born: NDArray[np.float64]) -> Any:
    """2^floor(log2) of the mean age of the bytes in each cell, in events; null where there are none."""
    import pyarrow as pa

    mean = events[:, None] - born / np.maximum(live, 1)
    whole = np.maximum(1, np.floor(mean + 0.5)).astype(np.int64)
    classes = np.left_shift(np.int64(1), np.frexp(whole.astype(float))[1].astype(np.int64) - 1)
    return pa.array(classes.ravel(), mask=(live == 0).ravel())


def new_grid(columns: int, kinds: int) -> Grid:
    return Grid(
        np.zeros(3, np.int64),
        np.zeros(MOST_ROWS, np.int64),
        np.full(4 * MOST_ROWS, kernel.UNUSED, np.int64),
        np.zeros(4 * MOST_ROWS, np.int64),
        np.zeros((max(1, columns), MOST_ROWS, kinds), np.int64),
        np.zeros((max(1, columns), MOST_ROWS)),
    )


def kinds_of(trace: Trace) -> Kinds:
    """Each tag by itself where there are few, else those that hold most."""
    tags = trace.tags
    if len(tags) <= MOST_TAGS:
        return Kinds((*tags, None), np.arange(len(tags) + 1))
    slots = np.zeros((trace.facts.max_live + 1, 2), np.int64)
    bytes_of = np.zeros(trace.facts.max_live + 1, np.int64)
    weights, start = np.zeros(len(tags) + 1), 0
    for events in trace.batches():
        compiled("weigh")(events.op, events.block, events.size, events.tag, start, slots, bytes_of, weights)
        start += events.op.size
    np.add.at(weights, slots[:, 0], bytes_of.astype(float) * (start - slots[:, 1]))
    largest = np.argsort(-weights[:-1], kind="stable")[:MOST_TAGS]
    of_tag = np.full(len(tags) + 1, MOST_TAGS)
    of_tag[largest] = np.arange(MOST_TAGS)
    of_tag[-1] = MOST_TAGS + 1
    return Kinds((*(tags[code] for code in largest.tolist()), OTHER, None), of_tag)


def taker(policy: Policy) -> Callable[..., None]:
    """The compiled `take`; a policy whose blocks come in pieces has one of its own."""
    from memtrace.engine.binding import bind
    from memtrace.engine.compile import closed
    from memtrace.engine.sources import reachable_modules

    bound = bind(policy.module)
    if bound.first_piece is None:
        take = compiled("take")
        return lambda blocks, births, of_tag, grid, state: take(blocks, births, of_tag, grid)
    if bound.__name__ not in _in_pieces:
        sources = reachable_modules(policy.module, kernel)
        _in_pieces[bound.__name__] = closed(kernel.specialise(bound), f"contents_{policy.name}", sources, [bound])
    return _in_pieces[bound.__name__]


_in_pieces: dict[str, Callable[..., None]] = {}


@cache
def compiled(name: str) -> Callable[..., Any]:
    """A function of the kernel as machine code, cached on disk."""
    from numba import njit

    from memtrace.engine.compile import FAST, OPTIONS, knows_fast, make_jitable
    from memtrace.engine.sources import functions_of

    make_jitable(set(functions_of(kernel)))
    return njit(**OPTIONS, **(FAST if knows_fast() else {}))(getattr(kernel, name))
