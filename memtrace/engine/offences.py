"""What a policy may not do, tested in the loop after each event at the cost of a comparison or two, and said in words outside it.

A block may not end above the reserved bytes, have an address below 0 that is no answer of the contract, or lack the alignment
that was asked for. The reserved bytes may not exceed the capacity. Of a policy without a ledger the engine knows the holes, and
so an overlap of blocks too. Whether blocks of other policies overlap is what the validator finds out.
"""

from __future__ import annotations

from types import ModuleType
from typing import TYPE_CHECKING, Any

from memtrace.contract.calls import out_of_line
from memtrace.contract.ledger import RESERVED
from memtrace.contract.policy import constants_of, function_of, has_ledger
from memtrace.contract.request import NOTHING
from memtrace.errors import PolicyError

if TYPE_CHECKING:
    from memtrace.engine.driver import Run
    from memtrace.trace import Events


def choose(module: ModuleType) -> dict[str, Any]:
    """Return, by name, the two tests of a new block that the loop makes for this policy: a quick one, and one that is exact.

    The addresses of a policy with VIRTUAL, or whose blocks come in pieces, are not bounded by the reserved bytes; those under
    which pieces are mapped have no alignment of their own either.
    """
    constants = constants_of(module)
    if function_of(module, "first_piece") is not None and has_ledger(module):
        return {"suspects": suspects_below_0, "offends": offends_by_code, "most_align": 1}
    most = constants.MAX_ALIGN

    def offends_in_address(state: Any, address: int, size: int, align: int) -> bool:
        """Return whether an address is no answer of the contract, or lacks the alignment asked for."""
        if address < 0:
            return address < NOTHING
        return address & (max(min(align, most), 1) - 1) != 0

    def offends_in_reserved(state: Any, address: int, size: int, align: int) -> bool:
        """Return whether a block ends above the reserved bytes too."""
        if address < 0:
            return address < NOTHING
        return address + size > state.ledger[RESERVED] or address & (max(min(align, most), 1) - 1) != 0

    def offends_others(state: Any, address: int, size: int, align: int) -> bool:
        """Return whether a block overlaps another too."""
        if address < 0:
            return address < NOTHING
        wrong = address + size > state.ledger[RESERVED] or address & (max(min(align, most), 1) - 1) != 0
        return wrong or state.overlaps[0] != 0

    if constants.VIRTUAL:
        return {"suspects": suspects_below_0, "offends": out_of_line(offends_in_address), "most_align": most}
    if has_ledger(module):
        return {"suspects": suspects_above, "offends": out_of_line(offends_in_reserved), "most_align": most}
    return {"suspects": suspects_all, "offends": out_of_line(offends_others), "most_align": most}


def suspects_below_0(state: Any, address: int, size: int) -> bool:
    """Return whether an address is below 0. The functions of this kind decide with few instructions what `offends` looks at."""
    return address < 0


def suspects_above(state: Any, address: int, size: int) -> bool:
    """Return whether an address is below 0, or the block ends above the reserved bytes."""
    return (address < 0) | (address + size > state.ledger[RESERVED])


def suspects_all(state: Any, address: int, size: int) -> bool:
    """Return True: `offends` looks at every block."""
    return True


@out_of_line
def offends_by_code(state: Any, address: int, size: int, align: int) -> bool:
    """Return whether an address is below 0 and no answer of the contract."""
    return address < NOTHING


def offence(run: Run, events: Events, row: int) -> PolicyError:
    """Return the error that names what the policy did wrong at row ``row`` of a batch, where its loop stopped."""
    from memtrace.engine.recorder import EVENT

    above = int(run.state.ledger[RESERVED]) > run.mode.limit  # is looked at when the event is counted already
    number = int(run.recorder.totals[EVENT]) - above
    place = f"{run.policy.label} on {run.trace}" if run.trace else run.policy.label
    return PolicyError(f"{place}: event {number:,}: {reason(run, events, row)}\ntry: memtrace policies --check, on the policy")


def reason(run: Run, events: Events, row: int) -> str:
    """Return what is wrong after the event at ``row``: the request and the address, or the reserved bytes and the capacity."""
    from memtrace.trace import Op

    reserved, kind, slot = int(run.state.ledger[RESERVED]), Op(int(events.op[row])), int(events.block[row])
    if reserved > run.mode.limit:
        return f"{reserved:,} bytes are reserved, which is above the capacity of {run.mode.limit:,}"
    size, align = int(events.size[row]), int(events.align[row if events.align.size > 1 else 0])
    return judged(
        f"the {kind.name.lower()} of {size:,} bytes" + (f" at a multiple of {align:,}" if align else ""),
        int(run.blocks[slot].address),
        size,
        min(align, run.bound.most_align),
        reserved if not constants_of(run.policy.module).VIRTUAL else None,
    ) or overlapped(run, slot)


def judged(asked: str, address: int, size: int, align: int, reserved: int | None) -> str:
    """Return what is wrong with the address of one block, or an empty text; ``reserved`` is None where it is no bound."""
    if address < 0:
        return f"{asked} got the address {address:,}, which is below 0 and none of the answers -1, -2 and -3"
    if align > 1 and address % align:
        return f"{asked} got the address {address:,}, which is no multiple of {align:,}"
    if reserved is not None and address + size > reserved:
        return f"{asked} got the address {address:,} and ends at {address + size:,}, above the {reserved:,} reserved bytes"
    return ""


def overlapped(run: Run, slot: int) -> str:
    """Return which live block the block in ``slot`` overlaps, or which lies above the reserved bytes."""
    from memtrace.engine.blocks import PLACED

    blocks, reserved = run.blocks, int(run.state.ledger[RESERVED])
    start, end = int(blocks[slot].address), int(blocks[slot].address + blocks[slot].requested)
    for other in (blocks["status"] == PLACED).nonzero()[0].tolist():
        low, high = int(blocks[other].address), int(blocks[other].address + blocks[other].requested)
        if other != slot and low < end and start < high:
            return f"the block [{start:,}, {end:,}) overlaps the live block [{low:,}, {high:,})"
        if high > reserved:
            return f"the live block [{low:,}, {high:,}) lies above the {reserved:,} bytes that are reserved"
    return f"the block [{start:,}, {end:,}) overlaps another, or reserved bytes were given back below a live block before"
