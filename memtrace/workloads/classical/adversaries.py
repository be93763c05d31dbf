"""Generate Robson's adversarial requests, which depend on where the policy puts each block."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from memtrace.trace.batches import MISSING
from memtrace.trace.model import Int64s, Op
from memtrace.workloads.classical.steps import pieces
from memtrace.workloads.events import Piece

# Names of tags, and their indices.
TAGS = ("kept", "filler", "pin")
KEPT, FILLER, PIN = range(3)


def against_first_fit(words: int, largest: int, word: int) -> Iterator[Piece]:
    """Yield Robson's program of 1974 against first fit; the offset of each phase is chosen for the larger waste.

    At most `words` words are live, blocks have 1 to `largest` words, and a word has `word` bytes. The live blocks are arrays
    sorted by address.
    """
    start, size, id = np.arange(words), np.ones(words, np.int64), np.arange(words)
    offset, born = 0, words
    yield from allocs(id, size, word, KEPT)
    for power in range(1, largest.bit_length()):
        step = 1 << power
        offset, kept = max(
            ((new, covers(start, size, new, step)) for new in (offset, offset + step // 2)),
            key=lambda tried: int((step - size[tried[1]]).sum()),
        )
        yield from frees(id[~kept])
        start, size, id = start[kept], size[kept], id[kept]
        count = (words - int(size.sum())) // step
        placed = first_fit(start, size, step, count)
        new = np.arange(born, born + count)
        born += count
        yield from allocs(new, np.full(count, step), word, KEPT)
        order = np.argsort(np.concatenate([start, placed]), kind="stable")
        start, size, id = (np.concatenate(pair)[order] for pair in ((start, placed), (size, np.full(count, step)), (id, new)))


def covers(start: Int64s, size: Int64s, offset: int, step: int) -> np.ndarray:
    """Return for each block whether it contains a word whose address is `offset` modulo `step`; all numbers are in words."""
    found: np.ndarray = (offset - start) % step < size
    return found


def first_fit(start: Int64s, size: Int64s, step: int, count: int) -> Int64s:
    """Return the addresses at which first fit puts `count` blocks of `step` words between the live blocks.

    Holes are filled from the lowest address, and the rest is put on top. `start` and `size` describe the live blocks, sorted
    by address, in words.
    """
    ends = np.concatenate([[0], start + size])
    room = (np.append(start, np.iinfo(np.int64).max) - ends) // step
    room[-1] = count
    upto = np.minimum(np.cumsum(room), count)
    taken = np.diff(upto, prepend=0)
    nth = np.arange(count) - np.repeat(upto - taken, taken)
    placed: Int64s = np.repeat(ends, taken) + nth * step
    return placed


def against_best_fit(words: int, largest: int, word: int) -> Iterator[Piece]:
    """Yield a program against best fit, of levels f = n/2 .. n-1, where n is `largest`.

    Each level makes `row` holes of f words with one live word between them: allocate a row of blocks of f+1 words above all
    holes; free every second; put f words into each of the freed, which leaves one word, the best fit for a pin of one word;
    do the same with the other half; free all but the pins. At most `words` words, of `word` bytes each, are live.
    """
    first = max(1, largest // 2)
    row = 2 * max(1, words // (2 * (2 * largest - first)))
    born = 0
    for extent in range(first, largest):
        blocks = born + np.arange(row)
        born += row
        yield from allocs(blocks, np.full(row, extent + 1), word, FILLER)
        fillers: list[Int64s] = []
        for half in (blocks[::2], blocks[1::2]):
            filler, pin = born + np.arange(half.size), born + half.size + np.arange(half.size)
            born += 2 * half.size
            yield from frees(half)
            yield from allocs(filler, np.full(half.size, extent), word, FILLER)
            yield from allocs(pin, np.ones(half.size, np.int64), word, PIN)
            fillers.append(filler)
        yield from frees(np.concatenate(fillers))


def allocs(id: Int64s, size: Int64s, word: int, tag: int) -> Iterator[Piece]:
    """Yield allocs of these ids with sizes in words of `word` bytes, all with this tag."""
    return pieces(np.full(id.size, Op.ALLOC, np.uint8), id, size * word, np.full(id.size, tag, np.int32))


def frees(id: Int64s) -> Iterator[Piece]:
    """Yield frees of these ids."""
    return pieces(np.full(id.size, Op.FREE, np.uint8), id, np.full(id.size, MISSING), np.full(id.size, -1, np.int32))
