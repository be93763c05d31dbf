"""Events at addresses -> blocks: which alloc, free and completion belong together, and which blocks came before.

All of it is sorting: the events at one address, in their order, alternate. A first event that frees tells of a block
that was there before the recording (it starts in mid-run, or its ring buffer was cut); so does a block at the end
of which no event speaks.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from memtrace.snapshot.model import Action, Recorded, Recording, State
from memtrace.trace.model import Int64s

NEVER = -1
ALLOC, REQUESTED, COMPLETED = int(Action.ALLOC), int(Action.FREE_REQUESTED), int(Action.FREE_COMPLETED)


@dataclass(frozen=True, eq=False)
class Lives:
    """One row a block, in the order of their first event; those without any come first. Events by number, NEVER for none."""

    address: Int64s
    requested: Int64s  # bytes
    stream: Int64s
    born: Int64s  # NEVER: it was there before
    freed: Int64s
    completed: Int64s
    last: Int64s  # the block's number among the blocks at the end, NEVER if it is not there
    gaps: int  # blocks whose end was not recorded

    @property
    def before(self) -> Int64s:
        """The blocks that were there at the first event."""
        return np.flatnonzero(self.born == NEVER)


def lives(recording: Recording) -> Lives:
    """The blocks of a recording."""
    events = recording.events
    which = np.flatnonzero(events.action <= COMPLETED)
    which = which[np.argsort(events.address[which], kind="stable")]
    kind, address = events.action[which].astype(np.int64), events.address[which]
    new = np.ones(which.size, np.bool_)
    new[1:] = address[1:] != address[:-1]
    kind_before = np.where(new, COMPLETED, np.concatenate(([COMPLETED], kind[:-1]))) if which.size else kind
    # A block begins with its alloc, or with the first thing that is heard of it.
    starts = new | (kind == ALLOC) | (kind_before == COMPLETED) | ((kind == REQUESTED) & (kind_before == REQUESTED))
    block = np.cumsum(starts) - 1
    count = int(block[-1]) + 1 if which.size else 0

    def event_of(action: int) -> Int64s:
        found = np.full(count, NEVER, np.int64)
        of = kind == action
        found[block[of]] = which[of]
        return found

    born, freed, completed = event_of(ALLOC), event_of(REQUESTED), event_of(COMPLETED)
    first = which[starts]
    here = events.address[first]
    still, last = _at_the_end(recording, here, freed, completed)
    begins_again = np.append(here[1:] == here[:-1], False) if count else np.zeros(0, np.bool_)
    gaps = int(np.count_nonzero(begins_again & (freed == NEVER) & (completed == NEVER)))
    silent = _silent(recording, here)
    order = np.argsort(first, kind="stable")
    blocks = recording.blocks

    def joined(ours: Int64s, theirs: Int64s | int) -> Int64s:
        return np.concatenate((np.broadcast_to(np.asarray(theirs, np.int64), silent.size), ours[order]))

    streams = recording.segments.stream[blocks.segment[silent]]
    return Lives(
        joined(here, blocks.address[silent]),
        joined(_requested(events, first, born), blocks.requested[silent]),
        joined(events.stream[first], streams),
        joined(born, NEVER),
        joined(freed, NEVER),
        joined(completed, NEVER),
        joined(np.where(still, last, NEVER), silent),
        gaps,
    )


def _requested(events: Recorded, first: Int64s, born: Int64s) -> Int64s:
    return events.size[np.where(born >= 0, born, first)]


def _at_the_end(recording: Recording, address: Int64s, freed: Int64s, completed: Int64s) -> tuple[np.ndarray, Int64s]:
    """Which blocks are among those at the end, and as which: of each address the last, if it was not freed."""
    blocks = recording.blocks
    latest = np.append(address[1:] != address[:-1], True) if address.size else np.zeros(0, np.bool_)
    used = np.flatnonzero(blocks.state != State.INACTIVE)
    if not used.size or not address.size:
        return np.zeros(address.size, np.bool_), np.full(address.size, NEVER)
    places = np.minimum(np.searchsorted(blocks.address[used], address), used.size - 1)
    same = blocks.address[used][places] == address
    return latest & same & (completed == NEVER), used[places]


def _silent(recording: Recording, spoken: Int64s) -> Int64s:
    """Blocks in use at the end of which no event speaks: they were there all the time."""
    blocks = recording.blocks
    used = np.flatnonzero(blocks.state != State.INACTIVE)
    return used[~np.isin(blocks.address[used], spoken)]
