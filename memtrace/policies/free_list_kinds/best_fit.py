"""Best fit in a free list with an order of its own: the smallest hole, of equals the first in the list.

Cost: O(log n) in the number of holes; the search reported is that of the list.
"""

from memtrace.structures.free_tail import releasable
from memtrace.structures.heap import expect, expect_soon
from memtrace.structures.listed_heap import (
    BEST,
    State,
    alloc,
    enlarge,
    free,
    new_state,
    resize,
    trim,
)
from memtrace.structures.ordered_holes import largest_hole

GROUPS = ("classic", "default")


def init(capacity, max_live, place="front", coalesce="now", order="address", **options):
    return new_state(capacity, max_live, BEST, place, coalesce, order, options)
