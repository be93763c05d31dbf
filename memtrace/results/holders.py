"""Who holds memory: live bytes by tag, and the blocks that pin free bytes, at the peak of live bytes and at the end of a replay.

They become the tables `holders` and `pins` of the results. A block pins the free bytes on its two sides: if it were freed, they
would be one range.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from memtrace.contract.policy import constants_of

if TYPE_CHECKING:
    from memtrace.engine.registry import Policy
    from memtrace.engine.replay import Look, Placement
    from memtrace.results.tables import Results
    from memtrace.trace import Events, Trace

Columns = dict[str, Any]
Ints = NDArray[np.int64]
Ranges = tuple[Ints, Ints, Ints, Ints]
PEAK, END, OOM = "peak", "end", "oom"  # moments: the peak of live bytes; the last event; the event at which memory ran out
MOST_PINS = 10  # blocks listed in the table `pins` for each moment
MOST_TAGS = 2000  # tags with a row for each moment in the table `holders`; the others are one row
OTHERS = "(other)"  # the tag of that row


class Moment(Protocol):
    """A state of a replay. A `Placement` is that at the end."""

    @property
    def policy(self) -> Policy: ...
    @property
    def trace(self) -> Trace: ...
    @property
    def blocks(self) -> Any:
        """Return the records by slot (engine.blocks.BLOCK)."""

    @property
    def state(self) -> Any:
        """Return the policy's state."""


@dataclass(frozen=True)
class Seen:
    """A state while the replay goes on."""

    policy: Policy
    trace: Trace
    blocks: Any
    state: Any


class AtPeak:
    """Finds who holds memory at the first event with the peak of live bytes, as a ``look`` of `engine.replay.replay`.

    The event is a fact of the trace. `columns` then returns the rows of both tables.
    """

    def __init__(self, trace: Trace, policy: Policy) -> None:
        """Take what is to be replayed."""
        self.trace, self.policy = trace, policy
        self.events = np.array([trace.facts.peak_live_event], np.int64)
        self.event = 0  # events replayed
        self.found: dict[str, Columns] | None = None

    def __call__(self, events: Events, came: int, blocks: Any, state: Any) -> None:
        """Look at the blocks if the batch ends with the event."""
        self.event += came
        if self.found is None and self.event - 1 == self.events[0]:
            self.found = tables(Seen(self.policy, self.trace, blocks, state), PEAK, int(self.events[0]))


class Together:
    """Several looks as one."""

    def __init__(self, *looks: Look) -> None:
        """Take the looks, which are called in this order."""
        self.looks = looks
        self.events = np.unique(np.concatenate([look.events for look in looks]))

    def __call__(self, events: Events, came: int, blocks: Any, state: Any) -> None:
        """Call each look; a batch may end at an event of another, which a look has to ignore."""
        for look in self.looks:
            look(events, came, blocks, state)


def tables_of(placement: Placement, peak: AtPeak | None) -> dict[str, Columns]:
    """Return the columns of `holders` and `pins`: at the peak, if ``peak`` saw it, then at the end or where memory ran out."""
    if not placement.events:
        return {}
    last = tables(placement, END if placement.oom_event is None else OOM, placement.events - 1)
    parts = [last] if peak is None or peak.found is None else [peak.found, last]
    return {name: {column: np.concatenate([part[name][column] for part in parts]) for column in last[name]} for name in last}


def tables(moment: Moment, name: str, event: int) -> dict[str, Columns]:
    """Return the columns of `holders` and `pins` at one moment, which has this name and event."""
    ranges = opened_ranges(moment) if has_addresses(moment) else None
    found = {"holders": by_tag(moment, ranges), "pins": pins(moment, ranges)}
    for table, key in (("holders", "blocks"), ("pins", "bytes")):
        rows = len(found[table][key])
        found[table] |= {"moment": np.full(rows, name, object), "event": np.full(rows, event)}
    return found


def by_tag(moment: Moment, ranges: Ranges | None = None) -> Columns:
    """Return the columns of `holders` at one moment: for each tag its live blocks, their bytes, and the free bytes they pin.

    ``ranges`` are what `opened_ranges` returns, if that was called already.
    The tags with most of both come first. `pinned_bytes` are null where addresses do not tell what lies beside a block.
    """
    from memtrace.engine.blocks import DEAD, FREED

    blocks = moment.blocks
    live = np.flatnonzero((blocks["status"] != DEAD) & (blocks["status"] != FREED))
    codes = blocks["tag"][live].astype(np.int64) + 1  # 0: no tag
    names = np.array([None, *moment.trace.tags], object)
    count, size = np.bincount(codes, minlength=names.size), np.zeros(names.size, np.int64)
    np.add.at(size, codes, blocks["requested"][live].astype(np.int64))
    held = np.zeros(names.size, np.int64)
    known = tells_sides(moment)
    if known:
        slot, doubled = pinned(moment, opened_ranges(moment) if ranges is None else ranges)
        np.add.at(held, blocks["tag"][slot].astype(np.int64) + 1, doubled)
    order = np.argsort(-(size + held // 2), kind="stable")
    order = order[count[order] > 0]
    shown, rest = order[:MOST_TAGS], order[MOST_TAGS:]
    columns = {"tag": names[shown], "blocks": count[shown], "live_bytes": size[shown], "pinned_bytes": held[shown] // 2}
    if rest.size:
        sums = {"tag": OTHERS, "blocks": count[rest].sum(), "live_bytes": size[rest].sum(), "pinned_bytes": held[rest].sum() // 2}
        columns = {name: np.append(column, sums[name]) for name, column in columns.items()}
    if not known:
        columns["pinned_bytes"] = np.full(columns["blocks"].size, np.nan)
    return columns


def tells_sides(moment: Moment) -> bool:
    """Return whether the policy's addresses, or its function ``neighbours``, tell what lies beside a block."""
    from memtrace.contract.policy import function_of

    if not has_addresses(moment):
        return False
    return not constants_of(moment.policy.module).VIRTUAL or function_of(moment.policy.module, "neighbours") is not None


def has_addresses(moment: Moment) -> bool:
    """Return whether each block lies at one address of the policy's own: not of a real allocator, and not in pieces."""
    return not (constants_of(moment.policy.module).FOOTPRINT_ONLY or comes_in_pieces(moment))


def pinned(moment: Moment, ranges: Ranges) -> tuple[Ints, Ints]:
    """Return the slots of the blocks that have an address, and for each twice the free bytes that it pins.

    A hole between two blocks counts half to each. In one range of addresses, what is free below the lowest block is its own
    alone, and what is free above the highest is nobody's, since it could go back. Of blocks in segments, half of what is free
    on their two sides is theirs.
    """
    from memtrace.contract.policy import function_of

    address, extent, slot, opens = ranges
    doubled = opens - extent
    if slot.size and function_of(moment.policy.module, "neighbours") is None:
        end = np.maximum.accumulate(address + extent)
        gap = np.maximum(address[1:] - end[:-1], 0)
        doubled = np.concatenate(([2 * address[0]], gap)) + np.concatenate((gap, [0]))
    return slot, doubled


def pins(moment: Moment, ranges: Ranges | None = None) -> Columns:
    """Return the columns of `pins` at one moment, which has the blocks with the most free bytes on their two sides.

    The block with the most comes first; there are at most MOST_PINS. No two of them are neighbours, so that no gap
    counts twice. There are no rows for a real allocator, nor for a policy whose blocks come in pieces. ``ranges`` are as
    in `by_tag`.
    """
    empty: Columns = {name: np.zeros(0, np.int64) for name in ("address", "bytes", "opens_bytes")}
    if not has_addresses(moment):
        return {**empty, "tag": np.zeros(0, object)}
    address, extent, slot, opens = opened_ranges(moment) if ranges is None else ranges
    chosen = without_neighbours(np.argsort(extent - opens, kind="stable"), MOST_PINS)
    codes, names = moment.blocks["tag"][slot[chosen]], moment.trace.tags
    tags = [names[code] if code >= 0 else None for code in codes.tolist()]
    return {"address": address[chosen], "bytes": extent[chosen], "opens_bytes": opens[chosen], "tag": np.array(tags, object)}


def comes_in_pieces(moment: Moment) -> bool:
    """Return whether the policy may place a block in several pieces that are not contiguous."""
    from memtrace.engine.binding import bind

    return bool(bind(moment.policy.module).first_piece)


def without_neighbours(order: Ints, most: int) -> Ints:
    """Return the first ``most`` positions of ``order`` of which no two are next to each other.

    ``order`` is gone through from its start, and a position next to a chosen one is left out.
    """
    kept: list[int] = []
    for one in order[: 3 * most].tolist():  # a chosen one leaves out two others at most
        if len(kept) == most:
            break
        if one - 1 not in kept and one + 1 not in kept:
            kept.append(one)
    return np.array(kept, np.int64)


def opened_ranges(moment: Moment) -> Ranges:
    """Return four arrays, one entry per live block in the order of addresses: address, requested bytes, slot, opened bytes.

    The opened bytes are those that would be contiguous if the block were freed: its own, and the free bytes on both
    sides. If the policy keeps its blocks in segments, its function ``neighbours`` says how many bytes are free beside
    each block. For other policies the range goes from one live neighbour, or end of what is reserved, to the other;
    bytes that were lost by rounding count as free.
    """
    from memtrace.contract.ledger import RESERVED
    from memtrace.contract.policy import function_of
    from memtrace.engine.blocks import PLACED

    blocks = moment.blocks
    live = np.flatnonzero(blocks["status"] == PLACED)
    live = live[np.argsort(blocks["address"][live], kind="stable")]
    address, extent = blocks["address"][live].astype(np.int64), blocks["requested"][live].astype(np.int64)
    beside = function_of(moment.policy.module, "neighbours")
    if beside is not None:
        return address, extent, live, extent + beside(moment.state, blocks["handle"][live])
    end = np.maximum.accumulate(address + extent) if live.size else address
    top = max(int(moment.state.ledger[RESERVED]), int(end[-1]) if live.size else 0)
    before, behind = np.concatenate(([0], end[:-1])), np.concatenate((address[1:], [top]))
    return address, extent, live, np.maximum(behind[: live.size] - before[: live.size], extent)


def at_moment(rows: Mapping[str, NDArray[Any]], moment: str) -> dict[str, NDArray[Any]]:
    """Return the rows of `holders` or `pins` at one moment; all rows of an older folder, whose pins are where memory ran out."""
    if "moment" not in rows:
        return dict(rows)
    chosen = rows["moment"] == moment
    return {name: rows[name][chosen] for name in rows}


def pins_at(results: Results, trace: str, policy: str, moment: str) -> dict[str, NDArray[Any]]:
    """Return the columns of `pins` of a policy at one moment."""
    return at_moment(results.rows("pins", trace, policy), moment)
