"""The search for the best setting: as good as trying everything, bounded, the same each time, and resumed where it stopped."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from conftest import Run
from sample_snapshots import DATA, GPU

from memtrace.errors import InputError
from memtrace.gpu.rows import ranked, row_of
from memtrace.gpu.search import Search, search
from memtrace.gpu.settings import options_of
from memtrace.reading import read
from memtrace.structures.caching.versions import Version

LAST = Version(2, 15)
FLUSHES = GPU / "flushes.pickle.gz"
CAPACITY = 2269118464


def test_it_finds_no_worse_than_the_fixed_list() -> None:
    trace = read(FLUSHES)
    found = search(trace, "", CAPACITY, LAST)
    listed = [row_of(trace, conf, CAPACITY, LAST) for conf in ("", "expandable_segments:True", "max_split_size_mb:64")]
    best = ranked([*found.rows, *listed], "")[0]
    assert best.conf == found.rows[0].conf and 70 < found.tried <= 200
    assert found.rows[0].smallest_capacity is not None


def test_each_row_is_that_of_a_replay_alone() -> None:
    trace = read(FLUSHES)
    for row in search(trace, "", CAPACITY, LAST, most=30).rows:
        alone = row_of(trace, row.conf, CAPACITY, LAST)
        assert (row.status, row.peak_reserved, row.flushes, row.ooms) == (
            alone.status,
            alone.peak_reserved,
            alone.flushes,
            alone.ooms,
        )


@pytest.mark.parametrize("most", [1, 5, 90])
def test_it_is_bounded_and_the_same_each_time(most: int) -> None:
    trace = read(FLUSHES)
    one, other = (search(trace, "", CAPACITY, Version(2, 9), most) for _ in range(2))
    assert one.tried <= most and [row.conf for row in one.rows] == [row.conf for row in other.rows]
    assert not any("large_segment" in row.conf for row in one.rows)  # which 2.9 does not have


def test_it_goes_on_where_it_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trace, kept = read(FLUSHES), str(tmp_path / "kept.json")
    search(trace, "", CAPACITY, LAST, 20, kept)
    whole = search(trace, "", CAPACITY, LAST, 120, kept)
    fresh = search(trace, "", CAPACITY, LAST, 120)
    assert [row.conf for row in whole.rows] == [row.conf for row in fresh.rows] and whole.tried == fresh.tried
    monkeypatch.setattr("memtrace.gpu.search.row_of", lambda *_, **__: pytest.fail("replayed again"))
    assert search(trace, "", CAPACITY, LAST, 120, kept).tried == whole.tried
    with pytest.raises(InputError, match="another file, capacity or version"):
        search(trace, "", CAPACITY + 1, LAST, 120, kept)
    (tmp_path / "kept.json").write_text("[1]")
    with pytest.raises(InputError, match="no results of a search"):
        search(trace, "", CAPACITY, LAST, 120, kept)


def test_the_range_in_which_a_size_does_the_same_is_the_range() -> None:
    """By trying every size: the sentence names the first and the last that do as the best one does."""
    from memtrace.gpu.search import _range

    trace = read(DATA / "24" / "snapshot.pickle.gz")
    capacity, name = 8441036800, "max_split_size_mb"
    run = Search(trace, capacity, LAST, 1000, None)
    best = run.tell(["max_split_size_mb:200"])[0]
    run.tell(f"{name}:{value}" for value in (100, 150, 300, 400))
    words = _range(run, best, name).split()
    low, high = int(words[2]), int(words[4])
    assert words[:2] == [name, "between"] and low <= 200 <= high
    figures = {
        v: row_of(trace, f"{name}:{v}", capacity, LAST, explain=False) for v in (low - 1, low, (low + high) // 2, high, high + 1)
    }
    same = {v: (row.peak_reserved, row.flushes) == (best.peak_reserved, best.flushes) for v, row in figures.items()}
    assert list(same.values())[1:-1] == [True] * 3 and not same[low - 1] and not same[high + 1]


def test_the_command(memtrace: Run, tmp_path: Path) -> None:
    found = json.loads(memtrace("whatif", FLUSHES, "--search", "--tries", "40", "--kept", "k.json", "--json").stdout)
    assert found["search"]["tried"] == 40 and (tmp_path / "k.json").exists() and found["line"]
    assert options_of(found["best"])
    assert "the best of 40 settings tried" in memtrace("whatif", FLUSHES, "--search", "--tries", "40").stdout
