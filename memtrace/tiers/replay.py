"""Replay a trace over tiers: make the states, the records and the compiled loop, and run the loop over the batches of events."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from memtrace.errors import PolicyError, UsageError
from memtrace.tiers.tier import MOST_TIERS, SCALE, Plan, Tier
from memtrace.trace.tags import is_named, kind_of, kinds_of

if TYPE_CHECKING:
    from memtrace.engine.registry import Policy
    from memtrace.tiers.binding import World
    from memtrace.tiers.records import Records
    from memtrace.tiers.uses import Uses
    from memtrace.trace import Events, Trace

Progress = Callable[[int, int], None]


@dataclass(frozen=True, kw_only=True, eq=False)
class TierReplay:
    """The result of replaying one trace over tiers."""

    trace: Trace
    tiers: tuple[Tier, ...]
    policies: tuple[Policy, ...]
    plan: Plan
    uses: Uses
    books: Records
    states: Any  # states[group][member]: the policies' states at the end
    addresses: NDArray[np.int64] | None  # [event] of an alloc or realloc; -1 where it failed, -2 for none
    landed: NDArray[np.int8] | None  # [event] the tier of that address, -1 for none
    seconds: float  # spent in the loop

    def count(self, name: str) -> NDArray[np.int64]:
        """Return int64[tier], a count of every tier, by its name in `memtrace.tiers.records`, such as "HITS"."""
        from memtrace.tiers import records

        return self.books.tiers[:, getattr(records, name)]

    def total(self, name: str) -> int:
        """Return a count of the whole run; ``name`` is that of its entry of Books.totals in `records`, such as "STALL"."""
        from memtrace.tiers import records

        return int(self.books.totals[getattr(records, name)])

    @property
    def events(self) -> int:
        """Return how many events were replayed."""
        return self.total("EVENT")

    @property
    def oom_event(self) -> int | None:
        """Return the event whose request found no room and ended the replay; None if none did."""
        event = self.total("OOM_EVENT")
        return None if event < 0 else event

    @property
    def status(self) -> str:
        """Return "oom" if a request found no room and ended the replay, else "ok"."""
        return "ok" if self.oom_event is None else "oom"

    def ledger(self, tier: int) -> NDArray[np.int64]:
        """Return the ledger of the policy of a tier, as it was at the end; ``tier`` is its number, 0 for the top."""
        from memtrace.tiers.records import GROUP, MEMBER

        row = self.books.tiers[tier]
        return self.states[row[GROUP]][row[MEMBER]].ledger


def replay_tiers(
    trace: Trace,
    tiers: Sequence[Tier],
    plan: Plan = Plan(),  # noqa: B008
    *,
    on_oom: str = "stop",
    samples: int = 2000,
    keep: bool = False,
    interpret: bool = False,
    batch_rows: int = 1 << 20,
    progress: Progress | None = None,
    known: Uses | None = None,
) -> TierReplay:
    """Replay ``trace`` over ``tiers``, the fastest first, as ``plan`` says.

    ``on_oom``: "stop" ends the replay at a request that no tier has room for, "skip" goes on without its block. ``samples`` is
    the most events that are sampled. ``keep`` keeps the address and tier of every event. ``interpret`` runs the loop uncompiled.
    ``progress`` is called with the events done and all events. ``known``: the uses of another replay of this trace by this
    plan, which are the same for any capacities.
    Raises UsageError for a policy that cannot be in a tier, and for a trace that does not say when blocks are used.
    """
    from memtrace.engine.explanation import blamed
    from memtrace.engine.registry import parse_policy

    if not 1 <= len(tiers) <= MOST_TIERS:
        raise UsageError(f"{len(tiers)} tiers; a replay takes 1 to {MOST_TIERS}")
    uses = known or known_uses(trace, tiers, plan)
    modules = [parse_policy(tier.policy).module for tier in tiers]
    with blamed(*modules):
        run = assembled(trace, tiers, plan, uses, samples, on_oom == "skip", interpret)
        kept: list[tuple[NDArray[np.int64], NDArray[np.int8]]] = []
        seconds, done = 0.0, 0
        for events in trace.batches(batch_rows):
            rows = events.op.size
            addresses = np.full(rows + 1 if keep else 1, -2)
            landed = np.full(rows + 1 if keep else 1, -1, np.int8)
            times = event_times(trace, done, rows)
            started = time.perf_counter()
            came, stopped = run.replay(events, times, addresses, landed)
            seconds += time.perf_counter() - started
            done += came
            if keep:
                kept.append((addresses[:came], landed[:came]))
            if progress is not None:
                progress(done, trace.facts.events)
            if stopped:
                break
    joined = [np.concatenate(parts) for parts in zip(*kept, strict=True)] if kept else [None, None]
    return TierReplay(
        trace=trace,
        tiers=tuple(tiers),
        policies=run.policies,
        plan=plan,
        uses=uses,
        books=run.world.books,
        states=run.world.states,
        addresses=joined[0],
        landed=joined[1],
        seconds=seconds,
    )


def known_uses(trace: Trace, tiers: Sequence[Tier], plan: Plan) -> Uses:
    """Return when blocks are used, by the plan's rule; also in the future, where the eviction rule or prefetching needs that."""
    from memtrace.tiers.eviction import rule
    from memtrace.tiers.uses import rule_of, uses_of

    asked = rule_of(trace, plan.uses) if len(tiers) > 1 or plan.uses != "auto" else "access"
    return uses_of(trace, asked, knows_future(plan, rule(plan.evict)))


def knows_future(plan: Plan, evict: ModuleType) -> bool:
    """Return whether the replay reads uses that are still to come."""
    return bool(evict.FORESEES or plan.prefetch)


def event_times(trace: Trace, first: int, rows: int) -> NDArray[np.int64]:
    """Return the times of a batch in ns, int64[event]; one element where the trace has none, and never one where it has."""
    if "time" not in trace.columns:
        return np.zeros(1, np.int64)
    times = trace.times(np.arange(first, first + rows))
    return np.repeat(times, 2) if rows == 1 else times


def assembled(trace: Trace, tiers: Sequence[Tier], plan: Plan, uses: Uses, samples: int, skip: bool, interpret: bool) -> TierRun:
    """Return what drives a replay over tiers; UsageError for a policy that cannot be in a tier."""
    from memtrace.contract.ledger import set_detail
    from memtrace.contract.policy import function_of
    from memtrace.engine.registry import parse_policy
    from memtrace.tiers.binding import World, bind_tiers
    from memtrace.tiers.eviction import rule
    from memtrace.tiers.records import new_records

    policies = tuple(parse_policy(tier.policy) for tier in tiers)
    for policy in policies:
        check_policy(policy, trace)
    facts, evict = trace.facts, rule(plan.evict)
    modules = list(dict.fromkeys(policy.module for policy in policies))
    by_group, fixed = group_tiers(tiers, policies, modules)
    states: Any = tuple(tuple(new_state(tiers[k], policies[k], trace) for k in group) for group in by_group)
    for group in states:
        for state in group:
            set_detail(state.ledger, facts.median_request, facts.p99_request, True, True, None)
            if "gaps" in state._fields:  # of a policy without a ledger
                set_detail(state.gaps.ledger, facts.median_request, facts.p99_request, True, False)
    books = new_records(
        facts,
        len(trace.tags),
        (fixed, speeds(tiers), *ratio_tables(tiers, trace.tags)),
        samples,
        uses.extra,
        uses.future,
        pinned=pinned_tags(trace, plan.pinned),
        last_uses=uses.last,
        ahead=plan.prefetch,
        foresees=knows_future(plan, evict),
        overlap=plan.overlap,
        skip=skip,
        scratch=policies[0].options["swap"] == "scratch",
        event_ns=plan.event_ns,
        told=any(function_of(policy.module, "next_event") for policy in policies),
    )
    return TierRun(
        trace=trace.name,
        loop=replay_loop(modules, evict, bind_tiers(modules, evict, interpret), interpret),
        policies=policies,
        world=World(states=states, books=books, order=evict.init(len(tiers), facts.max_live + 1)),
    )


@dataclass(kw_only=True)
class TierRun:
    """The loop over tiers and what it changes."""

    trace: str  # its name, for messages
    loop: Any  # what `replay_loop` returns
    policies: tuple[Policy, ...]  # by tier
    world: World  # replaced when a policy's state is enlarged

    def replay(self, events: Events, times: NDArray[np.int64], addresses: NDArray[np.int64], landed: Any) -> tuple[int, bool]:
        """Replay one batch; return the events replayed, and whether the replay ends there for want of room.

        ``times`` is int64[event], or one element where the trace has no times. ``addresses`` and ``landed`` (the tier of each
        address, int8[event]) are filled unless they have one element.
        """
        from memtrace.engine.driver import drive
        from memtrace.engine.loop import OFFENCE, TOO_SMALL

        def step(row: int) -> tuple[int, int]:
            came, why = self.loop(events, times, row, self.world, addresses, landed)
            if why == OFFENCE:
                raise self.offence()
            return came, why

        return drive(step, {TOO_SMALL: self.enlarge})

    def offence(self) -> PolicyError:
        """Return the error that names what the policy of a tier did and may not do in the current event."""
        from memtrace.engine.offences import judged
        from memtrace.tiers.records import EVENT, GROUP, LIMIT, MEMBER, PEAK_RESERVED

        books = self.world.books
        noted, group, member, address, size, align, reserved = books.offence.tolist()
        for tier, (policy, row) in enumerate(zip(self.policies, books.tiers, strict=True)):
            if noted and (row[GROUP], row[MEMBER]) == (group, member):
                wrong = judged(f"a block of {size:,} bytes", address, size, align, reserved) or "the block overlaps another"
            elif not noted and row[PEAK_RESERVED] > row[LIMIT]:
                wrong = f"{row[PEAK_RESERVED]:,} bytes are reserved, which is above the capacity of {row[LIMIT]:,}"
            else:
                continue
            return PolicyError(
                f"{policy.label} in tier {tier} of {self.trace}: event {int(books.totals[EVENT]):,}: {wrong}\n"
                "try: memtrace policies --check, on the policy"
            )
        raise AssertionError("the loop stopped for an offence, and there is none")

    def enlarge(self) -> None:
        """Replace the state of the policy that asked for a larger one."""
        from memtrace.engine.binding import bind
        from memtrace.engine.driver import enlarged
        from memtrace.tiers.records import ENLARGED, GROUP, MEMBER

        states, books = self.world.states, self.world.books
        tier = int(books.totals[ENLARGED])
        group, member = int(books.tiers[tier][GROUP]), int(books.tiers[tier][MEMBER])
        policy, members = self.policies[tier], list(states[group])
        members[member] = enlarged(policy, bind(policy.module), members[member])
        self.world = self.world._replace(states=(*states[:group], tuple(members), *states[group + 1 :]))


def replay_loop(modules: list[ModuleType], evict: ModuleType, bound: ModuleType, interpret: bool) -> Any:
    """Return the loop for the policies ``modules``, by group, and the eviction rule ``evict``, of which ``bound`` was made.

    It is compiled at its first call, or interpreted if ``interpret``.
    """
    from memtrace.engine import offences
    from memtrace.engine.binding import bind
    from memtrace.engine.compile import closed, sources_of
    from memtrace.tiers import binding, loop

    if interpret:
        return loop.specialise(bound)
    if bound not in _loops:
        sources = [*(source for module in modules for source in sources_of(module)), evict, loop, binding, offences]
        name = "-".join(module.__name__.rpartition(".")[2] for module in (*modules, evict))
        _loops[bound] = closed(loop.specialise(bound), name, sources, [bound, *map(bind, modules)])
    return _loops[bound]


_loops: dict[ModuleType, Any] = {}  # compiled loops by bound module


def is_compiled(tiers: Sequence[Tier], plan: Plan) -> bool:
    """Return whether code of the loop for these policies and this eviction rule is on disk."""
    from memtrace.engine.registry import parse_policy
    from memtrace.tiers.binding import bind_tiers
    from memtrace.tiers.eviction import rule

    modules = list(dict.fromkeys(parse_policy(tier.policy).module for tier in tiers))
    loop = replay_loop(modules, rule(plan.evict), bind_tiers(modules, rule(plan.evict)), False)
    return bool(loop.was_compiled())


def check_policy(policy: Policy, trace: Trace) -> None:
    """Raise UsageError for a policy that a tier cannot have: one whose blocks move or come in pieces, or which follows a plan.

    A policy that waits for streams is refused too, if ``trace`` has record events.
    """
    from memtrace.contract.policy import function_of
    from memtrace.engine.binding import bind

    bound = bind(policy.module)
    if function_of(policy.module, "plan") or bound.address_of or bound.first_piece or bound.first_holes:
        raise UsageError(
            f"{policy.label} cannot be the policy of a tier: its blocks move, come in pieces, or are planned beforehand\n"
            "try: best-fit, first-fit, buddy, tlsf or another of the ordinary ones"
        )
    if trace.facts.records and function_of(policy.module, "record") is not None:
        raise UsageError(f"{policy.label} waits for streams (record), which a replay over tiers does not follow; try best-fit")


def group_tiers(tiers: Sequence[Tier], policies: Sequence[Policy], modules: list[ModuleType]) -> tuple[list[list[int]], Any]:
    """Return the numbers of the tiers of each policy module, and an array with a row of fixed columns for each tier.

    The columns are CAPACITY, GROUP, MEMBER, LATENCY, PACKS and LIMIT of `records`.
    """
    from memtrace.engine.driver import limit_of

    by_group: list[list[int]] = [[] for _ in modules]
    rows = []
    for number, (tier, policy) in enumerate(zip(tiers, policies, strict=True)):
        group = modules.index(policy.module)
        limit = limit_of(policy, tier.capacity)
        rows.append((tier.capacity, group, len(by_group[group]), tier.latency, tier.compression is not None, limit))
        by_group[group].append(number)
    return by_group, np.array(rows, np.int64)


def new_state(tier: Tier, policy: Policy, trace: Trace) -> Any:
    """Return the first state of the policy of a tier, with room for the live blocks of the trace and one more.

    Raises UsageError, which names the tier, for options that the policy refuses.
    """
    from memtrace.engine.binding import bind
    from memtrace.engine.driver import initial_state, started

    bound = bind(policy.module)
    try:
        return started(bound, initial_state(policy, bound, tier.capacity, trace.facts.max_live + 1), trace)
    except UsageError as error:
        raise UsageError(f"tier {tier.name}: {error}") from None


def speeds(tiers: Sequence[Tier]) -> NDArray[np.float64]:
    """Return, by tier, the ns per byte of the link, of packing and of unpacking: `[tier, 3]`."""
    rows = []
    for tier in tiers:
        rates = (tier.compression.pack, tier.compression.unpack) if tier.compression else (0.0, 0.0)
        rows.append((tier.ns_per_byte, *(1e9 / rate if rate else 0.0 for rate in rates)))
    return np.array(rows, np.float64)


def ratio_tables(tiers: Sequence[Tier], tags: Sequence[str]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the compression ratios in thousandths, `[tier, tag, i]`, and their number, `[tier, tag]`.

    The last tag is that of blocks without a tag. A tier that does not compress has ratio 1.
    """
    from memtrace.tiers.records import MOST_RATIOS

    ratios = np.full((len(tiers), len(tags) + 1, MOST_RATIOS), SCALE, np.int64)
    counts = np.ones((len(tiers), len(tags) + 1), np.int64)
    for k, tier in enumerate(tiers):
        known = tier.compression.ratios if tier.compression else {}
        for code, tag in enumerate((*tags, "")):
            given = known.get(tag) or known.get(kind_of(tag)) or known.get("*") or (SCALE,)
            ratios[k, code, : len(given)] = given
            counts[k, code] = len(given)
    return ratios, counts


def pinned_tags(trace: Trace, pinned: Sequence[str]) -> NDArray[np.int8]:
    """Return int8[tag + 1]: 1 for each tag whose blocks are pinned, else 0; the last element, for blocks without a tag, is 0.

    ``pinned`` are tags, kinds of tags, or patterns of tags. Raises UsageError for one that no tag of the trace is named by.
    """
    from memtrace.names import unknown

    for name in pinned:
        if not any(is_named(tag, (name,)) for tag in trace.tags):
            raise unknown("tag", name, dict.fromkeys((*kinds_of(trace.tags), *trace.tags)))
    return np.array([is_named(tag, pinned) for tag in (*trace.tags, "")], np.int8)
