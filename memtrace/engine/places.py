"""Keep track of blocks that move or come in pieces, for the loop and for the validator.

Most blocks are one range that stays where it is, and nothing is asked of the policy. A policy with ``address_of`` moves
blocks, each of one piece, and adds the bytes to its ledger's MOVED. A policy with ``first_piece`` puts a block into pieces
anywhere, which stay; a resize in place may add or drop some. Where placements are kept, each piece and each move is written
down as a row of places: (event, slot, address, bytes).
"""

from memtrace.contract.calls import out_of_line
from memtrace.contract.ledger import MOVED
from memtrace.engine.recorder import EVENT, FOLLOWED, PLACES, note_end

LIVE_BLOCK = 1  # engine.blocks.PLACED
PLACE = ("event", "block", "address", "bytes")


def choose(functions):
    """Return the three functions that the loop calls for this kind of policy, by name; ``functions`` are the policy's."""
    if functions.get("first_piece"):
        return {"track_moves": stay, "log_pieces": log_pieces, "has_room": has_room_for_pieces}
    if functions.get("address_of"):
        return {"track_moves": track_moves, "log_pieces": log_nothing, "has_room": has_room_for_moves}
    return {"track_moves": stay, "log_pieces": log_nothing, "has_room": has_room}


def log_nothing(policy, state, blocks, slot, recorder):
    """Write no place: a block of one piece lies where its address says."""


@out_of_line
def log_pieces(policy, state, blocks, slot, recorder):
    """Write a row of places for each piece of the block in ``slot``."""
    handle = int(blocks[slot].handle)
    piece = policy.first_piece(state, handle)
    while piece >= 0:
        address, extent = policy.piece_at(state, handle, piece)
        write_place(recorder, slot, address, extent)
        piece = policy.next_piece(state, handle, piece)


def write_place(recorder, slot, address, extent):
    """Append a row to the recorder's table of places."""
    row = recorder.places[recorder.totals[PLACES]]
    row[0] = recorder.totals[EVENT]
    row[1] = slot
    row[2] = address
    row[3] = extent
    recorder.totals[PLACES] += 1


def stay(policy, state, blocks, recorder, keep):
    """Do nothing after an event: no block of the policy moves."""


def track_moves(policy, state, blocks, recorder, keep):
    """Update the addresses of blocks after an event in which the policy moved bytes."""
    if state.ledger[MOVED] != recorder.totals[FOLLOWED]:
        update_addresses(policy, state, blocks, recorder, keep)


@out_of_line
def update_addresses(policy, state, blocks, recorder, keep):
    """Ask the policy for the address of each live block, and write down those that changed; all slots are read."""
    recorder.totals[FOLLOWED] = state.ledger[MOVED]
    for slot in range(blocks.size):
        if blocks[slot].status != LIVE_BLOCK:
            continue
        address, requested = policy.address_of(state, int(blocks[slot].handle)), blocks[slot].requested
        if address == blocks[slot].address:
            continue
        blocks[slot].address = address
        note_end(recorder, address + requested)
        if keep:
            write_place(recorder, slot, address, requested)


def rows_needed(bound, state, blocks):
    """Return an upper bound of the rows of places that one event may add."""
    return int(bound.most_pieces(state)) if bound.first_piece else blocks.size


def has_room(policy, state, blocks, recorder):
    """Return True: a policy whose blocks stay adds no rows of places."""
    return True


def has_room_for_moves(policy, state, blocks, recorder):
    """Return whether the table of places has room for a move of every block."""
    return recorder.totals[PLACES] + blocks.size <= recorder.places.shape[0]


def has_room_for_pieces(policy, state, blocks, recorder):
    """Return whether the table of places has room for the pieces of any block."""
    return recorder.totals[PLACES] + policy.most_pieces(state) <= recorder.places.shape[0]
