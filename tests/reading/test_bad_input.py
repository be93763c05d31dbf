"""Every bad input ends in one message: the file, the line or row, what is wrong, and what to try."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from bad_input import FILES, GOOD, MANY, ROWS, Bad, write

from memtrace import reading
from memtrace.errors import InputError, MemtraceError, UsageError


def message(path: Path | str, **options: str) -> str:
    with pytest.raises(MemtraceError) as caught:
        reading.read(path, **options)  # type: ignore[arg-type]
    return str(caught.value)


@pytest.mark.parametrize("bad", [*ROWS, *FILES], ids=lambda bad: bad.name)
def test_it_is_refused_with_its_place_and_reason(bad: Bad, tmp_path: Path) -> None:
    path = write(bad, tmp_path)
    said = message(path)
    assert said.startswith(str(path))
    assert bad.says in said


def test_the_table_is_long_enough() -> None:
    assert len(ROWS) + len(FILES) >= 25


@pytest.mark.parametrize("bad", ROWS, ids=lambda bad: bad.name)
def test_bad_rows_can_be_skipped(bad: Bad, tmp_path: Path) -> None:
    path = write(bad, tmp_path)
    assert "--invalid skip" in message(path)
    kept = reading.read(path, invalid="skip")
    assert kept.facts.invalid_events == bad.rows
    assert kept.facts.events >= 1
    for events in kept.batches():
        assert (events.block < kept.facts.max_live).all()


@pytest.mark.parametrize("bad", ROWS, ids=lambda bad: bad.name)
def test_check_lists_the_same(bad: Bad, tmp_path: Path) -> None:
    path = write(bad, tmp_path)
    problems = reading.check(path)
    assert len(problems) == bad.rows
    assert problems[0].at(str(path)).startswith(str(path) + bad.says.split(";")[0])


@pytest.mark.parametrize("bad", FILES, ids=lambda bad: bad.name)
def test_a_bad_file_cannot_be_skipped(bad: Bad, tmp_path: Path) -> None:
    path = write(bad, tmp_path)
    assert bad.says in message(path, invalid="skip")
    with pytest.raises(InputError):
        reading.check(path)


@pytest.mark.parametrize("bad", [*ROWS, *FILES], ids=lambda bad: bad.name)
def test_converting_it_leaves_no_file(bad: Bad, tmp_path: Path) -> None:
    path = write(bad, tmp_path)
    with pytest.raises(InputError):
        reading.convert(path, tmp_path / "out.parquet")
    assert [item.name for item in tmp_path.iterdir()] == [path.name]


def test_a_directory(tmp_path: Path) -> None:
    assert message(tmp_path) == f"{tmp_path} is a directory"
    (tmp_path / "a.csv").write_bytes(GOOD)
    assert f"give a file in it, such as {tmp_path / 'a.csv'}" in message(tmp_path)


def test_a_missing_file_names_the_nearest(tmp_path: Path) -> None:
    (tmp_path / "trace.csv").write_bytes(GOOD)
    assert message(tmp_path / "trace.cvs") == f"{tmp_path / 'trace.cvs'}: no such file; did you mean {tmp_path / 'trace.csv'}?"
    assert "no such file" in message(tmp_path / "nowhere" / "trace.csv")
    assert "no such file" in message("a\0b.csv")


def test_a_file_that_may_not_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "trace.csv"
    path.write_bytes(GOOD)

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "open", refuse)  # root may read anything
    assert message(path) == f"{path}: no permission to read it"
    monkeypatch.setattr(Path, "stat", refuse)
    assert message(path) == f"{path}: no permission to read it"


def test_an_unknown_format_names_the_nearest(tmp_path: Path) -> None:
    path = tmp_path / "trace.csv"
    path.write_bytes(GOOD)
    with pytest.raises(UsageError, match="unknown format 'parqet'; did you mean 'parquet'"):
        reading.read(path, format="parqet")
    with pytest.raises(UsageError, match="invalid='ignore'; it is 'error' or 'skip'"):
        reading.read(path, invalid="ignore")


def test_a_url_needs_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "fsspec", None)
    with pytest.raises(UsageError, match=re.escape("pip install 'memtrace-replay[remote]'")):
        reading.read("s3://bucket/trace.csv")


def test_the_line_is_right_far_into_a_file(tmp_path: Path) -> None:
    path = tmp_path / "trace.csv"
    filler = b"".join(b"access,%d,\n" % (number % 50_000) for number in range(600_000))
    path.write_bytes(MANY + filler + b"\n\nfree,7,\n" + filler[:20] + b"free,7,\n")
    assert message(path).startswith(f"{path}:650007: free of id 7, which is not live (freed at line 650004)")


def test_all_rows_invalid(tmp_path: Path) -> None:
    path = tmp_path / "trace.csv"
    path.write_bytes(b"op,id,size\nfree,1,\nfree,2,\n")
    assert message(path, invalid="skip").startswith(f"{path}: all of its 2 events are invalid")
    assert len(reading.check(path, most=1)) == 1
