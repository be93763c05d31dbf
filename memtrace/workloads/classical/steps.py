"""Generate patterns that are the same in every round: the comb, and the ladder of growing blocks."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from memtrace.trace.batches import MISSING
from memtrace.trace.model import Op
from memtrace.workloads.events import PIECE_EVENTS, Piece

# Names of tags, and their indices.
TAGS = ("tooth", "wide", "rung")
TOOTH, WIDE, RUNG = range(3)
RUNGS = 64  # number of rungs after which the ladder starts again


def comb(events: int, live: int, mean: int, least: int, most: int) -> Iterator[Piece]:
    """Yield rows of blocks of which every second is freed, so that the holes are too small for the wider blocks that follow.

    A round: allocate `live` blocks of `mean` bytes, free every second, allocate half as many of twice the size, free the rest
    in the order of birth. Sizes are limited to [least, most].
    """
    teeth, wide = np.arange(live), live + np.arange(live // 2)
    op = np.concatenate([np.zeros(live), np.ones((live + 1) // 2), np.zeros(live // 2), np.ones(live // 2), np.ones(live // 2)])
    id = np.concatenate([teeth, teeth[::2], wide, teeth[1::2], wide])
    small, large = np.clip([mean, 2 * mean], least, most)
    size = np.where(id < live, small, large)
    tag = np.where(id < live, TOOTH, WIDE)
    yield from rounds(events, op.astype(np.uint8), id.astype(np.int64), size, tag, live + live // 2)


def ladder(events: int, live: int, mean: int, growth: float, least: int, most: int) -> Iterator[Piece]:
    """Yield `live` arrays that grow in turn: each step allocates the larger block, and then frees the one that it replaces.

    A freed block is always a little too small for the next, as with a growing array whose realloc has to move. Sizes start at
    `mean` bytes, grow by the factor `growth`, and are limited to [least, most]. The ladder starts again after RUNGS rungs.
    """
    step = np.arange(RUNGS * live)
    rung = step // live
    size = np.clip(mean * growth**rung, least, most).astype(np.int64)
    op, id = np.zeros((step.size, 2), np.uint8), np.empty((step.size, 2), np.int64)
    op[:, 1] = Op.FREE
    id[:, 0], id[:, 1] = step, step - live  # the first rung frees the last rung of the round before
    sizes = np.stack([size, np.full(step.size, MISSING)], axis=1)
    yield from rounds(events, op.ravel(), id.ravel(), sizes.ravel(), np.full(2 * step.size, RUNG), step.size)


def rounds(events: int, op: np.ndarray, id: np.ndarray, size: np.ndarray, tag: np.ndarray, ids: int) -> Iterator[Piece]:
    """Yield a round of events again and again, `events` events in all; in each round the ids are higher by `ids`.

    Ids below 0 name blocks of the round before; the first round leaves their events out. `size` and `tag` of frees are ignored.
    """
    size = np.where(op == Op.FREE, MISSING, size)
    tag = np.where(op == Op.FREE, -1, tag).astype(np.int32)
    many = max(1, PIECE_EVENTS // op.size)
    first = 0
    while events > 0:
        moved = (np.arange(first, first + many) * ids)[:, None] + id
        given = np.nonzero(moved.ravel() >= 0)[0][:events] if first == 0 else slice(0, events)
        for piece in pieces(
            np.tile(op, many)[given], moved.ravel()[given], np.tile(size, many)[given], np.tile(tag, many)[given]
        ):
            yield piece
            events -= piece.op.size
        first += many


def pieces(op: np.ndarray, id: np.ndarray, size: np.ndarray, tag: np.ndarray) -> Iterator[Piece]:
    """Yield long columns in pieces of PIECE_EVENTS events."""
    for start in range(0, op.size, PIECE_EVENTS):
        part = slice(start, start + PIECE_EVENTS)
        yield Piece(op[part], id[part], size[part], tag[part])
