"""What a policy reports of its bytes and holes, and the rules that hold for it whatever the policy is.

The rules bound what is reported by the true blocks: from below by the bytes requested, from above by the gaps between them.
Within these bounds a report is taken on trust.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from memtrace.contract import ledger as entries
from memtrace.contract.policy import functions_of, has_ledger
from memtrace.engine.known import known_of_policy
from memtrace.engine.registry import Policy
from memtrace.validation.offences import Offence

MOST_RESERVED = 1 << 48  # bytes that may be reserved without limit, while next to nothing is live


class Figures(NamedTuple):
    """What a policy reports after a call, in bytes but for ``holes``; None is not reported."""

    reserved: int
    allocated: int | None
    free: int | None
    holes: int | None
    largest: int | None

    def __str__(self) -> str:
        """Return the figures as text, without those that are not reported."""
        return ", ".join(f"{name} {value}" for name, value in self._asdict().items() if value is not None)


class Search(NamedTuple):
    """What a ledger says of the last request: holes inspected, bytes of the hole taken and of the block."""

    inspected: int
    taken: int
    block: int


def reader(policy: Policy, bound: Any) -> Callable[[Any], Figures]:
    """Return a function that reads the figures from a policy's state."""
    if has_ledger(policy.module):
        known = known_of_policy(policy.module)

        def from_ledger(state: Any) -> Figures:
            ledger = state.ledger
            reserved = int(ledger[entries.RESERVED])
            allocated = int(ledger[entries.ALLOCATED]) if "allocated" in known else None
            if "holes" not in known:
                return Figures(reserved, allocated, None, None, None)
            largest = whole_number("largest_hole", bound.largest_hole(state))
            return Figures(reserved, allocated, int(ledger[entries.FREE]), int(ledger[entries.HOLES]), largest)

        return from_ledger
    own = functions_of(policy.module)
    own_reserved, survey = own["reserved"], own.get("survey")

    def from_survey(state: Any) -> Figures:
        reserved = whole_number("reserved", own_reserved(state.inner))
        if survey is None:
            return Figures(reserved, None, None, None, None)
        return Figures(reserved, *survey_of(survey(state.inner)))

    return from_survey


def survey_of(found: Any) -> tuple[int, int, int, int]:
    """Return the four whole numbers of a survey; Offence if it is something else."""
    if not isinstance(found, tuple) or len(found) != 4:
        raise Offence("type", f"survey returned {found!r}; it returns (allocated, free, number of holes, largest hole)")
    allocated, free, holes, largest = (whole_number("survey", each) for each in found)
    return allocated, free, holes, largest


def whole_number(function: str, value: Any) -> int:
    """Return a value that a function of the policy returned as an int; Offence if it is no whole number."""
    import numpy as np

    if isinstance(value, bool | np.bool_) or not isinstance(value, int | np.integer):
        shown = value.item() if isinstance(value, np.generic) else value
        what = {"float": "a float", "NoneType": "None"}.get(type(shown).__name__, f"{shown!r}, a {type(shown).__name__}")
        if what == "a float":
            what = f"{shown}, a float"
        raise Offence("type", f"{function} returned {what}; it returns a whole number of bytes")
    return int(value)


def check_totals(now: Figures, live: int, slack: int | None) -> None:
    """Raise Offence if the totals contradict each other or the ``live`` bytes requested.

    ``slack`` are the reserved bytes that are neither allocated nor in holes at the start, which stay as many; None: they vary.
    """
    for kind, count in zip(("outside", "allocated", "holes", "holes", "holes"), now, strict=True):
        if count is not None and count < 0:
            raise Offence(kind, f"a count is below 0: {now}")
    if now.allocated is None:
        if live > now.reserved:
            raise Offence("outside", f"{live} bytes are live, but only {now.reserved} reserved")
        return
    if now.allocated < live:
        raise Offence("allocated", f"{now.allocated} bytes are allocated, but {live} are live: {now}")
    if now.allocated > now.reserved:
        raise Offence("allocated", f"more is allocated than reserved: {now}")
    if now.free is None:
        return
    rest = now.reserved - now.allocated - now.free
    if rest < 0:
        raise Offence("holes", f"allocated and free bytes are more than reserved: {now}")
    if slack is not None and rest != slack:
        was = f"{slack} were" if slack else "none was"
        raise Offence(
            "lost",
            f"{rest} reserved bytes are neither allocated nor in holes, where {was} at the start: {now}"
            " (a policy that has such bytes, as the tails of pages are, says UNUSABLE = True)",
        )


def check_holes(now: Figures, gap: int | None) -> None:
    """Raise Offence if number, bytes and largest of the holes contradict each other, or the largest ``gap`` between blocks."""
    free, holes, largest = now.free, now.holes, now.largest
    if free is None or holes is None or largest is None:
        return
    if (holes == 0) != (free == 0) or (holes == 0) != (largest == 0):
        raise Offence("holes", f"number, bytes and largest of the holes are 0 together or not at all: {now}")
    if holes and largest > free - (holes - 1):
        raise Offence("holes", f"the largest of {holes} holes cannot have {largest} of {free} free bytes: {now}")
    if holes and largest * holes < free:
        raise Offence("holes", f"{holes} holes of at most {largest} bytes cannot have {free} free bytes: {now}")
    if gap is not None and largest > gap:
        raise Offence(
            "holes", f"the largest hole is said to have {largest} bytes, but the largest gap between blocks has {gap}: {now}"
        )


def check_sizes(ledger: Any, now: Figures) -> None:
    """Raise Offence if the ledger's counts of hole sizes contradict each other."""
    free, holes, largest = now.free or 0, now.holes or 0, now.largest or 0
    squares = entries.sum_of_squares(ledger)
    if not largest * largest <= squares <= free * largest or squares * holes < free * free:
        raise Offence("holes", f"the sum of the squares of the hole sizes, {squares}, cannot be: {now}")
    for name, first, total in (("holes", entries.CLASS_HOLES, holes), ("bytes", entries.CLASS_BYTES, free)):
        counted = ledger[first : first + 64]
        if counted.min() < 0 or int(counted.sum()) != total:
            raise Offence("holes", f"the classes of hole sizes have {int(counted.sum())} {name}, not {total}: {now}")
    if not 0 <= ledger[entries.BELOW_MEDIAN] <= ledger[entries.BELOW_P99] <= free:
        raise Offence("holes", f"the bytes in holes below the median and the 99th percentile of the requests cannot be: {now}")


def check_counts(ledger: Any, now: Figures, before: Figures, old: Any, calls: bool) -> None:
    """Raise Offence if a count of the ledger fell, or those of ``calls`` do not fit; ``old`` is the ledger before."""
    for name in ("SPLITS", "MERGES", "MOVED", "RESERVE_CALLS", "RELEASE_CALLS"):
        entry = getattr(entries, name)
        if ledger[entry] < old[entry]:
            raise Offence("counts", f"{name} of the ledger fell from {int(old[entry])} to {int(ledger[entry])}")
    grown = ledger[entries.RESERVE_CALLS] > old[entries.RESERVE_CALLS]
    shrunk = ledger[entries.RELEASE_CALLS] > old[entries.RELEASE_CALLS]
    if calls and now.reserved > before.reserved and not grown:
        raise Offence("counts", f"reserved rose from {before.reserved} to {now.reserved}, but RESERVE_CALLS did not")
    if calls and now.reserved < before.reserved and not shrunk:
        raise Offence("counts", f"reserved fell from {before.reserved} to {now.reserved}, but RELEASE_CALLS did not")


def check_search(found: Search, size: int, now: Figures, before: Figures) -> None:
    """Raise Offence if what the ledger says of a request for ``size`` bytes that got a block cannot be."""
    assert before.holes is not None
    if found.inspected < 0 or (before.holes == 0 and found.inspected > 0):
        raise Offence("search", f"{found.inspected} holes were inspected, but there were {before.holes}")
    if found.block < size:
        raise Offence("search", f"BLOCK_SIZE of the ledger is {found.block}, less than the {size} bytes asked for")
    if found.taken and found.taken < found.block:
        raise Offence("search", f"the block has {found.block} bytes, more than the hole that was taken: {found.taken}")
    if found.taken and before.holes == 0 and now.reserved == before.reserved:
        raise Offence("search", f"a hole of {found.taken} bytes was taken, but there was none")
