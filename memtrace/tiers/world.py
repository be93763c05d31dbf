"""The arrays that every function of the replay over tiers works on, in one NamedTuple.

Compiled functions pass it by reference: passed by value, all its fields would be copied at each call.
"""

from functools import cache
from types import SimpleNamespace
from typing import Any, NamedTuple


class World(NamedTuple):
    """All that a replay over tiers reads and writes."""

    states: Any  # states[group][member]: a group for each policy, with a state for each tier of that policy
    books: Any  # `books.Books`
    order: Any  # arrays of the eviction rule, its ``Order``


def plain() -> SimpleNamespace:
    """Return the two functions by which interpreted code uses a world.

    ``keep(world)`` returns the world to hand on to other functions; ``group_of(world, number)`` returns the states of the
    policies in the group of that number.
    """
    return SimpleNamespace(keep=lambda world: world, group_of=lambda world, number: world.states[number])


@cache
def compiled() -> SimpleNamespace:
    """Return the functions ``keep`` and ``group_of`` of `plain` for compiled code, which passes a world by reference."""
    from memtrace.engine import held

    return SimpleNamespace(keep=held.keep, group_of=held.group_of)
