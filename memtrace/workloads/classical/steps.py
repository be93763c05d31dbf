"""Patterns that are the same in every round: the comb, and the ladder of growing blocks."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from memtrace.trace.model import Op
from memtrace.trace.raw import MISSING
from memtrace.workloads.events import PIECE_EVENTS, Piece

TAGS = ("tooth", "wide", "rung")
TOOTH, WIDE, RUNG = range(3)
RUNGS = 64  # after which a ladder starts again


def comb(events: int, live: int, mean: int, least: int, most: int) -> Iterator[Piece]:
    """Rows of blocks of which every second dies, so that the holes are too small for the wider blocks that follow.

    A round: `live` blocks, free every second, half as many of twice the size, free the rest in the order of birth.
    """
    teeth, wide = np.arange(live), live + np.arange(live // 2)
    op = np.concatenate([np.zeros(live), np.ones((live + 1) // 2), np.zeros(live // 2), np.ones(live // 2), np.ones(live // 2)])
    id = np.concatenate([teeth, teeth[::2], wide, teeth[1::2], wide])
    small, large = np.clip([mean, 2 * mean], least, most)
    size = np.where(id < live, small, large)
    tag = np.where(id < live, TOOTH, WIDE)
    yield from rounds(events, op.astype(np.uint8), id.astype(np.int64), size, tag, live + live // 2)


def ladder(events: int, live: int, mean: int, growth: float, least: int, most: int) -> Iterator[Piece]:
    """`live` arrays that grow in turn: each step allocates the larger block, then frees the one that it replaces.

    The freed block is always a little too small for what comes next, as in growth by realloc that has to move.
    """
    step = np.arange(RUNGS * live)
    rung = step // live
    size = np.clip(mean * growth**rung, least, most).astype(np.int64)
    op, id = np.zeros((step.size, 2), np.uint8), np.empty((step.size, 2), np.int64)
    op[:, 1] = Op.FREE
    id[:, 0], id[:, 1] = step, step - live  # in the first rung: the last of the round before
    sizes = np.stack([size, np.full(step.size, MISSING)], axis=1)
    yield from rounds(events, op.ravel(), id.ravel(), sizes.ravel(), np.full(2 * step.size, RUNG), step.size)


def rounds(events: int, op: np.ndarray, id: np.ndarray, size: np.ndarray, tag: np.ndarray, ids: int) -> Iterator[Piece]:
    """A round again and again, its ids moved on by `ids`; ids below 0 belong to the round before, of which the first has none."""
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
    """Long columns in pieces."""
    for start in range(0, op.size, PIECE_EVENTS):
        part = slice(start, start + PIECE_EVENTS)
        yield Piece(op[part], id[part], size[part], tag[part])
