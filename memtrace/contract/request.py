"""What the engine hands to a policy, and what a policy may return instead of an address.

docs/policies.md has the comments behind these names as its tables.
"""

from typing import NamedTuple

NOWHERE = -1  # the request fails: there is no room
NOTHING = -2  # the request gets no block, and that is no failure
ENLARGE = -3  # the arrays of the state are too small: the engine calls `enlarge` and asks again


class Request(NamedTuple):
    """One request for a block, or what was last requested for a block that is live."""

    size: int  # bytes
    align: int  # bytes, a power of two: the address has to be a multiple of it; 0: the policy's own alignment
    stream: int  # the GPU stream or thread; 0 if the trace names none
    tag: int  # a code for the event's tag, the same for equal tags; -1: none
    block: int  # the block's handle, an index below `max_live`; used again after a free, and another after a move by realloc
