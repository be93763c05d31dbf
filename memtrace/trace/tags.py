"""The grammar of tags: the first word is the kind of a block, such as weight; what follows is its name."""

from __future__ import annotations

from collections.abc import Iterable


def kind_of(tag: str) -> str:
    """Return the kind of a tag, which is its first word; of a text without a word it is the text itself."""
    words = tag.split(maxsplit=1)
    return words[0] if words else tag


def kinds_of(tags: Iterable[str]) -> tuple[str, ...]:
    """Return the kinds of tags, each once, in the order in which they are first there."""
    return tuple(dict.fromkeys(map(kind_of, tags)))


def is_named(tag: str, names: Iterable[str]) -> bool:
    """Return whether a tag, or its kind, is among the names."""
    return tag in names or kind_of(tag) in names
