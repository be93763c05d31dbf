"""Derive from the lifetimes in the trace of a training step when its weights, gradients and optimizer states are used.

A block's kind is the first word of its tag. A pass begins with the alloc of an `input`, its backward part with the first
`gradient` of the pass.

1. Backward: the gradient of a parameter is made just after the parameter was read. It is as large as its weight, or (ZeRO)
   its share; weights are matched with gradients of their size in reverse order of their allocs, which is the order of the
   backward pass. Gradients beyond the number of weights of that size are matched again from the last weight on.
2. Forward: the input that a matrix product keeps is freed just after the gradient of its weight was made. The weight was read
   when that input had just been written: at the event after the input's alloc. If the pass has no such block, the weight was
   read at the first event of the pass.
3. The optimizer: between the last gradient of a pass and the next input, every weight, gradient and optimizer state that is
   live is used once, in the order of their allocs, evenly over these events. An accumulated pass without such events has none.

Activations, temporaries and workspaces are used at their alloc and before their free (the backward pass reads what the
forward pass kept). Weights, gradients, optimizer states and inputs are dropped, not read, when they are freed.
Parameters whose weights were freed are not followed.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from memtrace.tiers import training_kernel
from memtrace.trace.model import read_only
from memtrace.trace.tags import kind_of, kinds_of

if TYPE_CHECKING:
    from memtrace.trace import Trace

Int64s = NDArray[np.int64]


def derive(trace: Trace, interpret: bool = False, room: int = 1 << 12) -> tuple[Int64s, Int64s]:
    """Return the uses of ``trace`` for which it has no events, in order: the event before which each comes, and the block's slot.

    ``room`` is how many gradients and frees of a pass, and how many uses, the arrays take at first; they grow as needed.
    ``interpret`` runs the pass over the events uncompiled.
    """
    step = training_kernel.specialise(training_kernel) if interpret else compiled()
    kinds = kinds_of(trace.tags)
    place = {kind: code for code, kind in enumerate(kinds)}
    codes = np.array([*(place[kind_of(tag)] for tag in trace.tags), -1], np.int32)  # of kinds, by tag code; -1: no tag
    state = training_kernel.new_state(trace.facts.max_live + 1, kinds, room)
    for events in trace.batches():
        columns, start = (events.op, events.block, events.size, read_only(codes[events.tag])), 0
        while (start := step(*columns, start, False, state)) < events.op.size:
            state = training_kernel.larger(state)
    while trace.facts.events and step(*columns, 0, True, state) == 0:
        state = training_kernel.larger(state)
    count = int(state.totals[training_kernel.USES])
    order = np.argsort(state.use_events[:count], kind="stable")
    return state.use_events[order], state.use_slots[order]


@cache
def compiled() -> Any:
    """Return `training_kernel.specialise`'s pass over the events, compiled."""
    from memtrace.engine.compile import closed

    return closed(training_kernel.specialise(training_kernel), "training", [training_kernel], [])
