"""Make the plan that policy ``optimum`` follows: the addresses of the lowest packing known for a trace."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, NamedTuple

from memtrace.offline.buffers import buffers_of
from memtrace.offline.packing import height, packings

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from memtrace.trace import Trace


class Plan(NamedTuple):
    """The addresses of a packing, by request of the trace, in order."""

    addresses: NDArray[np.int64]  # [request] bytes
    follows: NDArray[np.int64]  # [request] the next request of the same block, -1 if there is none


def plan(trace: Trace, align: int, effort: int, online: Iterable[NDArray[np.int64]]) -> Plan:
    """Return the lowest packing of ``trace`` as a plan, with sizes and addresses aligned to ``align`` bytes.

    ``effort`` scales the steps of annealing. ``online`` are the addresses, by request, that policies give which do not know
    the future. One of them is taken where no packing is lower, as a block that grows in place may be worth more than a better
    address.
    """
    buffers = buffers_of(trace, align)
    found = [(packing.height, packing.addresses) for packing in packings(buffers, effort)]
    found += [(height(addresses, buffers), addresses) for addresses in online]
    return Plan(min(found, key=lambda pair: pair[0])[1], buffers.follows)
