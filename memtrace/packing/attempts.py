"""Choose the searches for a packing that are made one after the other: the order of the buffers and the most steps of each.

The order decides how soon a packing is met, by luck as much as by rule. So most steps go to many short searches whose orders
are disturbed at random. The others go to searches of undisturbed orders, each round twice as long as the last, so that one
ends at some time. Lifetimes count in events, and in turn by the program's clock where the trace has one.
Source: Gomes, Selman and Kautz 1998, "Boosting combinatorial search through randomization"; orders: Moffitt 2023.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from memtrace.packing.buffers import Buffers, Overlaps, Sections

Ints = NDArray[np.int64]
Keys = NDArray[np.float64]

# Rows of the keys of a buffer: bytes still to be placed in its fullest section, lifetime, bytes x lifetime, bytes, number of
# sections, number of neighbours.
TOTAL, WIDTH, AREA, SIZE, SPAN, NEIGHBOURS = range(6)
ORDERS = (
    (WIDTH, AREA, TOTAL),
    (TOTAL, AREA, WIDTH),
    (TOTAL, WIDTH, AREA),
    (AREA,),
    (SPAN,),
    (NEIGHBOURS,),
    (SIZE,),
)  # the largest key first; of equals the next key decides
DISTURBED = 0.3  # standard deviation of the logarithm of the factor that a disturbed key is multiplied by
SHORT = 16  # steps of a short search, per buffer
RESTARTS = 4  # steps of the short searches, per step of the undisturbed search before them


def attempts(buffers: Buffers, overlaps: Overlaps, parts: Sections, lasts: Ints | None) -> Iterator[tuple[Ints, Keys, int]]:
    """Yield the order (rows of the keys, the first to compare first), the keys and the most steps of each search, without end.

    ``parts`` are the sections of ``buffers``; ``lasts`` is how long each lives by the program's clock, None if that is unknown.
    """
    lives = buffers.upper - buffers.lower
    tables = [_keys(buffers, overlaps, parts, lives)]
    if lasts is not None and not np.array_equal(lasts, lives):
        tables.insert(0, _keys(buffers, overlaps, parts, lasts))
    chance, limit, short = np.random.default_rng(0), 2 * len(buffers), SHORT * len(buffers)
    for turn in count():
        for keys in tables:
            yield np.array(ORDERS[turn % len(ORDERS)]), keys.copy(), limit
            for restart in range(-(-RESTARTS * limit // short)):
                factors = np.exp(chance.normal(0, DISTURBED, keys.shape))
                yield np.array(ORDERS[restart % len(ORDERS)]), keys * factors, short
        limit *= 2


def _keys(buffers: Buffers, overlaps: Overlaps, parts: Sections, lives: Ints) -> Keys:
    """Return what buffers are ordered by, `[key, buffer]`: rows TOTAL to NEIGHBOURS; TOTAL is 0, since the search fills it."""
    long = lives.astype(np.float64)
    rows = (np.zeros(len(buffers)), long, long * buffers.size, buffers.size, parts.end - parts.begin, np.diff(overlaps.first))
    return np.stack([row.astype(np.float64) for row in rows])
