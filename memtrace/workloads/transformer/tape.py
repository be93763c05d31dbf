"""Write allocs and frees down one by one, and then lay out many steps of them at once.

A size is one number, or an array with one number for each of the steps that are written down together.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from memtrace.errors import UsageError
from memtrace.trace.batches import MISSING
from memtrace.trace.model import Int64s, Op
from memtrace.units import format_size
from memtrace.workloads.events import PIECE_EVENTS, Piece

Size = Any  # bytes: int, or int64 array [step]
MOST_BYTES = 1 << 60  # upper bound of a block
FREED = -1  # marks a free, in place of a tag


@dataclass(frozen=True)
class Template:
    """Describe the events of a step; ids count from the step's first id, and ids below 0 are blocks of earlier steps."""

    op: NDArray[np.uint8]
    id: Int64s
    size: Int64s  # [events] or [steps, events]
    tag: NDArray[np.int32]
    stride: int  # number of ids that a step uses
    stream: Int64s | None = None

    def laid_out(self, first_id: int, steps: int) -> Piece:
        """Return the events of `steps` steps, one after the other; the first step's ids count from `first_id`."""
        id = self.id + (first_id + self.stride * np.arange(steps))[:, None]
        size = np.broadcast_to(self.size, id.shape)
        stream = None if self.stream is None else np.tile(self.stream, steps)
        columns = (np.tile(self.op, steps), id.ravel(), np.ascontiguousarray(size).ravel(), np.tile(self.tag, steps))
        return Piece(*columns, None, stream)


class Tape:
    """Record events since the last cut; ids count up. `kept` maps names to ids of blocks that a step leaves to the next one."""

    def __init__(self, streams: bool = False) -> None:
        """Start an empty tape; `streams` adds a column of streams to the events."""
        self.next_id = 0
        self.kept: dict[str, int] = {}
        self.with_streams = streams
        self._start()

    def _start(self) -> None:
        """Start recording anew; ids continue."""
        self.first_id = self.next_id
        self.ids: list[int] = []
        self.sizes: list[Size] = []
        self.tags: list[int] = []
        self.streams: list[int] = []

    def alloc(self, size: Size, tag: int, stream: int = 0) -> int:
        """Record an alloc of `size` bytes, and return the new block's id."""
        self.ids.append(self.next_id)
        self.sizes.append(size)
        self.tags.append(tag)
        self.streams.append(stream)
        self.next_id += 1
        return self.next_id - 1

    def free(self, *ids: int, stream: int = 0) -> None:
        """Record frees of these blocks, in this order."""
        for id in ids:
            self.streams.append(stream)
            self.ids.append(id)
            self.sizes.append(MISSING)
            self.tags.append(FREED)

    def brief(self, size: Size, tag: int) -> None:
        """Record a block that lives for one operator: an alloc and its free."""
        self.free(self.alloc(size, tag))

    def cut(self, steps: int = 1) -> Template:
        """Return the events since the last cut as a template, in which sizes have a row for each of `steps` steps.

        Raises UsageError for a block of more than MOST_BYTES bytes.
        """
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
        """Return the sizes as [steps, events]; raises UsageError for a size beyond int64."""
        try:
            matrix = np.empty((steps, len(self.sizes)), np.int64)
            for column, size in enumerate(self.sizes):
                matrix[:, column] = size
        except OverflowError:
            raise UsageError(f"a block is larger than {format_size(MOST_BYTES)}; try smaller numbers") from None
        return matrix

    def skip(self, ids: int) -> None:
        """Move on by this number of ids, which were used by steps laid out from a template instead of being recorded."""
        self.next_id += ids
        self.first_id += ids
        self.kept = {name: id + ids for name, id in self.kept.items()}


def training_pieces(
    tape: Tape, step: Callable[[Any], None], draw: Callable[[int], Any], steps: int, varying: bool
) -> Iterator[Piece]:
    """Yield the events already on the tape, and then those of `steps` steps.

    `step(drawn)` records a step; `draw(n)` returns what differs between the next n steps, as arrays. From the third step on the
    steps have the same events, and many are laid out at once. Unless `varying`, their sizes are equal too, and `draw` is called
    for one step only.
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
    """Yield the same step `steps` times, in pieces of about `most` events."""
    many = max(1, most // max(1, template.op.size))
    for done in range(0, steps, many):
        yield template.laid_out(first_id + done * template.stride, min(many, steps - done))
