"""Allocs and frees written down one by one, then laid out as many steps at once.

A size is one number, or an array with a number for each of the steps that are written down together.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from memtrace.errors import UsageError
from memtrace.trace.model import Int64s, Op
from memtrace.trace.raw import MISSING
from memtrace.units import format_size
from memtrace.workloads.events import PIECE_EVENTS, Piece

Size = Any  # int, or int64 array over steps
MOST_BYTES = 1 << 60
FREED = -1  # in place of a tag


@dataclass(frozen=True)
class Template:
    """Events of a step; ids count from the step's first, those below 0 are of the step before."""

    op: NDArray[np.uint8]
    id: Int64s
    size: Int64s  # [events] or [steps, events]
    tag: NDArray[np.int32]
    stride: int  # ids that a step uses
    stream: Int64s | None = None

    def laid_out(self, first_id: int, steps: int) -> Piece:
        """As many steps, one after the other."""
        id = self.id + (first_id + self.stride * np.arange(steps))[:, None]
        size = np.broadcast_to(self.size, id.shape)
        stream = None if self.stream is None else np.tile(self.stream, steps)
        columns = (np.tile(self.op, steps), id.ravel(), np.ascontiguousarray(size).ravel(), np.tile(self.tag, steps))
        return Piece(*columns, None, stream)


class Tape:
    """Events since the last cut; ids count up. `kept` names the blocks that a step leaves to the next."""

    def __init__(self, streams: bool = False) -> None:
        self.next_id = 0
        self.kept: dict[str, int] = {}
        self.with_streams = streams
        self._start()

    def _start(self) -> None:
        self.first_id = self.next_id
        self.ids: list[int] = []
        self.sizes: list[Size] = []
        self.tags: list[int] = []
        self.streams: list[int] = []

    def alloc(self, size: Size, tag: int, stream: int = 0) -> int:
        """The new block's id."""
        self.ids.append(self.next_id)
        self.sizes.append(size)
        self.tags.append(tag)
        self.streams.append(stream)
        self.next_id += 1
        return self.next_id - 1

    def free(self, *ids: int, stream: int = 0) -> None:
        for id in ids:
            self.streams.append(stream)
            self.ids.append(id)
            self.sizes.append(MISSING)
            self.tags.append(FREED)

    def brief(self, size: Size, tag: int) -> None:
        """A block that lives for one operator."""
        self.free(self.alloc(size, tag))

    def cut(self, steps: int = 1) -> Template:
        """What was written since the last cut; UsageError for a block larger than an address space."""
        tag = np.array(self.tags, np.int32)
        op = np.where(tag == FREED, Op.FREE, Op.ALLOC).astype(np.uint8)
        size = self._size_matrix(steps)
        if size.size and size.max() > MOST_BYTES:
            raise UsageError(
                f"a block of {format_size(int(size.max()))} is more than {format_size(MOST_BYTES)}; try smaller numbers"
            )
        stream = np.array(self.streams, np.int64) if self.with_streams else None
        found = Template(op, np.array(self.ids, np.int64) - self.first_id, size, tag, self.next_id - self.first_id, stream)
        self._start()
        return found

    def _size_matrix(self, steps: int) -> Int64s:
        try:
            matrix = np.empty((steps, len(self.sizes)), np.int64)
            for column, size in enumerate(self.sizes):
                matrix[:, column] = size
        except OverflowError:
            raise UsageError(f"a block is larger than {format_size(MOST_BYTES)}; try smaller numbers") from None
        return matrix

    def skip(self, ids: int) -> None:
        """Steps were laid out that were not written here."""
        self.next_id += ids
        self.first_id += ids
        self.kept = {name: id + ids for name, id in self.kept.items()}


def stepped(tape: Tape, step: Callable[[Any], None], draw: Callable[[int], Any], steps: int, varying: bool) -> Iterator[Piece]:
    """What was written already, then this many steps; from the third on all are alike, and laid out many at a time.

    `draw(n)` gives what differs between n steps, in arrays; if nothing varies it is asked for one step only.
    """
    begun = tape.first_id
    yield tape.cut().laid_out(begun, 1)
    for _ in range(min(2, steps)):
        first = tape.first_id
        step(draw(1))
        template = tape.cut()
        yield template.laid_out(first, 1)
    done, first = 2, tape.next_id
    while done < steps:
        if not varying:
            step(draw(1))
            yield from in_pieces(tape.cut(), first, steps - done, PIECE_EVENTS)
            return
        many = min(steps - done, max(1, PIECE_EVENTS // max(1, template.op.size)))
        step(draw(many))
        template = tape.cut(many)
        yield template.laid_out(first, many)
        done, first = done + many, first + many * template.stride
        tape.skip((many - 1) * template.stride)


def in_pieces(template: Template, first_id: int, steps: int, most: int) -> Iterator[Piece]:
    """The same step `steps` times, about `most` events at a time."""
    many = max(1, most // max(1, template.op.size))
    for done in range(0, steps, many):
        yield template.laid_out(first_id + done * template.stride, min(many, steps - done))
