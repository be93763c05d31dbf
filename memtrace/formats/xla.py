"""XLA's dump of a program (`--xla_dump_to`): the plan of its temporaries, from the texts or the `.hlo.pb`.

Of the texts the buffer assignment and the live ranges are needed: two files side by side, or one in older versions. The blocks
are those of the allocation `preallocated-temp`, with the offsets that XLA gave them; parameters, outputs and constants have
allocations of their own. The tag is the instruction's name. `.hlo.pb` needs no protobuf package. Source: openxla/xla,
buffer_assignment.cc, hlo_live_range.cc, hlo.proto.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from memtrace.errors import InputError, UsageError
from memtrace.formats import _xla_proto, _xla_text
from memtrace.formats._lifetimes import Lifetimes, batches
from memtrace.formats._text import blocks as blocks_of_text
from memtrace.trace.batches import MISSING

if TYPE_CHECKING:
    from memtrace.formats._xla_text import Block, Text
    from memtrace.trace.batches import Batch
    from memtrace.trace.sources import Source

NAME = "xla"
ASSIGNMENT, RANGES = "-buffer-assignment.txt", "-live-range.txt"
SUFFIXES = (ASSIGNMENT, RANGES, ".hlo.pb")
MOST_BYTES = 1 << 30  # of a .hlo.pb: it is held whole
PIECE_BYTES = 1 << 20  # read at once

_TEXT = re.compile(rb"\s*(BufferAssignment:|HloLiveRange \(max \d+\):)\s*\n")
# A message whose first field is a module, whose first fields are its name and the entry computation's.
_PROTO = re.compile(rb"\x0a[\x80-\xff]{0,9}[\x00-\x7f]\x0a([\x80-\xff]?[\x00-\x7f])[ -~]+\x12")
DUMP = "XLA_FLAGS='--xla_dump_to=DIR --xla_dump_hlo_as_text --xla_dump_hlo_as_proto'"


def sniff(head: bytes, path: str) -> bool:
    """Return whether a file begins as a buffer assignment, a list of live ranges, or an HloProto does."""
    return _TEXT.match(head) is not None or _PROTO.match(head) is not None


def read(source: Source, part: str = "") -> Iterator[Batch]:
    """Yield the blocks of the arena of temporaries; `part` is the number of another allocation that has lifetimes."""
    if part and not re.fullmatch(r"[0-9]{1,18}", part):
        raise UsageError(f"format xla:{part}: behind the colon is the number of an allocation, as in xla:43")
    said: list[str] = []
    if _PROTO.match(source.head()) is not None:
        blocks, size, number, bad = _from_proto(source, part, said)
        word = "buffer"
    else:
        blocks, size, number, bad = _from_text(source, part, said)
        word = "line"
    kinds = [re.sub(r"(\.\d+)*(\{[\d,]*\})?$", "", block.name) or block.name for block in blocks]
    tags = tuple(dict.fromkeys(f"{kind} {block.name}" for kind, block in zip(kinds, blocks, strict=True)))
    codes = {tag: code for code, tag in enumerate(tags)}
    lives = Lifetimes(
        lower=_column([block.lower for block in blocks]),
        upper=_column([block.upper for block in blocks]),
        size=_column([block.size for block in blocks]),
        align=np.full(len(blocks), MISSING, np.int64),
        offset=_column([block.offset for block in blocks]),
        place=_column([block.place for block in blocks]),
        word=word,
        tag=np.array([codes[f"{kind} {block.name}"] for kind, block in zip(kinds, blocks, strict=True)], np.int32),
        tags=tags,
    )
    metadata = {"format": NAME, "allocation": str(number), "allocation_bytes": str(size)}
    yield from batches(lives, metadata, said, bad)


def _column(numbers: list[int]) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """Return numbers as int64; those beyond 2^62 are taken as 2^62, which no trace may have."""
    return np.array([min(number, 1 << 62) for number in numbers], np.int64)


def _from_proto(source: Source, part: str, said: list[str]) -> tuple[list[Block], int, int, dict[int, str]]:
    """Return (blocks, bytes and number of their allocation, what is wrong: nothing) of an HloProto."""
    label, data = source.label, bytearray()
    with source.open() as stream:
        while piece := stream.read(PIECE_BYTES):
            data += piece
            if len(data) > MOST_BYTES:
                raise InputError(f"{label}: larger than {MOST_BYTES >> 30} GiB")
    try:
        arenas = _xla_proto.arenas(bytes(data))
    except _xla_proto.Damaged as error:
        raise InputError(f"{label}: the HloProto is damaged: {error}") from error
    if arenas is None:
        raise InputError(
            f"{label} holds a program of XLA without a buffer assignment\n"
            f"try: the dump after optimizations (...after_optimizations.hlo.pb), made with {DUMP}"
        )
    chosen = [arena for arena in arenas if not part or arena.number == int(part)]
    if not chosen:
        raise _no_allocation(label, part, [arena.number for arena in arenas])
    arena, others = chosen[0], [other.number for other in arenas if other is not chosen[0]]
    said.append(f"the arena of temporaries is read (allocation {arena.number}): parameters, outputs and constants lie elsewhere")
    if arena.added:
        said.append(f"buffers in the arena without a lifetime in the heap simulator's trace, left out: {arena.added:,}")
    if others:
        said.append(f"other allocations with lifetimes: {', '.join(map(str, others))} (--format xla:NUMBER reads one)")
    return arena.blocks, arena.size, arena.number, {}


def _lines(source: Source, said: list[str]) -> Iterator[str]:
    """Yield the lines of a text; that it is cut is appended to `said`."""
    for block in blocks_of_text(source, said.append):
        yield from block.text.decode(errors="replace").split("\n")[:-1]


def _from_text(source: Source, part: str, said: list[str]) -> tuple[list[Block], int, int, dict[int, str]]:
    """Return (blocks, bytes and number of their allocation, lines that are wrong) of a buffer assignment and its live ranges."""
    found = _xla_text.parse(_lines(source, said))
    if not found.allocations or not found.ranges:
        found = _with_other_file(source, found)
    chosen = [each for each in found.allocations if (each.number == int(part) if part else each.planned)]
    if not chosen:
        raise _no_allocation(source.label, part, [each.number for each in found.allocations if each.planned])
    arena = max(chosen, key=lambda each: each.size)
    blocks, unknown = _xla_text.blocks_of(arena, found.ranges)
    what = "the arena of temporaries is read" if arena.planned else f"read: {arena.kind}"
    said.append(f"{what} (allocation {arena.number}): parameters, outputs and constants lie elsewhere")
    said.append(f"live ranges include their last instruction: 1 is added; values: {len(arena.values) - unknown:,}")
    said.append(f"values that lie at one offset and meet in time are one block: {len(arena.values) - unknown - len(blocks):,}")
    if unknown:
        said.append(f"values without a live range, left out: {unknown:,}")
    others = [str(each.number) for each in found.allocations if each.planned and each is not arena]
    if others:
        said.append(f"other arenas of temporaries: {', '.join(others)} (--format xla:NUMBER reads one)")
    return blocks, arena.size, arena.number, found.bad


def _no_allocation(label: str, part: str, there: list[int]) -> InputError:
    """Return (not raise) the error for an allocation that is not there, or a program without temporaries."""
    if not part:
        return InputError(f"{label}: the program has no arena of temporaries (preallocated-temp): XLA planned nothing")
    return InputError(f"{label}: there is no allocation {part}\ntry: one of {', '.join(map(str, there)) or 'none'}")


def _with_other_file(source: Source, found: Text) -> Text:
    """Return the text with what its neighbour has: the live ranges of a buffer assignment, or the other way round."""
    lacks = RANGES if found.allocations else ASSIGNMENT
    has = ASSIGNMENT if found.allocations else RANGES
    other = source.path.with_name(source.path.name.removesuffix(has) + lacks)
    if not source.path.name.endswith(has) or not other.is_file():
        named = source.file_name.removesuffix(has) + lacks
        holds = "no live ranges" if found.allocations else "live ranges alone"
        raise InputError(
            f"{source.label} holds {holds}, and {named} is not beside it\n"
            f"try: the dump's folder with both files, its .hlo.pb alone, or both texts one behind the other in one file"
        )
    try:
        with other.open(errors="replace") as lines:
            more = _xla_text.parse(lines)
    except OSError as error:
        raise InputError(f"{source.label}: {other.name} beside it cannot be read: {error.strerror}") from error
    for line, wrong in more.bad.items():
        raise InputError(f"{source.label}: {other.name} beside it, line {line}: {wrong}")
    return _xla_text.Text(found.allocations or more.allocations, found.ranges or more.ranges, found.bad)
