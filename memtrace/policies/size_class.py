"""Size classes: a small request gets a cell of its class from a run of pages, a large one whole pages by best fit.

A request of size + header bytes, at least min_block, is rounded up to its alignment and then to the next of `spacing`
classes (1, 2, 4 or 8) per doubling: with 4, and an alignment of 16, they are 16 32 48 64 80 96 112 128 160 192 ... A run is
the fewest pages of which at most 1/`tail` is left over behind the last cell. Its cells are listed by groups of up to 64
neighbours: each class has a list of the groups that have a free cell, and takes the lowest free cell of the first group. A
group that was full moves to the front. A run whose last block is freed is given back at once. A request larger than `small`
(0: spacing times page), or aligned to more than a page, gets whole pages by best fit, as the runs do.

    | 80 | 80 |    | 80 | ... |tail|......|  48  |  48  |    holes: one free cell of 80 bytes, and `......`

Less than 1 / (spacing + 1) of a block is waste (20 % with 4), once it is larger than spacing times the alignment. If all
sizes are equally likely, 1 / (3 spacing + 1) of the allocated bytes is: in a doubling (S, 2S] of s classes a block wastes
S / 2s and has S (3s + 1) / 2s bytes in the mean. That is 25, 14.3, 7.7 and 4 % for 1, 2, 4 and 8.

A hole is what one request can get: a free cell, or a range of free pages. Neighbouring free cells are holes of their own,
since no block can have two of them. The tail of a run is neither allocated nor a hole. Reserved is the top of the heap of
pages. A search inspects 1 hole if the class has a free cell, else all ranges of free pages. Splits and merges are those of
pages. `realloc=inplace`: within the class of a cell; a block of pages in or into its pages, as long as it stays large.

`page=4096`, `small=0`: bytes. `spacing=4`. `tail=8`. `align` is the smallest class; the other options are those of a heap.

Cost: constant: a bitmap finds the cell, a doubly linked list the group. A run that is opened or given back costs one best
fit, and a step for every 64 cells in it.
Source: Evans 2006, "A scalable concurrent malloc(3) implementation for FreeBSD" (runs); the release notes of jemalloc 4.0.0
(classes); Wilson, Johnstone, Neely and Boles 1995, section 3.6; Bonwick 1994, section 3.2 (the waste of a run).
"""

from memtrace.structures.class_heap import Shape, State, alloc, new_state, resize
from memtrace.structures.free_tail import releasable
from memtrace.structures.runs import enlarge, expect, expect_soon, free, largest_hole, trim

ORDER = 7
GROUPS = ("default",)
COALESCES = True
UNUSABLE = True  # the tail of a run, behind its last cell


def init(capacity, max_live, spacing=4, page=4096, small=0, tail=8, align=16, min_block=16, header=0, **options):
    shape = Shape(
        keep=0,
        spacing=spacing,
        page=page,
        small=small,
        tail=tail,
        align=align,
        min_block=min_block,
        header=header,
    )
    return new_state(capacity, max_live, shape, options)
