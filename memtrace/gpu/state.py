"""Say what the state of a caching allocator at the dump of a snapshot was, which needs no recorded events."""

from __future__ import annotations

import numpy as np

from memtrace.formats.snapshot.records import Recording, Site, State
from memtrace.gpu.autopsy import UNTAGGED, Autopsy, Blocks, summary
from memtrace.units import format_count, format_size

SHOWN = 4  # call sites, blocks and segments that are named


def state_of(recording: Recording, sites: list[Site]) -> Autopsy:
    """Return what the blocks at the end of a recording add up to: reserved, in use, free, what can go back, who holds it."""
    blocks = recording.blocks
    names = np.array([*(site.tag for site in sites), UNTAGGED], object)
    free = blocks.state == State.INACTIVE
    requested = np.where(free, 0, blocks.requested)
    return summary(Blocks(blocks.segment, blocks.address, blocks.size, requested, free, names[blocks.site]))


def state_rows(found: Autopsy) -> list[tuple[str, str]]:
    """Return the state as lines of a table: a name and a value each."""
    rows = [
        ("reserved at the dump", format_size(found.reserved)),
        ("  in use", format_size(found.active)),
        ("  free", f"{format_size(found.cached)}, the largest block {format_size(found.largest_free)}"),
        ("    can go back", f"{format_size(found.releasable)} in segments without a block in use"),
        ("    cannot", f"{format_size(found.splits)} beside blocks in use"),
    ]
    for i, (tag, count, size) in enumerate(found.holders[:SHOWN]):
        rows.append(("in use, by call site" if not i else "", f"{format_size(size)} in {format_count(count)} of {tag}"))
    for i, (tag, size) in enumerate(found.largest[:SHOWN]):
        rows.append(("largest in use" if not i else "", f"{format_size(size)} {tag}"))
    for i, pin in enumerate(found.pins[:SHOWN]):
        tag, count, size = pin.holders[0]
        kept = (
            f"{format_size(pin.free)} of {format_size(pin.extent)} kept by {tag} ({format_count(count)} x, {format_size(size)})"
        )
        rows.append(("free, and kept" if not i else "", kept))
    return rows
