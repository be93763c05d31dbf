"""The grammar of tags: the first word is the kind of a block, such as weight; what follows is its name.

Every table, figure and option that is about tags reads them here.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from fnmatch import fnmatchcase
from typing import Literal

Grouping = Literal["auto", "kind", "name"]  # how tags are grouped where they are shown; `shown_as` has the rule of auto


def kind_of(tag: str) -> str:
    """Return the kind of a tag, which is its first word; of a text without a word it is the text itself."""
    words = tag.split(maxsplit=1)
    return words[0] if words else tag


def kinds_of(tags: Iterable[str]) -> tuple[str, ...]:
    """Return the kinds of tags, each once, in the order in which they are first there."""
    return tuple(dict.fromkeys(map(kind_of, tags)))


def is_named(tag: str, names: Collection[str]) -> bool:
    """Return whether a tag is among the names, or its kind is, or one of them is a pattern of the tag, such as `weight*`."""
    return tag in names or kind_of(tag) in names or any(fnmatchcase(tag, name) for name in names)


def shown_as(tags: Iterable[str], most: int, grouping: Grouping = "auto") -> dict[str, str]:
    """Return, by tag, the name under which it is shown where there is room for ``most`` names: its kind, or the tag itself.

    ``grouping`` auto: the tags themselves if there are at most ``most``; else their kinds, if there are at most ``most`` of
    these, or at most half as many as tags. Where kinds tell hardly less than tags, as call sites do, tags stay as they are.
    """
    found = tuple(dict.fromkeys(tags))
    kinds = len(kinds_of(found))
    fewer = kinds <= most or 2 * kinds <= len(found)
    by_kind = grouping == "kind" or (grouping == "auto" and len(found) > most and fewer)
    return {tag: kind_of(tag) if by_kind else tag for tag in found}
