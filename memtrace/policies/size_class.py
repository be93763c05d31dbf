"""Size classes: a small request gets a cell of its class from a run of pages, a large one whole pages by best fit.

A request of size + header bytes, at least min_block, rounded up to its alignment, is given the next of `spacing` classes (1, 2, 4 or 8) per
doubling: 16 32 48 64 80 96 112 128 160 ... with 4 and an alignment of 16. A run is the fewest pages of which at most
1/`tail` is left over behind the last cell. Each class has a list of its runs that are partly free; a run that was full
comes to the front; the first run's lowest free cell is taken. A run whose last block is freed is given back at once. What
is larger than `small` (0: spacing times page), or aligned to more than a page, gets whole pages by best fit, as the runs do.

    | 80 | 80 |    | 80 | ... |tail|......|  48  |  48  |    holes: one free cell of 80, and `......`

At 4 per doubling a block is at most 20 % larger than the request, above 4 times the alignment; with sizes spread evenly
the mean is 1 / (3 spacing + 1) of the allocated bytes: 25, 14.3, 7.7 and 4 % for 1, 2, 4 and 8.

A hole is what one request can get: each free cell, and each range of free pages. Neighbouring free cells are holes of
their own, as no block can have two of them. The tail of a run is neither allocated nor a hole. Reserved is the top of the
heap of pages. A search inspects 1 hole if its class has a free cell, else all ranges of free pages. Splits and merges are
those of pages. `realloc=inplace`: within the class, or within large sizes.

`page=4096`: bytes. `spacing=4`. `small=0`: bytes. `tail=8`. `align` is the smallest class; the other options are those of a heap.

Cost: constant: a bitmap finds the cell, a doubly linked list the run. Opening or returning a run costs one best fit.
Source: Evans 2006, "A scalable concurrent malloc(3) implementation for FreeBSD", section 3 (runs, and the classes of
jemalloc 3 and later); Wilson, Johnstone, Neely and Boles 1995, section 3.6; the waste of a run: Bonwick 1994, section 3.2.
"""

from memtrace.structures.class_heap import State, alloc, free, new_state, resize
from memtrace.structures.runs import enlarge, expect, expect_soon, largest_hole, trim

ORDER = 7
GROUPS = ("default",)
COALESCES = True


def init(capacity, max_live, spacing=4, page=4096, small=0, tail=8, align=16, min_block=16, header=0, **options):
    return new_state(capacity, max_live, 0, spacing, page, small, tail, align, min_block, header, options)
