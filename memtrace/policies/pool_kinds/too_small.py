"""A pool that is too small for its heap's own structures: every request is refused.

Cost: constant.
"""

from typing import NamedTuple

import numpy as np

from memtrace.contract.ledger import RESERVED, new_ledger
from memtrace.contract.request import NOTHING, NOWHERE

TAKES_POOL = True
UNUSABLE = True
NOT_COUNTED = ("searches",)


class State(NamedTuple):
    """State of a pool in which there is no heap."""

    ledger: np.ndarray


def init(capacity, max_live, pool=0, **options):
    state = State(new_ledger(0))
    state.ledger[RESERVED] = pool or capacity
    return state


def first_holes(state):
    """Return no sizes: there is no hole."""
    return []


def alloc(state, request):
    """Refuse the request: return NOWHERE, and NOTHING for a request of 0 bytes."""
    return NOTHING if request.size == 0 else NOWHERE


def free(state, request, address):
    """Do nothing: there is no block."""


def largest_hole(state):
    """Return 0."""
    return np.int64(0)
