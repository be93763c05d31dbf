"""Keep track of where blocks are, for policies whose blocks move or come in pieces.

``choose`` picks the functions that the loop calls. The blocks of most policies are one range that stays, and nothing is asked.
A policy with ``address_of`` moves blocks, each of one piece, and adds the bytes it moves to its ledger's MOVED. A policy with
``first_piece`` puts a block into pieces anywhere, which stay; a resize in place may add or drop some. If addresses are kept,
every piece and every move is written down as a row of places, from which the validator reads where a block is.
"""

from memtrace.contract.calls import out_of_line
from memtrace.contract.ledger import MOVED
from memtrace.engine.recorder import EVENT, FOLLOWED, PLACES

LIVE_BLOCK = 1  # engine.blocks.PLACED
PLACE = ("event", "block", "address", "bytes")


def choose(functions):
    """The functions that the loop calls for this kind of policy, by name."""
    if functions.get("first_piece"):
        return {"track_moves": stay, "log_pieces": log_pieces, "has_room": has_room_for_pieces}
    if functions.get("address_of"):
        return {"track_moves": track_moves, "log_pieces": log_nothing, "has_room": has_room_for_moves}
    return {"track_moves": stay, "log_pieces": log_nothing, "has_room": has_room}


def log_nothing(policy, state, blocks, slot, recorder):
    """A block of one piece: its address says it all."""


@out_of_line
def log_pieces(policy, state, blocks, slot, recorder):
    handle = int(blocks[slot].handle)
    piece = policy.first_piece(state, handle)
    while piece >= 0:
        address, extent = policy.piece_at(state, handle, piece)
        write_place(recorder, slot, address, extent)
        piece = policy.next_piece(state, handle, piece)


def write_place(recorder, slot, address, extent):
    row = recorder.places[recorder.totals[PLACES]]
    row[0] = recorder.totals[EVENT]
    row[1] = slot
    row[2] = address
    row[3] = extent
    recorder.totals[PLACES] += 1


def stay(policy, state, blocks, recorder, keep):
    """No block moves."""


def track_moves(policy, state, blocks, recorder, keep):
    """After an event: note where blocks went, if any did."""
    if state.ledger[MOVED] != recorder.totals[FOLLOWED]:
        update_addresses(policy, state, blocks, recorder, keep)


@out_of_line
def update_addresses(policy, state, blocks, recorder, keep):
    recorder.totals[FOLLOWED] = state.ledger[MOVED]
    for slot in range(blocks.size):
        if blocks[slot].status != LIVE_BLOCK:
            continue
        address, requested = policy.address_of(state, int(blocks[slot].handle)), blocks[slot].requested
        if address == blocks[slot].address:
            continue
        blocks[slot].address = address
        if keep:
            write_place(recorder, slot, address, requested)


def rows_needed(bound, state, blocks):
    """The most rows that one event may add."""
    return int(bound.most_pieces(state)) if bound.first_piece else blocks.size


def has_room(policy, state, blocks, recorder):
    """Whether the record of places has room for all that one event may add."""
    return True


def has_room_for_moves(policy, state, blocks, recorder):
    return recorder.totals[PLACES] + blocks.size <= recorder.places.shape[0]


def has_room_for_pieces(policy, state, blocks, recorder):
    return recorder.totals[PLACES] + policy.most_pieces(state) <= recorder.places.shape[0]
