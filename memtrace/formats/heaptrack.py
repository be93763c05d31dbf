"""heaptrack's files, interpreted (`+ N`, `- N` of allocation info N) and raw (`+ SIZE TRACE POINTER`, `- POINTER`).

An interpreted file holds no pointers: a free ends the latest live block of its size and call site, which may not be
the block that was freed. Times are those of the clock lines, every few ms; all numbers are hexadecimal. heaptrack
records neither threads nor alignments, and a realloc as a free and an alloc. If the recording was killed and its
compressed file is cut, the file is read up to the cut. Source: KDE/heaptrack, src/interpret and src/analyze.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from memtrace.formats._calls import BAD_LINE, FREES, GROW, MALLOCS, new_calls
from memtrace.formats._reading import BATCH_ROWS, LINE, STATE, EventBatcher, without_cut_line
from memtrace.formats._text import blocks, compiled, hexadecimal, next_line
from memtrace.trace.batches import MISSING
from memtrace.trace.model import Int64s

if TYPE_CHECKING:
    from memtrace.trace.batches import Batch
    from memtrace.trace.sources import Source

NAME = "heaptrack"
SUFFIXES = (".heaptrack", ".raw")

# Indices in the parser's state. CLOCK: ns; INFOS: allocation infos so far; SLOTS: slots used so far; SPARE: height of the stack
# of free slots; COMMAND: 1 in the lines of the recorded command, which may have several; COMMAND_LINES: how many were left out.
CLOCK, INFOS, SLOTS, SPARE, INTERPRETED, ATTACHED, ENDED, CLOCK_BACK, VERSION, COMMAND, COMMAND_LINES = range(1, 12)
KNOWN_VERSION = 3  # latest version of the file format that is known here
LETTERS = b"vxXImtaisRSAK#"  # first letters of lines that are no events; those with + - c a are read
FIRST = 1 << 10  # length of the arrays of Pairing at the start

_HEAD = re.compile(rb"v [0-9a-f]+( [0-9a-f]+)?\r?\n([xXsIim#A] ?)")


class Pairing(NamedTuple):
    """Keep the live blocks of an interpreted file on a stack for each allocation info, so that a free can be paired with a block.

    A slot is the index of a live block's record; its pointer in the calls is slot + 1.
    """

    sizes: Int64s  # [info] bytes of its blocks
    latest: Int64s  # [info] slot of its latest live block, the top of its stack, -1 for none
    below: Int64s  # [slot] the slot below this one on its stack, -1 for none
    spare: Int64s  # stack of free slots


def sniff(head: bytes, path: str) -> bool:
    """Return whether the file begins with heaptrack's version line."""
    return _HEAD.match(head) is not None


def read(source: Source) -> Iterator[Batch]:
    """Yield events of numbered blocks."""
    state = np.zeros(STATE, np.int64)
    state[LINE] = 1
    said: list[str] = []
    pairing = Pairing(*(np.full(FIRST, -1, np.int64) for _ in range(4)))
    events = EventBatcher(NAME, ("op", "id", "size", "time"), False, source.size)
    for block in blocks(source, said.append):
        text = np.frombuffer(block.text, np.uint8)
        at = 0
        while at < text.size:
            calls = new_calls(BATCH_ROWS)
            with np.errstate(over="ignore"):
                why, at, count = parse(text, at, calls, state, pairing)
            if block.cut:
                count = without_cut_line(block, calls.kind, count, int(state[LINE]) - 1, said)
            yield from events.batches(calls, count, block.text, block.done)
            if why == GROW:
                pairing = enlarged(pairing, int(state[INFOS]), int(state[SLOTS]))
    yield events.last([*said, *notes(state)], {})


def notes(state: Int64s) -> list[str]:
    """Return the sentences for the metadata that the parser's state at the end of the file calls for."""
    said = []
    if state[INTERPRETED]:
        said.append("an interpreted file holds no pointers: a free ends the latest live block of its size and call site")
        if not state[ENDED]:
            said.append("the file lacks the lines that end an interpreted file: the recording may be cut")
    if state[ATTACHED]:
        said.append("recorded from a running process: what it had allocated before is missing")
    if state[COMMAND_LINES]:
        said.append(f"further lines of the recorded command, left out: {state[COMMAND_LINES]:,}")
    if state[CLOCK_BACK]:
        said.append(f"clock lines that go back, left out: {state[CLOCK_BACK]:,}")
    if state[VERSION] > KNOWN_VERSION:
        said.append(f"file version {state[VERSION]} is newer than {KNOWN_VERSION}, the last one known: read as that")
    return said


def enlarged(pairing: Pairing, infos: int, slots: int) -> Pairing:
    """Return the pairing with those arrays doubled in which the next line might find no room.

    `infos` and `slots` are the numbers of elements in use.
    """

    def grown(column: Int64s, used: int) -> Int64s:
        """Return the column with room for more than `used` elements; new elements are -1."""
        return np.concatenate([column, np.full(column.size, -1, np.int64)]) if used + 1 > column.size else column

    return Pairing(
        grown(pairing.sizes, infos), grown(pairing.latest, infos), grown(pairing.below, slots), grown(pairing.spare, slots)
    )


@compiled
def parse(text, at, calls, state, pairing):  # type: ignore[no-untyped-def]
    """Parse lines from offset `at` on into `calls`; `state` and `pairing` are changed in place.

    Returns (0, or GROW if `pairing` must be enlarged, offset of the next line, number of calls written).
    """
    filled = 0
    while at < text.size and filled < calls.kind.size:
        if state[INFOS] + 1 > pairing.sizes.size or state[SLOTS] + 1 > pairing.below.size:
            return GROW, at, filled
        start, end, following = next_line(text, at)
        at, line = following, state[LINE]
        state[LINE] += 1
        if start == end:
            continue
        letter, kind, pointer, size = text[start], BAD_LINE, 0, start
        good = end - start > 2 and text[start + 1] == 32
        first, place = hexadecimal(text, start + 1 if good else -1, end)
        if letter == 43 and place >= 0:  # +
            if place == end:
                state[INTERPRETED] = 1
                if first >= 0 and first < state[INFOS]:
                    if state[SPARE] > 0:
                        state[SPARE] -= 1
                        slot = pairing.spare[state[SPARE]]
                    else:
                        slot = state[SLOTS]
                        state[SLOTS] += 1
                    pairing.below[slot] = pairing.latest[first]
                    pairing.latest[first] = slot
                    kind, pointer, size = MALLOCS, slot + 1, pairing.sizes[first]
            else:
                _, place = hexadecimal(text, place, end)
                address, place = hexadecimal(text, place, end)
                if place == end:
                    kind, pointer, size = MALLOCS, address, first
        elif letter == 45 and place == end:  # -
            if not state[INTERPRETED]:
                kind, pointer = FREES, first
            elif first >= 0 and first < state[INFOS]:
                kind, slot = FREES, pairing.latest[first]
                pointer = slot + 1 if slot >= 0 else -1
                if slot >= 0:
                    pairing.latest[first] = pairing.below[slot]
                    pairing.spare[state[SPARE]] = slot
                    state[SPARE] += 1
        elif letter == 97 and place >= 0:  # a
            _, place = hexadecimal(text, place, end)
            if place == end:
                state[INTERPRETED] = 1
                pairing.sizes[state[INFOS]], pairing.latest[state[INFOS]] = first, -1
                state[INFOS] += 1
                continue
        elif letter == 99 and place == end and first >= 0 and first < 1 << 43:  # c
            if first * 1_000_000 < state[CLOCK]:
                state[CLOCK_BACK] += 1
            else:
                state[CLOCK] = first * 1_000_000
            continue
        elif letter == 65:  # A
            state[ATTACHED] = 1
            continue
        elif letter == 35:  # '# strings: ...' ends an interpreted file
            state[ENDED] |= end - start > 9 and text[start + 2] == 115 and text[start + 9] == 58
            continue
        elif letter == 118:  # v
            second, behind = hexadecimal(text, place, end)
            state[VERSION] = second if behind == end else 0
            continue
        else:
            known = False
            for other in LETTERS:
                known |= letter == other
            if known and (end - start == 1 or text[start + 1] == 32):
                if letter == 88:  # X
                    state[COMMAND] = 1
                elif letter == 73 and place >= 0:  # I
                    state[COMMAND] = 0
                continue
        if kind != BAD_LINE:
            state[COMMAND] = 0
        elif state[COMMAND]:
            state[COMMAND_LINES] += 1
            continue
        calls.kind[filled], calls.pointer[filled], calls.old[filled], calls.size[filled] = kind, pointer, MISSING, size
        calls.thread[filled], calls.time[filled], calls.line[filled] = MISSING, state[CLOCK], line
        filled += 1
    return 0, at, filled
