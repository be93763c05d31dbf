"""Tell from the fields of a snapshot which versions of PyTorch can have written it; nothing in the file names the version."""

from __future__ import annotations

from typing import Any, NamedTuple

from memtrace.formats.snapshot.tree import Tree
from memtrace.structures.caching.versions import LATEST, OLDEST, SINCE, Version, parse_version

TOP, EVENTS, SETTINGS, BLOCKS = "top", "events", "settings", "blocks"  # where a field stands
# Version -> a field that it was the first to write, and where.
FIELDS = (
    (Version(2, 1), BLOCKS, "is_expandable"),
    (Version(2, 2), EVENTS, "time_us"),
    (Version(2, 3), TOP, "allocator_settings"),
    (Version(2, 5), TOP, "external_annotations"),
    (Version(2, 8), EVENTS, "compile_context"),
    (Version(2, 9), SETTINGS, "graph_capture_record_stream_reuse"),
    (Version(2, 10), EVENTS, "user_metadata"),
    (Version(2, 12), EVENTS, "pool_id"),
    (Version(2, 13), SETTINGS, "max_round_threshold"),
    (Version(2, 14), TOP, "host_segments"),
)


class Versions(NamedTuple):
    """The versions of PyTorch that can have written a snapshot, from ``low`` to ``high``."""

    low: Version
    high: Version

    def __str__(self) -> str:
        """Return the range as text: ``2.9``, ``2.10 or 2.11``, ``2.5 to 2.7``, ``2.14 or later``."""
        if self == (OLDEST, LATEST):
            return "of an unknown version"
        if self.high == LATEST:
            return f"{self.low} or later" if self.low < LATEST else f"{self.low}"
        if self.low == self.high:
            return f"{self.low}"
        return f"{self.low} {'or' if self.high.minor == self.low.minor + 1 else 'to'} {self.high}"


def versions_of(tree: Tree, events: bool) -> Versions:
    """Return which versions can have written a snapshot, by the fields that it has and lacks.

    ``events``: whether it holds any event. A field that is missing counts only where it could be: those of events only if there
    are events, those of the top and of the settings only if the file is no bare list of segments.
    """
    top = tree.keys(tree.root) if tree.is_dict(tree.root) else []
    settings = tree.keys(tree.get(tree.root, "allocator_settings")) if top else []
    could = {TOP: bool(top), SETTINGS: bool(settings), EVENTS: events, BLOCKS: True}
    low, high = OLDEST, LATEST
    for version, where, name in FIELDS:
        has = name in top if where == TOP else name in settings if where == SETTINGS else tree.key(name) is not None
        if has:
            low, high = version, LATEST
        elif could[where] and high == LATEST:
            high = Version(version.major, version.minor - 1)
    return Versions(low, high)


def narrowed(told: Versions, options: Any, named: str | None = None) -> Versions:
    """Return the versions without those that refuse one of the recorded options, or the version that the user ``named``.

    ``options``: names of options. Raises ValueError if ``named`` is no version.
    """
    if named is not None:
        return Versions(parse_version(named), parse_version(named))
    least = max((Version(*SINCE[name]) for name in options if name in SINCE), default=told.low)
    return told._replace(low=min(max(told.low, least), told.high))
