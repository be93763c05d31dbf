"""Count the bytes of a replay's live blocks by address, tag and age, at some of its events."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from memtrace.contract.policy import constants_of
from memtrace.kernels import Kernel
from memtrace.measures import address_map
from memtrace.measures.address_map import COLUMN, ROWS, SHIFT, Grid

if TYPE_CHECKING:
    from memtrace.engine.registry import Policy
    from memtrace.trace import Events, Trace
    from memtrace.trace.tags import Grouping

Ints = NDArray[np.int64]
Columns = dict[str, Any]

MOST_ROWS = 512
MOST_COLUMNS, LEAST_COLUMNS = 400, 100  # events looked at
LOOKS = 4  # blocks counted in all, per event of the trace: a large live set is looked at less often
CHEAP = 4_000_000  # blocks counted in all that take no time to speak of
MOST_TAGS = 7  # with a kind of their own, those with the most bytes x events; the others are one kind
OTHER = "(other)"  # name of that kind
NOTE_BIRTHS, FILL_COLUMN, FOLD, WEIGH = (
    Kernel(each, fast=True) for each in (address_map.note_births, address_map.fill_column, address_map.fold, address_map.weigh)
)
SMALLER = 8  # an unused range of 1/8 of the reserved bytes is left out where addresses are reserved separately from memory


@dataclass(frozen=True)
class Kinds:
    """The classes of tags that bytes are counted by."""

    names: tuple[str | None, ...]  # [kind] None for no tag
    of_tag: Ints  # [tag code] the kind; the last entry is that of code -1


class Contents:
    """Counts a replay's live blocks while it runs, as the ``look`` of `engine.replay.replay`; `columns` returns the counts.

    Memory is bounded, but for a number for each live block.
    """

    def __init__(self, trace: Trace, policy: Policy, samples: int, grouping: Grouping = "auto") -> None:
        """Choose which of the ``samples`` samples of a replay are looked at, and make an empty grid for them.

        ``grouping`` says how tags are grouped.
        """
        from memtrace.engine.recorder import even_events

        facts = trace.facts
        sampled = even_events(facts.events, samples)
        often = max(LEAST_COLUMNS, min(MOST_COLUMNS, max(CHEAP, LOOKS * facts.events) // max(1, facts.max_live)))
        self.events = sampled[even_events(sampled.size, often)]
        self.kinds = tag_kinds(trace, grouping)
        self.births = np.zeros(facts.max_live + 1, np.int64)
        self.coming = facts.events
        self.grid = new_grid(self.events.size, len(self.kinds.names))
        self.take = column_filler(policy, facts.max_live, self.events.size)
        self.virtual = constants_of(policy.module).VIRTUAL
        self.event = 0

    def __call__(self, events: Events, came: int, blocks: Any, state: Any) -> None:
        """Record the allocs in the first ``came`` rows of a batch, and count the live blocks if the last row is to be looked at.

        ``blocks`` are the records by slot and ``state`` is the policy's state, both as they are after that event.
        """
        NOTE_BIRTHS.run(came, events.op[:came], events.block[:came], self.event, self.births, coming=self.coming)
        self.event += came
        column = int(self.grid.counts[COLUMN])
        if column < self.events.size and self.event - 1 == self.events[column]:
            self.take(blocks, self.births, self.kinds.of_tag, self.grid, state)

    def columns(self, reserved: int) -> Columns:
        """Return the columns of occupancy.parquet: the rows of each event looked at, the lowest address first.

        ``reserved``: the most bytes that were reserved at once. A range in which no block ever lay is left out if it
        is larger than that: no memory was behind these addresses. Where a policy reserves addresses separately from memory,
        two more kinds of ranges in which no block ever lay are left out: those over 1/8 of ``reserved``, and those above all
        blocks.
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


def final_occupancy(policy: Policy, blocks: Any, state: Any, tags: int) -> Columns:
    """Return the live bytes at the end of a replay by ranges of addresses; gaps are left out as in `Contents.columns`.

    ``blocks`` are the records by slot and ``state`` is the policy's state, both at the end; ``tags`` is the trace's number of
    tags.
    """
    from memtrace.contract.ledger import RESERVED

    grid = new_grid(1, 1)
    column_filler(policy, len(blocks), 1)(blocks, np.zeros(len(blocks), np.int64), np.zeros(tags + 1, np.int64), grid, state)
    pages, place = layout(grid, constants_of(policy.module).VIRTUAL, int(state.ledger[RESERVED]))
    height = 1 << int(grid.counts[SHIFT])
    return {
        "address_from_bytes": pages * height,
        "address_bytes": np.full(pages.size, height, np.int64),
        "live_bytes": np.where(place >= 0, grid.live[0, place, 0], 0),
    }


def layout(grid: Grid, virtual: bool, reserved: int) -> tuple[Ints, Ints]:
    """Return the pages to show, ascending, and the row of each in ``grid``, -1 where no block lay.

    The grid is folded until these are at most MOST_ROWS pages. ``reserved`` is in bytes; ``virtual``: the policy reserves
    addresses separately from memory.
    """
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
        # All columns are filled, and `fold` goes up to the current one, which is behind them.
        counts[COLUMN] -= 1
        FOLD.run(int(grid.counts[ROWS]) * grid.live.shape[0], grid)
        counts[COLUMN] += 1


def filled(used: Ints, most: int, reserved: int) -> Ints:
    """Return the pages ``used``, which ascend, with the pages between and below them, but for gaps of more than ``most`` pages.

    Where there is no such gap, the pages above, up to page ``reserved`` (not included), are returned too.
    """
    if not used.size:
        return np.arange(min(1, reserved))
    before = np.concatenate(([-1], used[:-1]))
    far = used - before - 1 > most
    parts = [np.arange(b + 1, u + 1) if not gap else np.array([u]) for b, u, gap in zip(before, used, far, strict=True)]
    if not far.any() and used[-1] + 1 < reserved:
        parts.append(np.arange(used[-1] + 1, reserved))
    return np.concatenate(parts)


def named(kinds: Ints, names: tuple[str | None, ...]) -> Any:
    """Return the names of ``kinds``, indices into ``names``, as Arrow text: null for -1 and for the kind without a tag."""
    import pyarrow as pa

    known = np.array([name is not None for name in names])
    codes = np.where((kinds >= 0) & known[kinds], kinds, -1)
    texts = pa.array([name or "" for name in names], pa.string())
    return texts.take(pa.array(codes, mask=codes < 0))


def ages(events: Ints, live: Ints, born: NDArray[np.float64]) -> Any:
    """Return the mean age of the bytes in each cell, in events, rounded down to a power of two; null where there are no bytes.

    ``events``: by column; ``live``: bytes by column and row; ``born``: as in Grid.
    """
    import pyarrow as pa

    mean = events[:, None] - born / np.maximum(live, 1)
    whole = np.maximum(1, np.floor(mean + 0.5)).astype(np.int64)
    classes = np.left_shift(np.int64(1), np.frexp(whole.astype(float))[1].astype(np.int64) - 1)
    return pa.array(classes.ravel(), mask=(live == 0).ravel())


def new_grid(columns: int, kinds: int) -> Grid:
    """Return an empty grid with room for ``columns`` columns and ``kinds`` kinds."""
    return Grid(
        np.zeros(3, np.int64),
        np.zeros(MOST_ROWS, np.int64),
        np.full(4 * MOST_ROWS, address_map.UNUSED, np.int64),
        np.zeros(4 * MOST_ROWS, np.int64),
        np.zeros((max(1, columns), MOST_ROWS, kinds), np.int64),
        np.zeros((max(1, columns), MOST_ROWS)),
    )


def tag_kinds(trace: Trace, grouping: Grouping = "auto") -> Kinds:
    """Return a class for each name under which tags are shown (`memtrace.trace.tags.shown_as`), where there are few.

    Else the MOST_TAGS names with the most bytes x events are classes, and OTHER stands for the rest.
    """
    from memtrace.trace.tags import shown_as

    tags = trace.tags
    shown = shown_as(tags, MOST_TAGS, grouping)
    names = tuple(dict.fromkeys(shown.values()))
    place = {name: code for code, name in enumerate(names)}
    name_of_tag = np.array([*(place[shown[tag]] for tag in tags), len(names)])
    if len(names) <= MOST_TAGS:
        return Kinds((*names, None), name_of_tag)
    slots = np.zeros((trace.facts.max_live + 1, 2), np.int64)
    bytes_of = np.zeros(trace.facts.max_live + 1, np.int64)
    weights, start = np.zeros(len(tags) + 1), 0
    for events in trace.batches():
        WEIGH.run(events.op.size, events, start, slots, bytes_of, weights, coming=trace.facts.events)
        start += events.op.size
    np.add.at(weights, slots[:, 0], bytes_of.astype(float) * (start - slots[:, 1]))
    largest = np.argsort(-np.bincount(name_of_tag, weights)[:-1], kind="stable")[:MOST_TAGS]
    of_name = np.full(len(names) + 1, MOST_TAGS)
    of_name[largest] = np.arange(MOST_TAGS)
    of_name[-1] = MOST_TAGS + 1
    return Kinds((*(names[code] for code in largest.tolist()), OTHER, None), of_name[name_of_tag])


def column_filler(policy: Policy, slots: int, columns: int) -> Callable[..., None]:
    """Return the function that fills a column of a grid: called with (blocks, births, of_tag, grid, state).

    It will be called for so many ``columns``, and look at all ``slots`` for each. A policy whose blocks come in pieces has a
    function of its own.
    """
    from memtrace.engine.binding import bind
    from memtrace.engine.compile import closed, sources_of

    bound = bind(policy.module)
    passes = slots + MOST_ROWS  # each slot is looked at, and each row of a full grid is added to
    if bound.first_piece is None:
        coming = passes * columns
        return lambda blocks, births, of_tag, grid, _: FILL_COLUMN.run(passes, blocks, births, of_tag, grid, coming=coming)
    if bound.__name__ not in _in_pieces:
        name = f"contents_{policy.module.__name__.rpartition('.')[2]}"
        _in_pieces[bound.__name__] = closed(
            address_map.specialise(bound), name, [*sources_of(policy.module), address_map], [bound]
        )
    return partial(_in_pieces[bound.__name__].run, passes, coming=passes * columns)


_in_pieces: dict[str, Kernel] = {}
