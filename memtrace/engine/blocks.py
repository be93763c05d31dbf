"""The records of the blocks, one for each slot: where the block is, and what was asked for."""

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
    """One record per slot, and one more for the scratch block of a swap. None has an alignment, a stream or a tag."""
    blocks = np.zeros(max_live + 1, BLOCK).view(np.recarray)
    blocks["handle"] = np.arange(max_live + 1)
    blocks["tag"] = -1
    return blocks


def make_request(size, align, stream, tag, handle):
    """All fields in one type, so that the policy's functions are compiled once."""
    return Request(np.int64(size), np.int64(align), np.int64(stream), np.int64(tag), np.int64(handle))


def with_handle(request, handle):
    return make_request(request.size, request.align, request.stream, request.tag, handle)


def record_of(blocks, slot):
    """Unsigned, so that compiled code need not ask whether the slot is negative: it is not."""
    return blocks[np.uint64(slot)]


def request_of(b):
    return make_request(b.requested, align_of(b.align), b.stream, b.tag, b.handle)


def align_code(align):
    """An alignment in a byte: log2, plus 1; 0 for the policy's own."""
    return highest_set(align) + 1 if align > 0 else 0


def align_of(code):
    return np.int64(1) << (np.int64(code) - 1) if code > 0 else np.int64(0)


def record_block(policy, state, blocks, slot, request, address, recorder, keep, plain):
    """Note where a new block lives. ``plain``: no block has an alignment, a stream or a tag, so they need no writing."""
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
    """Forget a block that covers nothing any more."""
    recorder.totals[LIVE] -= b.requested
    b.status = DEAD


@out_of_line
def free_without_address(b, recorder):
    """The free of a block that has no address: it failed, or needed none."""
    if b.status == DEAD:
        recorder.totals[SKIPPED] += 1
    else:
        count_out(b, recorder)
        b.status = FREED
