"""Convert a Trace to a pandas DataFrame with one row per event."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from memtrace.trace.model import BATCH_ROWS, Op
from memtrace.trace.store import EMPTY

if TYPE_CHECKING:
    from memtrace.trace.model import Trace


def to_frame(trace: Trace) -> pd.DataFrame:
    """Return a DataFrame indexed by event number, with the columns op, block and size.

    The columns time, align, stream, dst and tag are there only if the trace has values in them.
    """
    batches = list(trace.batches(BATCH_ROWS)) or [EMPTY.events()]
    events = trace.facts.events
    ops = pd.Categorical.from_codes(
        np.concatenate([batch.op for batch in batches]).astype(np.int8), [op.name.lower() for op in Op]
    )
    frame = pd.DataFrame({"op": ops}, index=pd.RangeIndex(events, name="event"))
    for name in ("block", "size", "align", "stream", "dst"):
        columns = [getattr(batch, name) for batch in batches]
        if all(column.size == batch.op.size for column, batch in zip(columns, batches, strict=True)):
            frame[name] = np.concatenate(columns)
    if "time" in trace.columns:
        frame.insert(1, "time", trace.times(np.arange(events)))
    if trace.tags:
        codes = np.concatenate([np.broadcast_to(batch.tag, batch.op.size) for batch in batches])
        frame["tag"] = pd.Categorical.from_codes(codes, list(trace.tags))
    return frame
