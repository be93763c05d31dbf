"""The grammar of tags: kinds, names that stand for tags, and what tags are shown as."""

from __future__ import annotations

import pytest

from memtrace.trace.tags import Grouping, is_named, kind_of, kinds_of, shown_as

WEIGHTS = [f"weight blocks.{i}" for i in range(6)]
SITES = [f"train.py:{i} forward" for i in range(12)]


def test_the_kind_is_the_first_word() -> None:
    assert [kind_of(tag) for tag in ("weight head.weight", "weight", "  weight x", " ", "")] == ["weight"] * 3 + [" ", ""]
    assert kinds_of(["b 1", "a 1", "b 2"]) == ("b", "a")


@pytest.mark.parametrize(
    ("names", "named"),
    [
        (("weight",), True),  # the kind
        (("weight head.weight[0]",), True),  # the tag, though brackets are a pattern too
        (("weight head.*",), True),
        (("*.weight*",), True),
        (("head.weight[0]",), False),
        (("wei",), False),
        ((), False),
    ],
)
def test_what_names_a_tag(names: tuple[str, ...], named: bool) -> None:
    assert is_named("weight head.weight[0]", names) == named


@pytest.mark.parametrize(
    ("tags", "most", "grouping", "shown"),
    [
        (WEIGHTS, 6, "auto", 6),  # few: by name
        (WEIGHTS, 5, "auto", 1),  # many, of few kinds
        (WEIGHTS, 6, "kind", 1),
        (WEIGHTS, 5, "name", 6),
        (SITES, 8, "auto", 12),  # kinds tell no less than tags
        ([f"{word} {i}" for word in "abcdefghij" for i in range(2)], 8, "auto", 10),  # many kinds, half as many as tags
    ],
)
def test_many_tags_are_shown_by_kind(tags: list[str], most: int, grouping: Grouping, shown: int) -> None:
    assert len(set(shown_as(tags, most, grouping).values())) == shown
