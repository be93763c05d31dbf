"""Policies of the tiers and an eviction rule -> one module of functions that the loop calls by tier.

Tiers of one policy share its compiled text. `states` is a tuple of groups, one per policy, each a tuple of states; a tier is
(group, member).
"""

import hashlib
import sys
from types import ModuleType

from memtrace.engine.binding import bind
from memtrace.engine.recorder import write_row
from memtrace.structures.calls import apart
from memtrace.structures.ledger import BLOCK_SIZE, HOLE_TAKEN, INSPECTED


def bind_tiers(modules: list[ModuleType], rule: ModuleType) -> ModuleType:
    """``modules``: the distinct policy modules of the tiers, in order."""
    bounds = [bind(module) for module in modules]
    text = "+".join([*(bound.__name__ for bound in bounds), rule.__name__])
    name = f"memtrace.tiers.bound_{hashlib.sha256(text.encode()).hexdigest()[:12]}"
    if name not in sys.modules:
        made = ModuleType(name)
        parts = [of_policy(bound) for bound in bounds]
        functions = {}
        for key in parts[0]:
            links = chained([part[key] for part in parts])
            functions[key] = links[-1]
            # The compiler finds what it has to compile among the names of the module.
            functions |= {f"{key}_link_{i}": link for i, link in enumerate(links[:-1])}
            functions |= {f"{key}_of_{i}": part[key] for i, part in enumerate(parts)}
        rules = {key: getattr(rule, key) for key in ("enter", "touch", "leave", "victim")}
        vars(made).update(functions | rules)
        sys.modules[name] = made
    return sys.modules[name]


def of_policy(bound):
    """One policy's functions over a tuple of its states; each takes four further values, of which it needs some."""
    policy_alloc, policy_free, policy_resize = bound.alloc, bound.free, bound.resize
    policy_trim, policy_access, policy_freed_by = bound.trim, bound.access, bound.freed_by
    policy_record, policy_largest, policy_releasable = bound.record, bound.largest_hole, bound.releasable

    @apart
    def ask(states, member, request, address, extra, row):
        state = states[member]
        ledger = state.ledger
        ledger[INSPECTED] = 0
        ledger[HOLE_TAKEN] = 0
        ledger[BLOCK_SIZE] = 0
        return policy_alloc(state, request)

    @apart
    def free(states, member, request, address, extra, row):
        policy_free(states[member], request, address)
        return 0

    @apart
    def resize(states, member, request, address, extra, row):
        return policy_resize(states[member], request, address, extra)

    @apart
    def trim(states, member, request, address, extra, row):
        policy_trim(states[member])
        return 0

    @apart
    def access(states, member, request, address, extra, row):
        policy_access(states[member], request, address)
        return 0

    @apart
    def record(states, member, request, address, extra, row):
        return policy_record(states[member], request, extra, address)

    @apart
    def freed_by(states, member, request, address, extra, row):
        policy_freed_by(states[member], request, extra)
        return 0

    @apart
    def book(states, member, request, address, extra, row):
        return states[member].ledger[extra]

    @apart
    def note(states, member, request, address, extra, row):
        state = states[member]
        write_row(row, address, extra, state.ledger, policy_largest(state), policy_releasable(state))
        return 0

    return {
        "ask": ask, "free": free, "resize": resize, "trim": trim, "access": access, "record": record,
        "freed_by": freed_by, "book": book, "note": note,
    }  # fmt: skip


def chained(functions):
    """The links of a chain of comparisons, since groups differ in type; the last one is the function of any tier."""
    end, function = len(functions) - 1, functions[-1]

    def last(states, group, member, request, address, extra, row):
        return function(states[end], member, request, address, extra, row)

    links = [last]
    for number in range(end - 1, -1, -1):
        links.append(link(functions[number], number, links[-1]))
    return links


def link(function, number, rest):
    def one(states, group, member, request, address, extra, row):
        if group == number:
            return function(states[number], member, request, address, extra, row)
        return rest(states, group, member, request, address, extra, row)

    return one
