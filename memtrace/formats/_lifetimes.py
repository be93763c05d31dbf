"""Turn lifetimes of blocks, from a table or a compiler's plan, into batches of events in the order of time.

Where lifetimes meet, frees come first; a block of an empty lifetime is freed right after its alloc.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from memtrace.trace.batches import MISSING, UNREADABLE, Batch, RowLocation, rows_of
from memtrace.trace.model import Int32s, Int64s, Op, read_only

COLUMNS = ("op", "id", "size", "time", "align", "tag")  # of the trace
BATCH_ROWS = 1 << 17  # rows of a batch
# The order of events at one time: frees, allocs, and then the frees of empty lifetimes.
FREE_FIRST, BORN, FREE_LAST = range(3)


@dataclass(frozen=True, kw_only=True)
class Lifetimes:
    """Blocks with their lifetimes, half-open, one entry for each; MISSING stands for no alignment and for no offset."""

    lower: Int64s  # time of the alloc
    upper: Int64s  # time of the free
    size: Int64s  # bytes
    align: Int64s  # bytes
    offset: Int64s  # bytes: where the plan puts the block
    place: Int64s  # where the block is in the file, in the unit of `word`
    word: str = "line"
    tag: Int32s | None = None  # index into `tags`
    tags: tuple[str, ...] = ()


def batches(lives: Lifetimes, metadata: Mapping[str, str], said: list[str], bad: dict[int, str]) -> Iterator[Batch]:
    """Yield allocs and frees in the order of time; a block's id is its number among `lives`, from 1.

    `said` is what was assumed so far, and gets a sentence on empty lifetimes; `bad` maps further places of the file to what is
    wrong there, and gets the lifetimes that end before they begin.
    """
    wrong = lives.upper < lives.lower
    for row in np.flatnonzero(wrong).tolist():
        bad[int(lives.place[row])] = f"the lifetime ends at {lives.upper[row]}, before it begins at {lives.lower[row]}"
    empty = int(((lives.upper == lives.lower) & ~wrong).sum())
    if empty:
        said.append(f"empty lifetimes, allocated and freed at once: {empty:,}")
    good = np.flatnonzero(~wrong)
    time = np.concatenate([lives.lower[good], lives.upper[good]])
    ends = np.where(lives.upper[good] > lives.lower[good], FREE_FIRST, FREE_LAST)
    kind = np.concatenate([np.full(good.size, BORN), ends])
    order = np.lexsort((kind, time))
    which = np.concatenate([good, good])[order]
    born = kind[order] == BORN
    absent = {"align"} if (lives.align == MISSING).all() else set()
    names = tuple(name for name in COLUMNS if name not in absent | ({"tag"} if lives.tag is None else set()))
    planned = (lives.offset != MISSING).any()
    yield from _bad_batch(bad, names, lives.word)
    found = {**metadata, **({"assumed": "\n".join(said)} if said else {})}
    for start in range(0, max(order.size, 1), BATCH_ROWS):
        part = slice(start, start + BATCH_ROWS)
        rows, alloc = which[part], born[part]
        given = {
            "id": rows + 1,
            "size": np.where(alloc, lives.size[rows], MISSING),
            "time": time[order[part]],
            "align": np.where(alloc, lives.align[rows], MISSING),
        }
        tag = None if lives.tag is None else np.where(alloc, lives.tag[rows], -1).astype(np.int32)
        op = np.where(alloc, np.uint8(Op.ALLOC), np.uint8(Op.FREE)).astype(np.uint8)
        yield Batch(
            rows_of(op, {name: given[name] for name in names if name in given}, tag),
            names,
            _placer(lives.place[rows], lives.word),
            tags=lives.tags,
            done=min(start + BATCH_ROWS, order.size),
            total=order.size,
            metadata=found,
            offset=read_only(lives.offset[rows]) if planned else None,
        )


def _placer(places: Int64s, word: str) -> Any:
    """Return a function from a row of a batch to its place; `places` has the place of each row."""
    return lambda row: RowLocation(word, int(places[row]))


def _bad_batch(bad: dict[int, str], names: tuple[str, ...], word: str) -> Iterator[Batch]:
    """Yield a batch of unreadable rows, one for each place without a lifetime, if there are any; `bad` maps places to reasons."""
    if bad:
        places = np.array(sorted(bad), np.int64)
        op = np.full(places.size, UNREADABLE, np.uint8)
        notes = {row: bad[place] for row, place in enumerate(places.tolist())}
        empty = {name: np.full(places.size, MISSING, np.int64) for name in names if name not in ("op", "tag")}
        tag = np.full(places.size, -1, np.int32) if "tag" in names else None
        yield Batch(rows_of(op, empty, tag), names, _placer(places, word), notes=notes)
