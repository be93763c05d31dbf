"""The rows of a table: the same as filtering it, whatever the order of the rows."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy
import pyarrow as pa
import pyarrow.compute as compute
import pytest
from sample_results import sample

from memtrace.results.rows import codes_of
from memtrace.results.tables import Results

TRACES, POLICIES = ("one", "two"), ("first-fit", "best-fit")


def filtered(results: Results, table: str, trace: str, policy: str | None) -> dict[str, list[Any]]:
    """The slow way: keep the rows of a trace and a policy."""
    found = getattr(results, table)
    keep = compute.equal(found["trace"], trace)
    if policy is not None:
        keep = compute.and_(keep, compute.equal(found["policy"], policy))
    kept = found.filter(keep)
    return {name: kept[name].to_numpy().tolist() for name in kept.column_names if name not in ("trace", "policy")}


@pytest.fixture(scope="module")
def results() -> Results:
    return sample(POLICIES, TRACES, events=((0, 100), (1, 50), (0, 0), (2, 30)))


def shuffled(table: pa.Table) -> pa.Table:
    return table.take(numpy.random.default_rng(3).permutation(table.num_rows))


@pytest.mark.parametrize("table", ["timeline", "holes", "occupancy", "requests"])
@pytest.mark.parametrize("in_order", [True, False])
def test_rows_are_those_of_a_filter(results: Results, table: str, in_order: bool) -> None:
    given = results if in_order else replace(results, **{table: shuffled(getattr(results, table))})
    for trace in (*TRACES, "none"):
        for policy in (*POLICIES, "none", None):
            found = given.rows(table, trace, policy)
            expected = filtered(given, table, trace, policy)
            assert list(found) == list(expected)
            assert found.size() == len(expected["event" if "event" in expected else "requests"])
            for name, values in expected.items():
                numpy.testing.assert_equal(found[name].tolist(), values)


def test_rows_are_made_once_and_cannot_be_changed(results: Results) -> None:
    found = results.rows("timeline", "one", "best-fit")
    assert results.rows("timeline", "one", "best-fit") is found
    assert found["live_bytes"] is found["live_bytes"]
    with pytest.raises(ValueError, match="read-only"):
        found["live_bytes"][0] = 1


def test_another_table_has_other_rows(results: Results) -> None:
    before = results.rows("timeline", "one", "best-fit")["event"].size
    shorter = replace(results, timeline=results.timeline.slice(0, 0))
    assert before and not shorter.rows("timeline", "one", "best-fit")["event"].size
    assert results.rows("timeline", "one", "best-fit")["event"].size == before


def test_a_table_that_was_not_written_has_no_rows(results: Results) -> None:
    old = replace(results, pins=None)
    assert old.rows("pins", "one", "best-fit")["address"].tolist() == []
    with pytest.raises(KeyError):
        old.rows("pins", "one", "best-fit")["no such column"]


def test_codes_stand_for_the_texts_of_rows_and_of_arrays(results: Results) -> None:
    rows = results.rows("occupancy", "one", "best-fit")
    for given in (rows, {"tag": rows["tag"]}):
        texts, codes = codes_of(given, "tag")
        assert [None if code < 0 else texts[code] for code in codes.tolist()] == rows["tag"].tolist()
