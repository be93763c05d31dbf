"""The record that the loop keeps of each live block, one per slot: its address and its last request."""

import numpy as np

from memtrace.contract.bits import highest_set
from memtrace.contract.calls import out_of_line
from memtrace.contract.request import Request
from memtrace.engine.recorder import LIVE, SKIPPED

DEAD, PLACED, EMPTY, FREED = 0, 1, 2, 3  # a block that failed; that has an address; that needed none; that is no more

BLOCK = np.dtype(
    (
        np.record,
        np.dtype(
            [
                ("address", "i8"),
                ("requested", "i8"),
                ("handle", "u4"),
                ("stream", "i4"),
                ("tag", "i4"),
                ("align", "i1"),  # align_code
                ("status", "i1"),
            ],
            align=True,
        ),
    )
)


def new_blocks(max_live):
    """Return an array with a record for each of ``max_live`` slots, and one more for the scratch block of a swap.

    At first slot i has handle i, and no block has an alignment, a stream or a tag.
    """
    blocks = np.zeros(max_live + 1, BLOCK).view(np.recarray)
    blocks["handle"] = np.arange(max_live + 1)
    blocks["tag"] = -1
    return blocks


def make_request(size, align, stream, tag, handle):
    """Return a Request with all fields as int64, so that the policy's functions are compiled for one type only."""
    return Request(np.int64(size), np.int64(align), np.int64(stream), np.int64(tag), np.int64(handle))


def with_handle(request, handle):
    """Return the request with another handle."""
    return make_request(request.size, request.align, request.stream, request.tag, handle)


def record_of(blocks, slot):
    """Return the record of a slot; the index is unsigned, so that compiled code does not test for a negative one."""
    return blocks[np.uint64(slot)]


def request_of(b):
    """Return the request that a block's record keeps."""
    return make_request(b.requested, align_of(b.align), b.stream, b.tag, b.handle)


def align_code(align):
    """Return an alignment as one byte: its log2 plus 1, or 0 for the policy's own alignment."""
    return highest_set(align) + 1 if align > 0 else 0


def align_of(code):
    """Return the alignment in bytes of an `align_code`; 0 for the policy's own."""
    return np.int64(1) << (np.int64(code) - 1) if code > 0 else np.int64(0)


def record_block(policy, state, blocks, slot, request, address, recorder, keep, plain):
    """Write the address and the request of a new block into the record of its slot, and add its bytes to the live bytes.

    ``plain``: no event so far had an alignment, a stream or a tag, so these fields hold their defaults and are not written.
    ``keep``: the pieces of the block are logged too.
    """
    b = record_of(blocks, slot)
    b.address = address
    b.requested = request.size
    if not plain:
        b.align = align_code(request.align)
        b.stream = request.stream
        b.tag = request.tag
    b.status = PLACED if address >= 0 else EMPTY
    recorder.totals[LIVE] += request.size
    if keep and address >= 0:
        policy.log_pieces(policy, state, blocks, slot, recorder)


def count_out(b, recorder):
    """Subtract a block's bytes from the live bytes and mark its record dead."""
    recorder.totals[LIVE] -= b.requested
    b.status = DEAD


@out_of_line
def free_without_address(b, recorder):
    """Free a block that has no address: count a skipped event if its request had failed, else mark it freed."""
    if b.status == DEAD:
        recorder.totals[SKIPPED] += 1
    else:
        count_out(b, recorder)
        b.status = FREED
