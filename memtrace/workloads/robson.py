"""Robson's adversaries: requests that drive first fit or best fit towards their worst case.

`words` words (M) are live at most, blocks have 1 to `largest` words (n), and both are powers of two.

first-fit: Robson 1971 and 1974. The program knows where first fit puts each block. Phase i keeps only blocks that
cover an address which is f mod 2^i, choosing the f that wastes most, and fills up with blocks of 2^i words. Any
policy that never moves blocks needs about M log2(n) / 2 words against its own adversary; first fit needs little more.

best-fit: Robson 1977 shows that best fit can be driven to almost M n words. Ours grows as M n / 4: each level makes rows of
blocks of f + 1 words, all larger than any hole, has best fit cut them to f, plants a word in each remainder, which is the
best fit for it, and frees the rest; the holes of f words are then too small for the next level.

Policies whose blocks are whole words place the blocks in this way: the default options with word=16.
"""

from __future__ import annotations

from typing import Annotated, Literal

from memtrace.errors import UsageError
from memtrace.workloads.classical import adversaries
from memtrace.workloads.events import Made
from memtrace.workloads.options import Between, Bytes


def generate(
    seed: int,
    *,
    against: Annotated[Literal["first-fit", "best-fit"], "the policy that is driven"] = "first-fit",
    words: Annotated[int, Between(64, 1 << 22, "live at most; a power of two")] = 1 << 16,
    largest: Annotated[int, Between(2, 1 << 16, "words of the largest block; a power of two")] = 256,
    word: Annotated[int, Bytes(1, 1 << 20, "bytes of a word")] = 16,
) -> Made:
    """Return the events of the workload `robson`; the seed changes nothing.

    Raises UsageError for numbers that are no powers of two, or if largest is more than a quarter of words.
    """
    for name, value in (("words", words), ("largest", largest)):
        if value & (value - 1):
            raise UsageError(f"{name}={value} is no power of two; the nearest are {_below(value)} and {2 * _below(value)}")
    if largest * 4 > words:
        raise UsageError(f"largest={largest} needs words={4 * largest} or more; words={words}")
    program = adversaries.against_first_fit if against == "first-fit" else adversaries.against_best_fit
    return Made(program(words, largest, word), adversaries.TAGS)


def _below(value: int) -> int:
    """Return the largest power of two that is not above `value`."""
    return 1 << (value.bit_length() - 1)
