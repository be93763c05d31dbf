"""CSV and Parquet, packed or not, from files, pipes, standard input and URLs; conversion between them."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import io
import os
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard
from bad_input import GOOD

from memtrace import formats, reading, trace
from memtrace.errors import InputError, MemtraceError, UsageError
from memtrace.trace import Op, Trace
from memtrace.trace import writing as files
from memtrace.trace.sources import open_source

COLUMNS = {
    "op": ["malloc", "alloc", "copy", "realloc", "record", "free", "free", "empty"],
    "id": [0x7F0000001000, 2, 2, 2, 2, None, 2, None],
    "size": [100, 2**52, None, 50, None, None, None, None],
    "time": [5, 5, 6, 7, 8, 9, 9, 10],
    "align": [256, None, None, None, None, None, None, None],
    "stream": [0, 1, None, 1, 3, None, 1, None],
    "dst": [None, None, 0x7F0000001000, None, None, None, None, None],
    "tag": ["kv-cache", None, None, 'say "a,b"', None, None, None, None],
}
TEXT = b"""\
tag,dst,stream,align,time,size,note,id,op
kv-cache,,0,256,5,100,x,0x7f0000001000,malloc
,,1,,5,4503599627370496,,2,alloc
,0x7F0000001000,,,6,,,2,copy
"say ""a,b""\",,1,,7,50,"c,d",0X2,realloc

,,3,,8,,,2,record
,,,,9,,,,free
,,1,,9,,,2,free
,,,,10,,,,empty"""
ROWS = [
    [Op.ALLOC, 0, 100, 256, 0, -1, 0],
    [Op.ALLOC, 1, 2**52, 0, 1, -1, -1],
    [Op.COPY, 1, -1, 0, 0, 0, -1],
    [Op.REALLOC, 1, 50, 0, 1, -1, 1],
    [Op.RECORD, 1, 0, 0, 3, -1, -1],
    [Op.FREE, -1, 0, 0, 0, -1, -1],
    [Op.FREE, 1, 0, 0, 1, -1, -1],
    [Op.TRIM, -1, 0, 0, 0, -1, -1],
]
Pack = Callable[[bytes], bytes]
PACKED: dict[str, Pack] = {"": lambda data: data, ".gz": gzip.compress, ".zst": zstandard.compress}


def rows(read: Trace) -> list[list[int]]:
    return [list(row) for batch in read.batches() for row in zip(*(c.tolist() for c in batch), strict=True)]


def check_sample(read: Trace) -> None:
    assert rows(read) == ROWS
    assert read.tags == ("kv-cache", 'say "a,b"')
    assert read.times(np.arange(8)).tolist() == COLUMNS["time"]
    assert read.columns == tuple(COLUMNS)


def parquet_bytes(**replaced: Any) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(pa.table({**COLUMNS, **replaced}), buffer)
    return buffer.getvalue()


@pytest.mark.parametrize("suffix", PACKED)
@pytest.mark.parametrize(("kind", "content"), [("csv", TEXT), ("parquet", parquet_bytes())])
def test_a_file_is_read_however_it_is_packed(kind: str, content: bytes, suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"my.trace.{kind}{suffix}"
    stored = PACKED[suffix](content)
    path.write_bytes(stored)
    read = reading.read(path)
    check_sample(read)
    assert (read.name, read.source) == ("my.trace", str(path))
    assert read.sha256 == hashlib.sha256(stored).hexdigest()


def test_the_first_bytes_count_not_the_name(tmp_path: Path) -> None:
    for name, content in [
        ("a.csv", gzip.compress(TEXT, mtime=0)),
        ("b.gz", TEXT),
        ("c.parquet", TEXT),
        ("d", parquet_bytes()),
    ]:
        path = tmp_path / name
        path.write_bytes(content)
        check_sample(reading.read(path))


@pytest.mark.parametrize("text", [TEXT.replace(b"\n", b"\r\n"), b"\xef\xbb\xbf" + TEXT, TEXT + b"\n\n\n"])
def test_line_ends_and_byte_order_marks(text: bytes, tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes(text)
    check_sample(reading.read(path))


def test_a_block_with_a_bad_row_is_read_like_the_others(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes(TEXT.replace(b"\n\n", b"\nonly,three,fields\n, ,,, ,x,,7,free\n,,,,99999999999999999999,,,2,free\n"))
    read = reading.read(path, invalid="skip")
    check_sample(read)
    assert read.facts.invalid_events == 3


@pytest.mark.parametrize(
    "kinds",
    [
        {"op": pa.large_string(), "tag": pa.large_string(), "id": pa.uint64(), "size": pa.uint64()},
        {"op": pa.dictionary(pa.int8(), pa.string()), "tag": pa.dictionary(pa.uint16(), pa.string())},
        {
            "op": pa.binary(),
            "tag": pa.string_view(),
            "stream": pa.int8(),
            "align": pa.uint16(),
            "time": pa.float64(),
        },
        {"size": pa.float64(), "align": pa.float32(), "dst": pa.string(), "id": pa.string()},
    ],
)
def test_column_types_near_enough(kinds: dict[str, pa.DataType], tmp_path: Path) -> None:
    schema = {name: kinds.get(name, pa.array(column).type) for name, column in COLUMNS.items()}
    columns = {name: pa.array(column).cast(schema[name], safe=False) for name, column in COLUMNS.items()}
    pq.write_table(pa.table(columns), tmp_path / "t.parquet", store_schema=True)
    check_sample(reading.read(tmp_path / "t.parquet"))


def test_ids_from_2_63_on_are_handles_too(tmp_path: Path) -> None:
    text = b"op,id,size\nalloc,0xffff888000000000,8\nalloc,0xffffffffffffffff,8\nfree,0xffff888000000000,\n"
    (tmp_path / "t.csv").write_bytes(text)
    ids = pa.array([0xFFFF888000000000, 2**64 - 1, 0xFFFF888000000000], pa.uint64())
    table = pa.table({"op": ["alloc", "alloc", "free"], "id": ids, "size": [8, 8, None]})
    pq.write_table(table, tmp_path / "t.parquet")
    for name in ("t.csv", "t.parquet"):
        assert [block for _, block, *_ in raw_rows(reading.read(tmp_path / name))] == [0, 1, 0]


def raw_rows(read: Trace) -> list[tuple[int, ...]]:
    return [tuple(row) for batch in read.batches() for row in zip(*(c.tolist() for c in batch[:3]), strict=True)]


class Pipe(io.BytesIO):
    """Standard input: its bytes can be read once."""

    def seekable(self) -> bool:
        return False


@pytest.mark.parametrize("content", [TEXT, gzip.compress(TEXT, mtime=0), zstandard.compress(TEXT), parquet_bytes()])
def test_standard_input(content: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(Pipe(content)))
    read = reading.read("-")
    check_sample(read)
    assert (read.name, read.source) == ("stdin", "-")
    assert read.sha256 == hashlib.sha256(content).hexdigest()


def test_an_error_on_standard_input_knows_the_lines_before(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(Pipe(GOOD + b"free,1,\n")))
    with pytest.raises(InputError, match=r"^standard input:5: free of id 1, which is not live \(freed at line 4\)"):
        reading.read("-")


def test_a_terminal_is_no_trace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(Pipe(b"")))
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True)
    with pytest.raises(UsageError, match="standard input is a terminal"):
        reading.read("-")


def test_a_named_pipe(tmp_path: Path) -> None:
    path = tmp_path / "pipe.csv"
    os.mkfifo(path)
    writer = threading.Thread(target=lambda: path.write_bytes(TEXT))
    writer.start()
    check_sample(reading.read(path))
    writer.join()


def test_a_url(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    fake = ModuleType("fsspec")

    @contextlib.contextmanager
    def opened(url: str, mode: str) -> Iterator[BinaryIO]:
        if "missing" in url:
            raise FileNotFoundError(url)
        yield io.BytesIO(gzip.compress(TEXT))

    fake.open = opened  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "fsspec", fake)
    read = reading.read("s3://bucket/my.csv.gz?versionId=3")
    check_sample(read)
    assert read.name == "my"
    with pytest.raises(InputError, match=r"^s3://bucket/missing\.csv: cannot be read"):
        reading.read("s3://bucket/missing.csv")
    (tmp_path / "t.csv").write_bytes(TEXT)
    check_sample(reading.read((tmp_path / "t.csv").as_uri()))


def test_progress_is_told_how_far_it_is(tmp_path: Path) -> None:
    for name, content, total in [("t.csv", TEXT, len(TEXT)), ("t.parquet", parquet_bytes(), 8)]:
        (tmp_path / name).write_bytes(content)
        seen: list[tuple[int, int | None]] = []
        reading.read(tmp_path / name, progress=lambda done, whole, seen=seen: seen.append((done, whole)))
        assert seen[-1] == (total, total)


@pytest.mark.parametrize("name", ["t.csv", "t.csv.gz", "t.csv.zst", "t.parquet"])
def test_converting_keeps_every_column(name: str, tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_bytes(TEXT)
    assert reading.convert(tmp_path / "in.csv", tmp_path / name) == 8
    check_sample(reading.read(tmp_path / name))
    reading.convert(tmp_path / name, tmp_path / "back.parquet")
    found = pq.read_table(tmp_path / "back.parquet")
    ops = ["alloc", "alloc", *COLUMNS["op"][2:-1], "trim"]
    assert found.to_pydict() == {**COLUMNS, "op": ops}
    assert [str(field.type).partition("<")[0] for field in found.schema] == [
        "dictionary", "int64", "int64", "int64", "int64", "int32", "int64", "dictionary"
    ]  # fmt: skip
    assert found.schema.metadata == {b"schema": b"memtrace.trace/1"}


def test_converted_files_are_the_same_bytes_and_plain_csv(tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_bytes(GOOD)
    for name in ("a.csv", "b.csv", "a.parquet", "b.parquet", "a.csv.gz", "b.csv.gz"):
        reading.convert(tmp_path / "in.csv", tmp_path / name)
    assert (tmp_path / "a.csv").read_bytes() == GOOD
    for kind in ("csv", "parquet", "csv.gz"):
        assert (tmp_path / f"a.{kind}").read_bytes() == (tmp_path / f"b.{kind}").read_bytes()


def test_metadata_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "in.parquet"
    table = pa.table({"op": ["alloc"], "id": [1], "size": [8]})
    pq.write_table(table.replace_schema_metadata({"about": "a test", "pandas": "{}"}), path)
    read = reading.read(path)
    assert read.metadata == {"about": "a test"}
    reading.convert(path, tmp_path / "out.parquet")
    trace.write(read, tmp_path / "written.parquet", metadata={"seed": "7"})
    assert reading.read(tmp_path / "out.parquet").metadata == {"about": "a test"}
    assert reading.read(tmp_path / "written.parquet").metadata == {"about": "a test", "seed": "7"}


def test_converting_without_the_invalid_rows(tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_bytes(GOOD + b"free,1,\nalloc,x,9\nalloc,1,7\n")
    assert reading.convert(tmp_path / "in.csv", tmp_path / "out.csv", invalid="skip") == 4
    assert (tmp_path / "out.csv").read_bytes() == GOOD + b"alloc,1,7\n"


def test_a_failed_conversion_leaves_the_old_file(tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_bytes(GOOD + b"free,1,\n")
    (tmp_path / "out.csv").write_bytes(b"old")
    with pytest.raises(InputError, match="free of id 1, which is not live"):
        reading.convert(tmp_path / "in.csv", tmp_path / "out.csv")
    assert (tmp_path / "out.csv").read_bytes() == b"old"
    assert len(list(tmp_path.iterdir())) == 2


def test_what_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_bytes(GOOD)
    for name, said in [
        ("out.txt", "written as \\.parquet"),
        ("out.parquet.gz", "written as"),
        ("no/out.csv", "cannot be written"),
    ]:
        with pytest.raises(UsageError, match=said):
            reading.convert(tmp_path / "in.csv", tmp_path / name)
    broken = trace.from_events([("alloc", 1, 8, None, None, None, None, "two\nlines")])
    with pytest.raises(MemtraceError, match="has a line break"):
        trace.write(broken, tmp_path / "out.csv")
    trace.write(broken, tmp_path / "out.parquet")
    assert reading.read(tmp_path / "out.parquet").tags == ("two\nlines",)


def test_a_written_trace_is_read_as_the_same(tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_bytes(TEXT)
    read = reading.read(tmp_path / "in.csv")
    for name in ("out.csv", "out.parquet"):
        trace.write(read, tmp_path / name)
        check_sample(reading.read(tmp_path / name))


def test_tags_have_one_code_in_all_batches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(formats.formats()["csv"], "BLOCK_BYTES", 64)
    monkeypatch.setattr(formats.formats()["parquet"], "BATCH_ROWS", 7)
    monkeypatch.setattr(files, "BATCH_ROWS", 10)
    tags = [f"t{(number * 7) % 5}" if number % 3 else "" for number in range(100)]
    text = "op,id,size,tag\n" + "".join(f"alloc,{number},8,{tag}\n" for number, tag in enumerate(tags))
    (tmp_path / "t.csv").write_text(text)
    reading.convert(tmp_path / "t.csv", tmp_path / "t.parquet")
    assert pq.ParquetFile(tmp_path / "t.parquet").metadata.num_row_groups == 10
    for name in ("t.csv", "t.parquet"):
        read = reading.read(tmp_path / name)
        found = [read.tags[code] if code >= 0 else "" for batch in read.batches() for code in batch.tag.tolist()]
        assert found == tags


def test_each_format_knows_its_own_and_no_other(tmp_path: Path) -> None:
    samples = {"csv": TEXT, "parquet": parquet_bytes()}
    known = formats.formats()
    assert set(samples) <= set(known)
    for name, content in samples.items():
        (tmp_path / "sample").write_bytes(content)
        with open_source(tmp_path / "sample") as source:
            head = source.head()
            assert [other for other in samples if known[other].sniff(head, "sample")] == [name]
            assert formats.find(source).NAME == name
            assert formats.find(source, name).NAME == name
    for found in known.values():
        assert (found.__doc__ or "").strip()
        assert found.SUFFIXES or found.NAME == "template"  # which names no files of its own
