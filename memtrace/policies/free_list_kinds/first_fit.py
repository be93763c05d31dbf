"""First fit in a free list with an order of its own: the first hole of the list that is large enough.

Cost: O(log n) in the number of holes; the search reported is that of the list.
"""

from memtrace.structures.free_tail import releasable
from memtrace.structures.heap import expect, expect_soon
from memtrace.structures.listed_heap import (
    FIRST,
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
    return new_state(capacity, max_live, FIRST, place, coalesce, order, options)
