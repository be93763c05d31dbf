"""Slabs: each size class is a cache of slabs, full, partial or empty; some empty slabs are kept, the rest given back.

A request of size + header bytes, at least min_block, is rounded up to its alignment and goes to the cache of the next of
`spacing` classes (1, 2, 4 or 8) per doubling; with 1 they are powers of two. A slab is the fewest pages of which at most
1/`tail` is left over behind its last object. An object comes from the partial slab that was full last; from an empty one if
none is partial; from a new one if none is empty. A slab whose last object is freed becomes empty; if its cache has `empty` of
those already, it is given back. When there is no room, and at a trim, all empty slabs are given back. A request larger than
`small` (0: spacing times page), or aligned to more than a page, gets whole pages by best fit, as the slabs do.

    cache of 80:    partial -> |80|80|  |80|...     empty -> |  |  |  |...     and full ones, in no list

Objects are taken by groups of up to 64 neighbours, of the first group in the list the lowest free one. (The paper takes the
object freed last; which one of a slab it is changes no measure, only addresses.) Objects are not coloured. The descriptor
of a slab lies outside of it.

A hole is what one request can get: a free object, in an empty slab too, or a range of free pages. Neighbouring free objects
are holes of their own. The tail of a slab is neither allocated nor a hole. Reserved is the top of the heap of pages. A
search inspects 1 hole if the cache has a free object, else all ranges of free pages (again after empty slabs were given
back). Splits and merges are those of pages. `realloc=inplace`: within the class of an object; a block of pages in or into its
pages, as long as it stays large.

`page=4096`, `small=0`: bytes. `spacing=4`. `tail=8`. `empty=1`: slabs per cache. `align` is the smallest class; the other
options are those of a heap.

Cost: constant: a bitmap finds the object, a doubly linked list the group. A slab that is made or given back costs one best
fit, and a step for every 64 objects in it.
Source: Bonwick 1994, "The slab allocator: an object-caching kernel memory allocator", section 3 (the limit
of 1/8 on a slab's waste, the lists, and when empty slabs are given back).
"""

from memtrace.structures.class_heap import Shape, State, alloc, new_state, resize
from memtrace.structures.free_tail import releasable
from memtrace.structures.runs import enlarge, expect, expect_soon, free, largest_hole, trim

ORDER = 11
COALESCES = True
UNUSABLE = True  # the tail of a run, behind its last cell
DEFERRED = True


def init(capacity, max_live, spacing=4, page=4096, small=0, tail=8, empty=1, align=16, min_block=16, header=0, **options):
    if empty < 0:
        raise ValueError(f"empty={empty} is below 0")
    shape = Shape(
        keep=empty,
        spacing=spacing,
        page=page,
        small=small,
        tail=tail,
        align=align,
        min_block=min_block,
        header=header,
    )
    return new_state(capacity, max_live, shape, options)
