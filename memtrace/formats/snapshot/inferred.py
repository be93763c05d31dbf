"""Infer allocator settings from the blocks at the end of a recording, for files that hold no settings (PyTorch up to 2.2)."""

from __future__ import annotations

import numpy as np

from memtrace.formats.snapshot.records import Action, Recording, State
from memtrace.structures.caching.state import rounded

TRIED = (0, 2, 4, 8, 16, 32, 64)  # roundup_power2_divisions: one number for all sizes
EVIDENCE = 8  # blocks that have to show it


def inferred_settings(recording: Recording) -> str:
    """Return the settings that the segments and blocks of a recording show, as text; empty for the defaults.

    Expandable segments are seen; a single number of roundup_power2_divisions is told from blocks that are split exactly: those
    of the small pool and of expandable segments. Other settings leave no mark on a block.
    """
    mapped = np.isin(recording.events.action, (Action.SEGMENT_MAP, Action.SEGMENT_UNMAP)).any()
    options = ["expandable_segments:True"] if mapped or recording.segments.expandable.any() else []
    divisions = _divisions(recording)
    return ",".join([*options, *([f"roundup_power2_divisions:{divisions}"] if divisions else [])])


def _divisions(recording: Recording) -> int:
    """Return the number of divisions by which requests were rounded up; 0 if none, or if the blocks do not show one number."""
    blocks, segments = recording.blocks, recording.segments
    exact = ~segments.large[blocks.segment] | segments.expandable[blocks.segment]
    used = (blocks.state == State.ALLOCATED) & exact & (blocks.requested > 0)
    pairs = np.unique(np.stack((blocks.requested[used], blocks.size[used]), axis=1), axis=0).tolist()
    differ = [(asked, size) for asked, size in pairs if size != rounded(asked, 0)]
    if len(differ) < EVIDENCE:
        return 0
    return next((steps for steps in TRIED if all(rounded(asked, steps) == size for asked, size in pairs)), 0)
