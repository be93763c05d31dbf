"""Policies of the tiers and an eviction rule -> one module of functions that the loop calls by tier.

Tiers of one policy share its compiled text. The states are a tuple of groups, one per policy, each a tuple of states; a tier is
(group, member).
"""

import hashlib
import sys
from types import ModuleType

from memtrace.engine import standins
from memtrace.engine.binding import bind
from memtrace.engine.recorder import write_row
from memtrace.structures.calls import apart
from memtrace.structures.ledger import BLOCK_SIZE, HOLE_TAKEN, INSPECTED
from memtrace.tiers import world


def bind_tiers(modules: list[ModuleType], rule: ModuleType, interpret: bool = False) -> ModuleType:
    """``modules``: the distinct policy modules of the tiers, in order."""
    bounds = [bind(module) for module in modules]
    text = "+".join([*(bound.__name__ for bound in bounds), rule.__name__, "plain" if interpret else ""])
    name = f"memtrace.tiers.bound_{hashlib.sha256(text.encode()).hexdigest()[:12]}"
    if name not in sys.modules:
        made, access = ModuleType(name), world.plain() if interpret else world.compiled()
        parts = [of_policy(bound, number, access.group_of) for number, bound in enumerate(bounds)]
        functions = {}
        for key in parts[0]:
            links = chained([part[key] for part in parts])
            functions[key] = links[-1]
            # The compiler finds what it has to compile among the names of the module.
            functions |= {f"{key}_link_{i}": link for i, link in enumerate(links[:-1])}
            functions |= {f"{key}_of_{i}": part[key] for i, part in enumerate(parts)}
        rules = {key: getattr(rule, key) for key in ("enter", "touch", "leave", "victim")}
        vars(made).update(functions | rules | {"keep": access.keep})
        sys.modules[name] = made
    return sys.modules[name]


def of_policy(bound, number, group_of):
    """The functions of the policy that is the group ``number``, each over a world, a tier's member in the group, and more."""
    policy_alloc, policy_free, policy_resize = bound.alloc, bound.free, bound.resize
    policy_trim, policy_access, policy_freed_by = bound.trim, bound.access, bound.freed_by
    policy_record, policy_largest, policy_releasable = bound.record, bound.largest_hole, bound.releasable

    @apart
    def ask(world, member, request, address, extra, row):
        state = group_of(world, number)[member]
        forget_search(state.ledger)
        return policy_alloc(state, request)

    @apart
    def free(world, member, request, address, extra, row):
        policy_free(group_of(world, number)[member], request, address)
        return 0

    @apart
    def resize(world, member, request, address, extra, row):
        return policy_resize(group_of(world, number)[member], request, address, extra)

    @apart
    def trim(world, member, request, address, extra, row):
        policy_trim(group_of(world, number)[member])
        return 0

    @apart
    def access(world, member, request, address, extra, row):
        policy_access(group_of(world, number)[member], request, address)
        return 0

    @apart
    def record(world, member, request, address, extra, row):
        return policy_record(group_of(world, number)[member], request, extra, address)

    def freed_by(world, member, request, address, extra, row):
        policy_freed_by(group_of(world, number)[member], request, extra)
        return 0

    def book(world, member, request, address, extra, row):
        return group_of(world, number)[member].ledger[extra]

    @apart
    def note(world, member, request, address, extra, row):
        state = group_of(world, number)[member]
        write_row(row, address, extra, state.ledger, policy_largest(state), policy_releasable(state))
        return 0

    return {
        "ask": ask, "free": free, "resize": resize, "trim": trim, "access": access, "record": record,
        "freed_by": freed_by if policy_freed_by is standins.freed_by else apart(freed_by), "book": book, "note": note,
    }  # fmt: skip


def forget_search(ledger):
    """Before a request."""
    ledger[INSPECTED] = 0
    ledger[HOLE_TAKEN] = 0
    ledger[BLOCK_SIZE] = 0


def chained(functions):
    """The links of a chain of comparisons, since groups differ in type; the last one is the function of any tier."""
    links = [last(functions[-1])]
    for number in range(len(functions) - 2, -1, -1):
        links.append(link(functions[number], number, links[-1]))
    return links


def last(function):
    def one(world, group, member, request, address, extra, row):
        return function(world, member, request, address, extra, row)

    return one


def link(function, number, rest):
    def one(world, group, member, request, address, extra, row):
        if group == number:
            return function(world, member, request, address, extra, row)
        return rest(world, group, member, request, address, extra, row)

    return one
