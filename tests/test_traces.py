"""The shipped traces: possible, as README.md counts them, small enough; and the recorder and its decoding."""

import re
import shutil
import subprocess
import sys
from dataclasses import astuple
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from traces import make
from traces.record.counting import Counts, Impossible, count
from traces.record.decode import RECORD, Call, Decoder, Row, records
from traces.record.writing import write

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


def calls(*rows: tuple[Call, int, int, int]) -> np.ndarray:
    """Recorder's records: (call, block, old, size), a nanosecond apart."""
    made = np.zeros(len(rows), RECORD)
    for number, (call, block, old, size) in enumerate(rows):
        made[number] = (number, block, old, size, 64 if call == Call.ALIGNED else 0, 0, call)
    return made


def test_decoding() -> None:
    decoder = Decoder()
    rows = list(
        decoder.rows(
            calls(
                (Call.MALLOC, 0x10, 0, 5),
                (Call.REALLOC, 0x20, 0x10, 9),
                (Call.CALLOC, 0x10, 0, 12),
                (Call.FREE, 0x20, 0, 0),
                (Call.ALIGNED, 0x40, 0, 64),
                (Call.FREE, 0x99, 0, 0),
                (Call.REALLOC, 0x50, 0, 7),
                (Call.REALLOC, 0x60, 0x98, 8),
            )
        )
    )
    assert rows == [
        Row("alloc", 0, 5, 0, tag="malloc"),
        Row("realloc", 0, 9, 1),
        Row("alloc", 1, 12, 2, tag="calloc"),
        Row("free", 0, time=3),
        Row("alloc", 2, 64, 4, 64, tag="aligned"),
        Row("alloc", 3, 7, 6, tag="realloc"),
        Row("alloc", 4, 8, 7, tag="realloc"),
    ]
    assert decoder.unknown == 2


def test_decoding_refuses_a_recording_with_gaps() -> None:
    with pytest.raises(ValueError, match="handed out twice"):
        list(Decoder().rows(calls((Call.MALLOC, 0x10, 0, 5), (Call.MALLOC, 0x10, 0, 5))))


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


PROGRAM = r"""
#include <pthread.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>
static void *work(void *unused) { free(malloc(333)); return unused; }
int main(void) {
    char *grown = realloc(malloc(111), 222), *zeroed = calloc(3, 100);
    void *aligned;
    if (posix_memalign(&aligned, 4096, 555)) return 1;
    pthread_t thread;
    pthread_create(&thread, NULL, work, NULL);
    pthread_join(thread, NULL);
    free(NULL);
    free(aligned);
    if (fork() == 0) { free(malloc(999)); _exit(0); }
    wait(NULL);
    free(grown);
    _exit(zeroed == NULL);
}
"""


@pytest.mark.skipif(not sys.platform.startswith("linux") or not shutil.which("cc"), reason="needs Linux and a C compiler")
def test_recorder(tmp_path: Path) -> None:
    library, program, recording = (tmp_path / name for name in ("recorder.so", "program", "calls.bin"))
    (tmp_path / "program.c").write_text(PROGRAM)
    source = str(FOLDER / "record" / "recorder.c")
    subprocess.run(["cc", "-shared", "-fPIC", "-o", str(library), source], check=True)
    # -O0 and the builtins off: a compiler may drop a malloc whose block is only freed
    subprocess.run(["cc", "-O0", "-fno-builtin", "-pthread", "-o", str(program), f"{program}.c"], check=True)
    environment = {
        "LD_PRELOAD": str(library),
        "MEMTRACE_RECORD": str(recording),
        "MEMTRACE_RECORD_PROGRAM": "program",
    }
    subprocess.run([str(program)], check=True, env=environment)
    decoder = Decoder()
    rows = list(decoder.rows(records(recording)))
    ids = {row.size: row.id for row in rows if row.op == "alloc"}
    assert [(row.op, row.size, row.tag) for row in rows if row.id == ids[111]] == [
        ("alloc", 111, "malloc"),
        ("realloc", 222, None),
        ("free", None, None),
    ]
    assert [(row.size, row.align, row.tag) for row in rows if row.id == ids[555]][0] == (555, 4096, "aligned")
    assert [(row.op, row.tag) for row in rows if row.id == ids[300]] == [("alloc", "calloc")]
    assert {row.stream for row in rows if row.id == ids[333]} == {1}
    assert 999 not in ids
    assert decoder.unknown == 0
