"""Write down the peaks of the tiers that an event changed, and the samples."""

from memtrace.contract.calls import out_of_line
from memtrace.contract.ledger import ALLOCATED, RESERVED
from memtrace.engine.blocks import make_request
from memtrace.tiers.records import (
    DOWN_BYTES,
    EVENT,
    EVICTIONS,
    GROUP,
    MEMBER,
    OWN,
    PEAK_ALLOCATED,
    PEAK_LIVE,
    PEAK_RESERVED,
    PEAK_STORED,
    REMOTE_BYTES,
    RESIDENT,
    SAMPLE,
    STALL,
    STORED,
    UP_BYTES,
)


@out_of_line
def record_peaks(t, world, tier):
    """Raise the peaks of ``tier`` to what it has after the current event, and keep its row at each new peak.

    Peaks are of live, stored, allocated and reserved bytes; stored ones keep no row. ``t``: module made by `bind_tiers`.
    """
    books = world.books
    row = books.tiers[tier]
    request = make_request(0, 0, 0, -1, 0)
    group, member, peaks = row[GROUP], row[MEMBER], books.peaks[tier]
    allocated = t.book(world, group, member, request, 0, ALLOCATED, peaks[0])
    reserved = t.book(world, group, member, request, 0, RESERVED, peaks[0])
    live, event = row[RESIDENT], books.totals[EVENT]
    row[PEAK_STORED] = max(row[PEAK_STORED], row[STORED])
    if live > row[PEAK_LIVE]:
        row[PEAK_LIVE] = live
        t.note(world, group, member, request, event, live, peaks[0])
    if allocated > row[PEAK_ALLOCATED]:
        row[PEAK_ALLOCATED] = allocated
        t.note(world, group, member, request, event, live, peaks[1])
    if reserved > row[PEAK_RESERVED]:
        row[PEAK_RESERVED] = reserved
        t.note(world, group, member, request, event, live, peaks[2])


@out_of_line
def record_sample(t, world):
    """Write the sample of the current event, a row for each tier, and count it. ``t``: module made by `bind_tiers`."""
    books = world.books
    totals = books.totals
    request = make_request(0, 0, 0, -1, 0)
    for tier in range(books.tiers.shape[0]):
        row, out = books.tiers[tier], books.samples[totals[SAMPLE], tier]
        t.note(world, row[GROUP], row[MEMBER], request, totals[EVENT], row[RESIDENT], out)
        out[OWN] = row[STORED]
        out[OWN + 1] = row[DOWN_BYTES]
        out[OWN + 2] = row[UP_BYTES]
        out[OWN + 3] = row[REMOTE_BYTES]
        out[OWN + 4] = row[EVICTIONS]
        out[OWN + 5] = totals[STALL]
    totals[SAMPLE] += 1
