"""What every function of the loop works on, handed on by its address: as values it would be copied at each call."""

from functools import cache
from types import SimpleNamespace
from typing import Any, NamedTuple


class World(NamedTuple):
    states: Any  # groups of policies' states
    books: Any
    order: Any  # of the eviction rule


def plain() -> SimpleNamespace:
    """For the interpreter."""
    return SimpleNamespace(keep=lambda world: world, group_of=lambda world, number: world.states[number])


@cache
def compiled() -> SimpleNamespace:
    """The same as instructions."""
    from memtrace.engine import held

    return SimpleNamespace(keep=held.keep, group_of=held.group_of)
