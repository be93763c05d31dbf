"""A table of inputs that no trace reader should accept: what is in the file, and what the user is told."""

from __future__ import annotations

import gzip
import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import zstandard

HEADER = b"op,id,size\n"
GOOD = HEADER + b"alloc,1,100\nalloc,2,50\nfree,1,\n"
MANY = HEADER + b"".join(b"alloc,%d,%d\n" % (number, 1 + number * 7919 % 4096) for number in range(50_000))


@dataclass(frozen=True)
class Bad:
    """One bad input; `rows` says whether it is single rows that are bad, which `invalid="skip"` leaves out."""

    name: str
    file: str
    content: bytes
    says: str  # after the file's path
    rows: int = 0  # invalid rows, 0: the file as a whole is bad


def csv(name: str, lines: bytes, says: str, rows: int = 1, header: bytes = HEADER) -> Bad:
    return Bad(
        name,
        "trace.csv",
        header + b"alloc,1,100" + b"," * (header.count(b",") - 2) + b"\n" + lines,
        says,
        rows,
    )


def parquet(columns: dict[str, Any], **options: Any) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(pa.table(columns).replace_schema_metadata(options), buffer)
    return buffer.getvalue()


def table(name: str, says: str, rows: int = 0, **columns: Any) -> Bad:
    whole = {"op": ["alloc", "alloc", "free"], "id": [1, 2, 1], "size": [10, 20, None], **columns}
    return Bad(name, "trace.parquet", parquet({n: c for n, c in whole.items() if c is not None}), says, rows)


PARQUET = parquet({"op": ["alloc"] * 5000, "id": list(range(5000)), "size": [number % 977 for number in range(5000)]})
PAGES = bytearray(PARQUET)
PAGES[64:4000] = bytes(255 - byte for byte in PAGES[64:4000])

LIVE = ":6: alloc of id 5: with its 1152921504606846976 bytes more than 2^62 are live"
ROWS = [
    csv("free of a dead id", b"free,1,\nfree,1,\n", ":4: free of id 1, which is not live (freed at line 3)"),
    csv("free of an unknown id", b"free,77,\n", ":3: free of id 77, which is not live (never allocated)"),
    csv("realloc of an unknown id", b"realloc,5,10\n", ":3: realloc of id 5, which is not live (never allocated)"),
    csv("realloc after realloc to 0", b"realloc,1,0\nrealloc,1,9\n", ":4: realloc of id 1, which is not live (freed at line 3)"),
    csv("access of a dead id", b"free,1,\naccess,1,\n", ":4: access of id 1, which is not live (freed at line 3)"),
    csv("record of an unknown id", b"record,3,\n", ":3: record of id 3, which is not live (never allocated)"),
    csv("alloc of a live id", b"alloc,1,5\n", ":3: alloc of id 1, which is live already (allocated at line 2)"),
    csv("an address as id", b"free,0x7f0000001000,\n", ":3: free of id 139637976731648 (0x7f0000001000), which is not live"),
    csv("negative size", b"alloc,2,-5\n", ":3: alloc of id 2: size -5 is negative"),
    csv("size beyond 2^60", b"alloc,2,1152921504606846977\n", ":3: alloc of id 2: size 1152921504606846977 is more than 2^60"),
    csv("size beyond int64", b"alloc,2,99999999999999999999\n", ":3: column 'size': '99999999999999999999' is beyond 2^63 - 1"),
    csv("more live than 2^62", "".join(f"alloc,{i},{2**60}\n" for i in range(2, 6)).encode(), LIVE),
    csv("a line that is too long and no UTF-8", b"alloc,2,\xff\xfe,3,4\n", ":3: the line has 5 fields, the header 3"),
    csv("no size", b"alloc,2,\n", ":3: alloc of id 2: the size is missing"),
    csv("no id", b"alloc,,8\n", ":3: alloc without an id"),
    csv("size in words", b"alloc,2,big\n", ":3: column 'size': 'big' is no whole number"),
    csv("size with a fraction", b"alloc,2,1.5\n", ":3: column 'size': '1.5' is no whole number"),
    csv("size with a unit", b"alloc,2,2MiB\n", ":3: column 'size': '2MiB' is no whole number"),
    csv("id in words", b"alloc,p,2\n", ":3: column 'id': 'p' is no whole number"),
    csv("hex id too long", b"alloc,0x10000000000000000,2\n", ":3: column 'id': '0x10000000000000000' is no whole number"),
    csv("unknown op", b"alocate,2,8\n", ":3: unknown op 'alocate'; did you mean"),
    csv("no op", b",2,8\n", ":3: the op is missing"),
    csv("op not UTF-8", b"al\xffoc,2,8\n", ":3: the op is not UTF-8 text"),
    csv("NUL bytes", b"\0\0\0\0,2,8\n", ":3: unknown op '\\x00\\x00\\x00\\x00'"),
    csv("too few fields", b"free,1\n", ":3: the line has 2 fields, the header 3"),
    csv("too many fields", b"free,1,,,\n", ":3: the line has 5 fields, the header 3"),
    csv("bad row after empty lines", b"\n\r\n\nfree,9,\n", ":6: free of id 9, which is not live"),
    csv("align no power of two", b"alloc,2,8,24\n", ":3: alloc of id 2: align 24 is no power of two", header=b"op,id,size,align\n"),
    csv("align 0", b"alloc,2,8,0\n", ":3: alloc of id 2: align 0 is no power of two", header=b"op,id,size,align\n"),
    csv("time goes back", b"alloc,2,8,50\nfree,1,,49\n", ":4: free of id 1: time goes back, from 50 to 49", header=b"op,id,size,time\n"),
    csv("stream beyond int32", b"alloc,2,8,3000000000\n", ":3: alloc of id 2: stream 3000000000 does not fit int32", header=b"op,id,size,stream\n"),
    csv("copy without dst", b"copy,1,8,\n", ":3: copy of id 1: the dst is missing", header=b"op,id,size,dst\n"),
    csv("copy in a trace without dst", b"copy,1,8\n", ":3: copy of id 1: the dst is missing"),
    csv("copy to a dead block", b"copy,1,8,4\n", ":3: copy of id 1: dst 4 is not live (never allocated)", header=b"op,id,size,dst\n"),
    csv("copy of a dead block", b"copy,4,8,1\n", ":3: copy of id 4, which is not live (never allocated)", header=b"op,id,size,dst\n"),
    csv("swap with a freed block", b"alloc,2,9,\nfree,2,,\nswap,1,,2\n", ":5: swap of id 1: dst 2 is not live (freed at line 4)", header=b"op,id,size,dst\n"),
    csv("copy of a negative size", b"copy,1,-8,1\n", ":3: copy of id 1: size -8 is negative", header=b"op,id,size,dst\n"),
    csv("tag not UTF-8", b"alloc,2,8,caf\xe9\n", ":3: column 'tag' is not UTF-8 text", header=b"op,id,size,tag\n"),
    csv("several bad rows", b"free,9,\nalloc,x,1\nfree,1\nalloc,1,1\n", ":3: free of id 9", rows=4),
    table("Parquet: free of an unknown id", ": row 3: free of id 7, which is not live (never allocated)", 1, id=[1, 2, 7]),
    table("Parquet: alloc of a live id", ": row 2: alloc of id 1, which is live already (allocated at row 1)", 1, id=[1, 1, 1]),
    table("Parquet: unknown op", ": row 2: unknown op 'malloc2'; did you mean 'malloc'?", 1, op=["alloc", "malloc2", "free"]),
    table("Parquet: a fraction", ": row 2: column 'size': 20.5 is no whole number", 1, size=[10.0, 20.5, None]),
    table("Parquet: words", ": row 2: column 'size': 'xx' is no whole number", 1, size=["10", "xx", None]),
]  # fmt: skip

FILES = [
    Bad("empty file", "trace.csv", b"", " is empty"),
    Bad("empty Parquet", "trace.parquet", b"", " is empty"),
    Bad("gzip of nothing", "trace.csv.gz", gzip.compress(b""), " is empty"),
    Bad("header only", "trace.csv", HEADER, ": it holds no events"),
    Bad("header without line end", "trace.csv", HEADER.strip(), ": it holds no events"),
    Bad("no header", "trace.csv", b"alloc,1,100\nfree,1,\n", ":1: no header; the first line is 'alloc,1,100'"),
    Bad("missing column", "trace.csv", b"op,id\nfree,1\n", ": column 'size' missing; columns there: 'op', 'id'"),
    Bad("misspelt column", "trace.csv", b"op,id,sizes\nfree,1,\n", "try: rename 'sizes' to 'size'"),
    Bad("semicolons", "trace.csv", b"op;id;size\nalloc;1;8\n", ":1: no header; the first line is 'op;id;size'"),
    Bad("duplicate column", "trace.csv", b"op,id,size,id\nalloc,1,8,1\n", ": column 'id' is there 2 times"),
    Bad("UTF-16", "trace.csv", GOOD.decode().encode("utf-16"), ":1: no header"),
    Bad("NUL bytes only", "trace.csv", b"\0" * 5000, ":1: no header"),
    Bad("10 MB on the first line", "trace.csv", b"x" * 10_000_000, ":1: the line is longer than 1 MiB"),
    Bad("10 MB on the header's line", "trace.csv", b"op,id,size," + b"x" * 10_000_000 + b"\n", ":1: the line is longer than 1 MiB"),
    Bad("10 MB on one line", "trace.csv", GOOD + b"x" * 10_000_000 + b"\n", ":5: the line is longer than 1 MiB"),
    Bad("truncated gzip", "trace.csv.gz", gzip.compress(MANY)[:20_000], ": cannot be read: Truncated compressed stream"),
    Bad("gzip without its last bytes", "trace.csv.gz", gzip.compress(MANY)[:-3], ": cannot be read: Truncated"),
    Bad("truncated zstd", "trace.csv.zst", zstandard.compress(MANY)[:20_000], ": cannot be read: Truncated"),
    Bad("damaged gzip", "trace.csv.gz", gzip.compress(MANY)[:5000] + b"\xff" * 5000, ": cannot be read: zlib"),
    Bad("no known kind", "trace.bin", bytes(range(256)) * 4, ": binary data of no known kind"),
    Bad("truncated Parquet", "trace.parquet", PARQUET[:-500], ": cannot be read: "),
    Bad("first bytes of a Parquet", "trace.parquet", PARQUET[:9], ": cannot be read: "),
    Bad("damaged pages in a Parquet", "trace.parquet", bytes(PAGES), ": cannot be read: "),
    Bad("CSV named Parquet, without a header", "trace.parquet", b"1,2,3\n", ": cannot be read: "),
    Bad("Parquet without rows", "trace.parquet", parquet({"op": pa.array([], pa.string()), "id": pa.array([], pa.int64()), "size": pa.array([], pa.int64())}), ": it holds no events"),
    Bad("Parquet of a newer schema", "trace.parquet", parquet({"op": ["alloc"], "id": [1], "size": [1]}, schema="memtrace.trace/9"), ": its schema is memtrace.trace/9"),
    table("Parquet: missing column", ": column 'size' missing", size=None),
    table("Parquet: bools as sizes", ": column 'size' holds bool, not whole numbers", size=[True, False, None]),
    table("Parquet: times as timestamps", ": column 'time' holds timestamp[us]", time=pa.array([1, 2, 3], pa.timestamp("us"))),
    table("Parquet: lists as ids", ": column 'id' holds list", id=[[1], [2], [3]]),
    table("Parquet: numbers as ops", ": column 'op' holds int64, not text", op=[0, 0, 1]),
]  # fmt: skip


def write(bad: Bad, folder: Path) -> Path:
    """The bad input as a file."""
    path = folder / bad.file
    path.write_bytes(bad.content)
    return path
