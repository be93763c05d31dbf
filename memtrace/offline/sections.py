"""Sections: the sets of buffers that live at once, without those sets that are part of another.

The buffers of a section must not overlap in addresses; two buffers that share no section may.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from memtrace.offline.buffers import Buffers

Ints = NDArray[np.int64]


class Sections(NamedTuple):
    """Buffer i lives in the sections [begin[i], end[i]); sections follow each other in time.

    The buffers of section s are ``members[first[s]:first[s + 1]]``. ``across[s]`` buffers live in both s and s + 1.
    """

    begin: Ints
    end: Ints
    first: Ints
    members: Ints
    across: Ints


def spans(buffers: Buffers) -> tuple[Ints, Ints, int]:
    """Return the begin and the end of each buffer in sections, a half-open interval, and the number of sections.

    A section is as late as it may be: no buffer has ended since the last of its buffers began.
    """
    starts, ends = np.sort(buffers.lower), np.sort(buffers.upper)
    followed = np.searchsorted(ends, starts, side="right")  # number of buffers that have ended when each begins
    ended = np.append(followed[1:], -1)
    last_start = starts[followed != ended]  # begins that an end follows before the next begin
    begin = np.searchsorted(last_start, buffers.lower, side="left")
    end = np.searchsorted(last_start, buffers.upper, side="left")
    return begin, end, last_start.size


def sections(buffers: Buffers) -> Sections:
    """Return all sections with their members; that takes memory for each section of each buffer."""
    begin, end, count = spans(buffers)
    lives = end - begin
    which = np.repeat(np.arange(lives.size), lives)
    section = np.arange(which.size) - np.repeat(np.cumsum(lives) - lives, lives) + np.repeat(begin, lives)
    first = np.concatenate(([0], np.cumsum(np.bincount(section, minlength=count))))
    change = np.zeros(count + 1, np.int64)
    np.add.at(change, begin, 1)
    np.add.at(change, end - 1, -1)
    return Sections(begin, end, first, which[np.argsort(section, kind="stable")], np.cumsum(change)[:count])
