"""The searches for a packing one after the other: in which fixed order, and for how many steps.

The order decides how soon a packing is met, by luck as much as by rule: so most steps go to many short searches whose
orders are disturbed by chance, and the others to searches of undisturbed orders, each twice as long as the last, which come
to an end at some time. Lifetimes count in events, and in turn by the program's clock where the trace has one.
Source: Gomes, Selman and Kautz 1998, "Boosting combinatorial search through randomization"; orders: Moffitt 2023.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from memtrace.offline.buffers import Buffers
    from memtrace.offline.overlaps import Overlaps
    from memtrace.offline.sections import Sections

Ints = NDArray[np.int64]
Keys = NDArray[np.float64]

TOTAL, WIDTH, AREA, SIZE, SPAN, NEIGHBOURS = range(6)  # bytes of a buffer's fullest section, lifetime, bytes x lifetime, ...
ORDERS = (
    (WIDTH, AREA, TOTAL),
    (TOTAL, AREA, WIDTH),
    (TOTAL, WIDTH, AREA),
    (AREA,),
    (SPAN,),
    (NEIGHBOURS,),
    (SIZE,),
)  # largest first
DISTURBED = 0.3  # standard deviation of the logarithm of the factor that a disturbed key is multiplied by
SHORT = 16  # steps of a short search, of the buffers
RESTARTS = 4  # times the steps of the undisturbed searches


def attempts(buffers: Buffers, overlaps: Overlaps, parts: Sections, lasts: Ints | None) -> Iterator[tuple[Ints, Keys, int]]:
    """Order, keys and most steps of each search, without end."""
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
    """What buffers are ordered by, a row each; TOTAL changes in the search."""
    long = lives.astype(np.float64)
    rows = (np.zeros(len(buffers)), long, long * buffers.size, buffers.size, parts.end - parts.begin, np.diff(overlaps.first))
    return np.stack([row.astype(np.float64) for row in rows])
