"""PyTorch's raw memory timeline (`export_memory_timeline("NAME.raw.json.gz")`): [time, action, bytes, category] of each event.

It has no addresses: a free ends the latest live block of its size and category, which keeps every measure of live bytes exact;
which of them went may differ. What existed when the profiler began is allocated first. A new version of a tensor moves no
memory, and changes the block's category only; the tag is the category at the start. Times are taken as ns.
Source: pytorch, torch/profiler/_memory_profiler.py, export_memory_timeline_raw.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from memtrace.formats import _reading as _given
from memtrace.formats._json_array import elements
from memtrace.formats._reading import Call, EventBatcher
from memtrace.trace.batches import MISSING

if TYPE_CHECKING:
    from memtrace.trace.batches import Batch
    from memtrace.trace.sources import Source

NAME = "torch-timeline"
SUFFIXES = (".raw.json",)

PREEXISTING, CREATE, INCREMENT_VERSION, DESTROY = range(1, 5)  # actions
CATEGORIES = ("parameter", "optimizer_state", "input", "temporary", "activation", "gradient", "autograd_detail", "unknown")

_EVENT = re.compile(rb"\s*\[\s*\[\s*-?\d+,\s*[1-4],\s*-?\d+,\s*[0-7]\s*\]\s*[,\]]")


def sniff(head: bytes, path: str) -> bool:
    """Return whether the file is an array of arrays of four numbers as the timeline's."""
    return _EVENT.match(head) is not None


def read(source: Source) -> Iterator[Batch]:
    """Yield events of numbered blocks."""
    said = ["no addresses in the file: a free ends the latest live block of its size and category"]
    counts = {"versions": 0, "unknown": 0, "before": 0}
    events = EventBatcher(NAME, ("op", "id", "size", "time", "tag"), False, None, word="event")
    yield from _given.batches(_calls(source, said, counts), events)
    texts = {
        "before": "blocks that existed when the profiler began, allocated first",
        "versions": "new versions of tensors, which move no memory",
        "unknown": "frees of a size and category of which no block is live, left out",
    }
    said += [f"{text}: {counts[name]:,}" for name, text in texts.items() if counts[name]]
    yield events.last(said, {})


def _calls(source: Source, said: list[str], counts: dict[str, int]) -> Iterator[Call]:
    """Yield the allocs and frees; `counts` counts what was assumed, in place."""
    live: dict[tuple[int, int], list[int]] = {}  # size and category -> numbers of live blocks
    for number, event in enumerate(elements(source, said, "no array of events in JSON"), 1):
        if not _is_event(event):
            yield _given.bad(number, f"the element is no event of a timeline: {str(event)[:60]}")
            continue
        time, action, size, category = event
        key = abs(size), category
        more = {"time": time if 0 <= time < 1 << 62 else MISSING}
        if action == INCREMENT_VERSION:
            # Two events: the old version goes, and the new one comes in its place, at once.
            if size < 0 and live.get(key):
                live.setdefault((-1, 0), []).append(live[key].pop())
            elif size >= 0 and live.get((-1, 0)):
                live.setdefault(key, []).append(live[-1, 0].pop())
                counts["versions"] += 1
        elif action == DESTROY or size < 0:
            if live.get(key):
                yield _given.free(number, live[key].pop(), **more)
            else:
                counts["unknown"] += 1
        else:
            counts["before"] += action == PREEXISTING
            live.setdefault(key, []).append(number)
            yield _given.alloc(number, number, size, tag=CATEGORIES[category], **more)


def _is_event(event: Any) -> bool:
    """Return whether an element is [time, action, bytes, category] with values that exist."""
    return (
        isinstance(event, list)
        and len(event) == 4
        and all(type(value) is int for value in event)
        and PREEXISTING <= event[1] <= DESTROY
        and abs(event[2]) < 1 << 62
        and 0 <= event[3] < len(CATEGORIES)
    )
