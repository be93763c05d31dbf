"""The shipped traces: possible, as README.md counts them, small enough."""

import re
from dataclasses import astuple
from functools import cache
from pathlib import Path

import pytest

from traces import make
from traces.record.counting import Counts, Impossible, count
from traces.record.writing import Row, write

FOLDER = Path(make.__file__).parent
SHIPPED = sorted([*FOLDER.glob("*.parquet"), *FOLDER.glob("*.csv")])
LIMIT = 2 << 20


def table_rows() -> dict[str, tuple[int, ...]]:
    """The first table of README.md: the numbers after each file's name."""
    rows = re.findall(r"^\| ([\w-]+\.\w+) \|((?: [\d,]+ \|){8})$", (FOLDER / "README.md").read_text(), re.M)
    return {name: tuple(int(n.replace(",", "")) for n in numbers.split("|")[:-1]) for name, numbers in rows}


@cache
def counted(path: Path) -> Counts:
    return count(path)


def test_readme_lists_every_trace_and_no_other() -> None:
    assert sorted(table_rows()) == [path.name for path in sorted(SHIPPED)]


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_trace_is_possible_and_counted(path: Path) -> None:
    assert astuple(counted(path)) == table_rows()[path.name]


def test_sizes() -> None:
    sizes = [path.stat().st_size for path in SHIPPED]
    assert max(sizes) < LIMIT
    assert sum(sizes) < 3 * LIMIT


def test_kinds_of_traces() -> None:
    counts = [counted(path) for path in SHIPPED]
    assert sum(path.suffix == ".csv" for path in SHIPPED) == 1
    assert any(one.reallocs > 1000 for one in counts)
    assert any(one.aligned for one in counts)
    assert any(one.streams > 1 for one in counts)


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_no_path_of_a_machine(path: Path) -> None:
    assert not re.search(rb"/(home|root|tmp|usr|work|Users)/", path.read_bytes())


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_counting_what_was_written(tmp_path: Path, suffix: str) -> None:
    rows = [
        Row("alloc", 1, 10, 0),
        Row("realloc", 1, 30, 1),
        Row("alloc", 2, 0, 2, 64, 1),
        Row("free", 1, None, 3),
    ]
    path = tmp_path / f"t{suffix}"
    write(rows, path, {})
    assert astuple(count(path)) == (4, 2, 1, 1, 1, 2, 30, 1)


@pytest.mark.parametrize(
    "rows",
    [
        [Row("alloc", 1, 10), Row("alloc", 1, 10)],
        [Row("free", 1)],
        [Row("realloc", 1, 10)],
        [Row("alloc", 1, -1)],
        [Row("alloc", 1, 10, align=3)],
        [Row("alloc", 1, 10, 5), Row("free", 1, None, 4)],
        [Row("frobnicate", 1, 10)],
    ],
)
def test_counting_refuses_the_impossible(tmp_path: Path, rows: list[Row]) -> None:
    write(rows, tmp_path / "t.csv", {})
    with pytest.raises(Impossible):
        count(tmp_path / "t.csv")


def test_torch_streams_become_traces(tmp_path: Path) -> None:
    source = tmp_path / "recording.csv"
    source.write_text("time,op,id,size,stream\n0,alloc,1,512,0\n1,empty,,,\n2,free,1,512,0\n")
    made = make.convert_torch(source, tmp_path / "t.csv")
    assert made.read_text() == "op,id,size\nalloc,1,512\ntrim,0,\nfree,1,\n"
