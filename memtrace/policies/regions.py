"""Regions: a policy of your choice in each of several ranges of memory that never touch.

A request goes to the first range that can serve it; no block and no hole lies in two. Embedded heaps are made so: FreeRTOS's
heap_5, the heaps of an ESP32's memories behind heap_caps_malloc, linker sections that a program adds to its heap.

    request -> | 92 KiB: AAAA.BB... |    | 16 KiB: CC....... |      the second range, if the first has no hole for it

Ranges are there from the start: their bytes are reserved, and all of them are one hole if the policy takes the option `initial`
and it is not given. They lie one above another, with a gap of 4 KiB or less between two. A reallocation stays in its range if
the policy can serve it in place there; else it is an alloc, which begins with the first range again, a copy and a free.

Options: sizes, the ranges in bytes or in shares of the capacity (`sizes=[92KiB,16KiB]`, `sizes=[75%,25%]`), up to 32; policy, any
that has one piece per block, which stays, in one range of addresses; its own options in brackets:
`regions:sizes=[92KiB,16KiB],policy=[tlsf:align=8]`; to, which range is tried first: `first`, in the order of sizes; `fullest`
or `roomiest`, by the bytes in no block. Ranges with special abilities, to which only some requests may go, are not modelled.

Cost: that of the policy for each range that is tried, and the sums over the ranges of a dozen counts.
Source: FreeRTOS heap_5.c; ESP-IDF heap_caps.c (heaps in the order of their priority); here, after their descriptions.
"""

from typing import Literal, NamedTuple

from memtrace.contract.calls import out_of_line
from memtrace.contract.ledger import new_ledger
from memtrace.contract.request import NOWHERE
from memtrace.errors import MemtraceError
from memtrace.structures import parts
from memtrace.structures.parts import (
    PARTS,
    TRIED,
    UNIT,
    State,
    add_part,
    following,
    inner_init,
    neighbours,
    new_arrays,
    next_base,
    with_more_nodes,
)
from memtrace.structures.rules import UNBOUNDED
from memtrace.units import parse_size

__all__ = ["State", "neighbours"]

ORDER = 81
GROUPS = ("parts",)
UNUSABLE = True  # what the inner policy leaves of a range
VIRTUAL = True
TAKES_POOL = True
MAX_ALIGN = UNIT
INNER = "policy"
MOST_RANGES = 32


class Rules(NamedTuple):
    """The options."""

    to: int  # index in TRIED


def init(capacity, max_live, sizes="[50%,50%]", policy="first-fit", to: Literal["first", "fullest", "roomiest"] = "first"):
    raise NotImplementedError("the engine puts a policy in: see over")


def range_sizes(text, capacity):
    """Return the sizes in bytes that the option `sizes` names; raise ValueError if they are none, or above the capacity."""
    found = []
    for word in (word.strip() for word in text.strip("[]").split(",") if word.strip()):
        if word.endswith("%") and word[:-1].isdigit():
            if capacity >= UNBOUNDED:
                raise ValueError(
                    f"{word} is a share of the capacity, which is not known\ntry: --capacity 64KiB, or sizes in bytes"
                )
            found.append(capacity * int(word[:-1]) // 100)
            continue
        try:
            found.append(parse_size(word))
        except MemtraceError as error:
            raise ValueError(f"sizes={text}: {error}") from None
    if not 1 <= len(found) <= MOST_RANGES or min(found) < 1:
        raise ValueError(f"sizes={text} has to name 1 to {MOST_RANGES} ranges of a byte at least, as in sizes=[92KiB,16KiB]")
    if sum(found) > capacity:
        raise ValueError(f"the ranges have {sum(found)} bytes in all, which is above the capacity of {capacity}")
    return found


def over(inner, options_of):
    """Return the functions of policy `regions` around an inner policy, by name; the arguments are those of `arenas`."""
    own = parts.functions(inner)
    offer, take_back = own["offer"], own["take_back"]

    def init(capacity, max_live, sizes="[50%,50%]", policy="first-fit", to="first"):
        """Return the state of empty ranges, each with a state of the inner policy; raise ValueError for bad options."""
        found, made = range_sizes(sizes, capacity), inner_init(inner, options_of, policy)
        state = State(
            parts=tuple(made(extent, max_live) for extent in found),
            **new_arrays(len(found), max_live),
            ledger=new_ledger(0),
            rules=Rules(TRIED.index(to)),
        )
        base = 0
        for part, extent in enumerate(found):
            add_part(state, part, state.parts[part], base, extent)
            base = next_base(base + extent)
        return state

    def enlarge(state):
        """Return the state with the arrays of one range enlarged: the range that last answered ENLARGE."""
        return with_more_nodes(state, inner)

    def alloc(state, request):
        """Place a block by the inner policy in the first range that serves it; return its address in bytes.

        Return NOWHERE if none does, and the other answers below 0 of the inner policy.
        """
        place = following(state, -1, 0, state.rules.to)
        address = offer(state, request, state.order[place])
        return address if address != NOWHERE else alloc_behind(state, request, place)

    @out_of_line
    def alloc_behind(state, request, place):
        """Place a block in one of the ranges that are tried after the one at ``place`` of the order."""
        for turn in range(1, state.source[PARTS]):
            place = following(state, place, turn, state.rules.to)
            address = offer(state, request, state.order[place])
            if address != NOWHERE:
                return address
        return NOWHERE

    def free(state, request, address):
        """Free the block with the handle ``request.block`` in its range. ``address`` is not used."""
        take_back(state, request)

    return {**own, **{each.__name__: each for each in (init, enlarge, alloc, alloc_behind, free)}}
