"""Combine events at addresses to blocks: which alloc, free and completion belong together, and which blocks existed before the
first event.

All of it is sorting: the events at one address, in their order, alternate. If the first event at an address is a free, its block
existed before the recording (which starts in mid-run, or whose ring buffer was cut). So did a block at the end that no event
mentions.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from memtrace.formats.snapshot.records import Action, Recorded, Recording, State
from memtrace.trace.model import Int64s

NEVER = -1  # in place of an event number: there is no such event
ALLOC, REQUESTED, COMPLETED = int(Action.ALLOC), int(Action.FREE_REQUESTED), int(Action.FREE_COMPLETED)


@dataclass(frozen=True, eq=False)
class Lives:
    """Hold the blocks of a recording as columns, in the order of their first events; blocks without events come first.

    Columns of events hold event numbers, or NEVER.
    """

    address: Int64s
    requested: Int64s  # bytes
    stream: Int64s  # as in Recorded
    born: Int64s  # its alloc; NEVER: it existed before the first event
    freed: Int64s  # its free_requested
    completed: Int64s  # its free_completed
    last: Int64s  # its row in Recording.blocks, NEVER if it does not exist at the end
    gaps: int  # number of blocks without a recorded free whose address was used again

    @property
    def before(self) -> Int64s:
        """Return the numbers of the blocks that existed before the first event."""
        return np.flatnonzero(self.born == NEVER)


def lives(recording: Recording) -> Lives:
    """Return the blocks of a recording."""
    events = recording.events
    which = np.flatnonzero(events.action <= COMPLETED)
    which = which[np.argsort(events.address[which], kind="stable")]
    kind, address = events.action[which].astype(np.int64), events.address[which]
    new = np.ones(which.size, np.bool_)
    new[1:] = address[1:] != address[:-1]
    kind_before = np.where(new, COMPLETED, np.concatenate(([COMPLETED], kind[:-1]))) if which.size else kind
    # A block begins with its alloc, or with its first event if that is no alloc.
    starts = new | (kind == ALLOC) | (kind_before == COMPLETED) | ((kind == REQUESTED) & (kind_before == REQUESTED))
    block = np.cumsum(starts) - 1
    count = int(block[-1]) + 1 if which.size else 0

    def event_of(action: int) -> Int64s:
        """Return the number of each block's event with this action, NEVER where there is none."""
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
    silent = _without_events(recording, here)
    order = np.argsort(first, kind="stable")
    blocks = recording.blocks

    def joined(ours: Int64s, theirs: Int64s | int) -> Int64s:
        """Return a column of Lives: ``theirs`` for the blocks without events, then ``ours`` in the order of first events."""
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
    """Return the requested bytes of each block, from its alloc or else from its first event."""
    return events.size[np.where(born >= 0, born, first)]


def _at_the_end(recording: Recording, address: Int64s, freed: Int64s, completed: Int64s) -> tuple[np.ndarray, Int64s]:
    """Return for each block whether it still exists at the end, and its row among the blocks there (valid only if it does).

    ``address`` of the blocks is sorted, with blocks at one address in order of time. A block exists at the end if it is the last
    one at its address, its free was not completed, and the address is in use at the end.
    """
    blocks = recording.blocks
    latest = np.append(address[1:] != address[:-1], True) if address.size else np.zeros(0, np.bool_)
    used = np.flatnonzero(blocks.state != State.INACTIVE)
    if not used.size or not address.size:
        return np.zeros(address.size, np.bool_), np.full(address.size, NEVER)
    places = np.minimum(np.searchsorted(blocks.address[used], address), used.size - 1)
    same = blocks.address[used][places] == address
    return latest & same & (completed == NEVER), used[places]


def _without_events(recording: Recording, spoken: Int64s) -> Int64s:
    """Return the rows of blocks in use at the end that no event mentions; ``spoken``: the addresses that events mention."""
    blocks = recording.blocks
    used = np.flatnonzero(blocks.state != State.INACTIVE)
    return used[~np.isin(blocks.address[used], spoken)]
