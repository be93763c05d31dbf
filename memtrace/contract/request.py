"""What the engine hands to a policy, and what a policy may answer instead of an address."""

from typing import NamedTuple

NOWHERE = -1  # the request cannot be served
NOTHING = -2  # the request gets no block, and that is no failure
ENLARGE = -3  # the state's arrays are too small: call the policy's ``enlarge`` and ask again


class Request(NamedTuple):
    """One request: ``size`` in bytes, ``align`` in bytes (0: the policy's own), ``block`` an index for per-block arrays.

    ``block`` is below ``max_live`` and used again after the block is freed; ``stream`` and ``tag`` are the trace's
    (tag: a code, -1 for none).
    """

    size: int
    align: int
    stream: int
    tag: int
    block: int
