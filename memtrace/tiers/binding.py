"""Bind the policies of the tiers and an eviction rule into one module of functions, which the replay loop calls by tier.

Tiers with the same policy share its compiled code: the states are a tuple of groups, one for each policy module, and a group is
a tuple of states. A tier is given by (group, member). All arrays that the functions work on are in one NamedTuple, the
``World``. Compiled functions pass it by reference: passed by value, all its fields would be copied at each call.
"""

import hashlib
import sys
from functools import cache
from types import ModuleType, SimpleNamespace
from typing import Any, NamedTuple

from memtrace.contract.calls import out_of_line
from memtrace.contract.ledger import BLOCK_SIZE, HOLE_TAKEN, INSPECTED, RESERVED
from memtrace.contract.policy import Policy
from memtrace.contract.request import ENLARGE
from memtrace.engine.binding import bind
from memtrace.engine.recorder import write_row
from memtrace.tiers.records import note_offence


class World(NamedTuple):
    """All that a replay over tiers reads and writes."""

    states: Any  # states[group][member]: a group for each policy, with a state for each tier of that policy
    books: Any  # `books.Books`
    order: Any  # arrays of the eviction rule, its ``Order``


def world_by_value(world):
    """Return the world to hand on to other functions: itself."""
    return world


def states_of_group(world, number):
    """Return the states of the policies in the group of that number."""
    return world.states[number]


def interpreted_access() -> SimpleNamespace:
    """Return the two functions by which interpreted code uses a world.

    ``keep(world)`` returns the world to hand on to other functions; ``group_of(world, number)`` returns the states of the
    policies in the group of that number.
    """
    return SimpleNamespace(keep=world_by_value, group_of=states_of_group)


@cache
def compiled_access() -> SimpleNamespace:
    """Return the functions ``keep`` and ``group_of`` of `interpreted_access` for compiled code.

    They pass a world by reference; or by value, which is slower, where this numba lacks what references are made of.
    """
    from memtrace.engine.compile import knows_references

    if not knows_references():
        compile_by_value()
        return interpreted_access()
    from memtrace.engine import references

    return SimpleNamespace(keep=references.keep, group_of=references.group_of)


def compile_by_value() -> None:
    """Have numba compile the access to a world by value; groups differ in type, so their number has to be a constant."""
    from numba.core.types import IntegerLiteral
    from numba.extending import overload

    @overload(world_by_value)
    def keep(world):
        return lambda world: world

    @overload(states_of_group, prefer_literal=True)
    def group_of(world, number):
        if not isinstance(number, IntegerLiteral):
            return None
        which = number.literal_value
        return lambda world, number: world.states[which]


def bind_tiers(modules: list[ModuleType], rule: ModuleType, interpret: bool = False) -> ModuleType:
    """Return the module of functions for these policies and this eviction rule; it is made once.

    It has the functions of `of_policy`, with an argument ``group`` added behind ``world``, the functions of ``rule``,
    and ``keep`` of `compiled_access`, or of `interpreted_access` if ``interpret``. ``modules``: the distinct policy modules
    of the tiers, in the order of the groups.
    """
    bounds = [bind(module) for module in modules]
    text = "+".join([*(bound.__name__ for bound in bounds), rule.__name__, "plain" if interpret else ""])
    name = f"memtrace.tiers.bound_{hashlib.sha256(text.encode()).hexdigest()[:12]}"
    if name not in sys.modules:
        made, access = ModuleType(name), interpreted_access() if interpret else compiled_access()
        parts = [of_policy(bound, number, access.group_of) for number, bound in enumerate(bounds)]
        functions = {f"checked_of_{i}": part.pop("checked") for i, part in enumerate(parts)}
        for key in parts[0]:
            links = chain([part[key] for part in parts])
            functions[key] = links[-1]
            # The links and the policies' functions are attributes too: `engine.compile.closed` makes attributes compilable.
            functions |= {f"{key}_link_{i}": link for i, link in enumerate(links[:-1])}
            functions |= {f"{key}_of_{i}": part[key] for i, part in enumerate(parts)}
        rules = {key: getattr(rule, key) for key in ("enter", "touch", "leave", "victim")}
        vars(made).update(functions | rules | {"keep": access.keep})
        sys.modules[name] = made
    return sys.modules[name]


def of_policy(bound, number, group_of):
    """Return, by name, the functions of the policy whose states are the group ``number``; ``bound`` is its bound module.

    All have the same arguments, so that they can be chained: a world, the tier's member in the group, a request, an address, a
    number ``extra``, and a row to write to. ``group_of`` is as in `interpreted_access`. A policy's answer is returned, else 0.
    """
    policy_alloc, policy_free, policy_resize = bound.alloc, bound.free, bound.resize
    policy_trim, policy_access, policy_freed_by = bound.trim, bound.access, bound.freed_by
    policy_record, policy_largest, policy_releasable = bound.record, bound.largest_hole, bound.releasable
    policy_offends, policy_next_event = bound.offends, bound.next_event

    def checked(world, member, state, request, address):
        """Return the policy's answer to a request, and note it down if it is no address that the policy may give."""
        if address != ENLARGE and policy_offends(state, address, request.size, request.align):
            note_offence(world.books.offence, number, member, address, request, state.ledger[RESERVED])
        return address

    @out_of_line
    def ask(world, member, request, address, extra, row):
        """Ask the policy for a block; return an address, NOWHERE, NOTHING or ENLARGE."""
        state = group_of(world, number)[member]
        forget_search(state.ledger)
        return checked(world, member, state, request, policy_alloc(state, request))

    @out_of_line
    def free(world, member, request, address, extra, row):
        """Free the block of ``request`` at ``address``."""
        policy_free(group_of(world, number)[member], request, address)
        return 0

    @out_of_line
    def resize(world, member, request, address, extra, row):
        """Ask the policy to resize the block at ``address`` from ``extra`` bytes to those of ``request``; return as `ask`."""
        state = group_of(world, number)[member]
        return checked(world, member, state, request, policy_resize(state, request, address, extra))

    @out_of_line
    def trim(world, member, request, address, extra, row):
        """Have the policy release unused memory to the system."""
        policy_trim(group_of(world, number)[member])
        return 0

    @out_of_line
    def access(world, member, request, address, extra, row):
        """Tell the policy of an access to the block of ``request`` at ``address``."""
        policy_access(group_of(world, number)[member], request, address)
        return 0

    @out_of_line
    def record(world, member, request, address, extra, row):
        """Tell the policy that stream ``extra`` uses the block of ``request`` at ``address``; return its answer."""
        return policy_record(group_of(world, number)[member], request, extra, address)

    def freed_by(world, member, request, address, extra, row):
        """Tell the policy, before a free, that stream ``extra`` frees the block of ``request``."""
        policy_freed_by(group_of(world, number)[member], request, extra)
        return 0

    def next_event(world, member, request, address, extra, row):
        """Tell the policy that the event of number ``address`` comes."""
        policy_next_event(group_of(world, number)[member], address)
        return 0

    def book(world, member, request, address, extra, row):
        """Return entry ``extra`` of the policy's ledger."""
        return group_of(world, number)[member].ledger[extra]

    @out_of_line
    def note(world, member, request, address, extra, row):
        """Write the columns recorder.ROW to ``row``: event ``address``, live bytes ``extra``, and the ledger's counts."""
        state = group_of(world, number)[member]
        write_row(row, address, extra, state.ledger, policy_largest(state), policy_releasable(state))
        return 0

    freed = freed_by if policy_freed_by is Policy.freed_by else out_of_line(freed_by)
    return {
        "ask": ask, "free": free, "resize": resize, "trim": trim, "access": access, "record": record, "freed_by": freed,
        "next_event": next_event, "book": book, "note": note, "checked": checked,
    }  # fmt: skip


def forget_search(ledger):
    """Reset the entries of a policy's ledger that describe its last search, before a request."""
    ledger[INSPECTED] = 0
    ledger[HOLE_TAKEN] = 0
    ledger[BLOCK_SIZE] = 0


def chain(functions):
    """Return a chain of comparisons for one function name: ``functions[i]`` is the one of group i.

    The last element returned is the function for any group; the others are the links that it calls. Compiled code cannot index
    a tuple of groups by a variable, since the groups differ in type.
    """
    links = [chain_end(functions[-1])]
    for number in range(len(functions) - 2, -1, -1):
        links.append(chain_link(functions[number], number, links[-1]))
    return links


def chain_end(function):
    """Return the end of a chain: a function that calls ``function`` for any group that the links before it did not take."""

    def one(world, group, member, request, address, extra, row):
        """Call the function of the last group."""
        return function(world, member, request, address, extra, row)

    return one


def chain_link(function, number, rest):
    """Return a link of a chain: a function that calls ``function`` if its group is ``number``, else the next link ``rest``."""

    def one(world, group, member, request, address, extra, row):
        """Call the function of the group, here or further down the chain."""
        if group == number:
            return function(world, member, request, address, extra, row)
        return rest(world, group, member, request, address, extra, row)

    return one
