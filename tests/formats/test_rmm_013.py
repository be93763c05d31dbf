"""The log of RMM before 0.14 against a slow twin: its lines by csv and regular expressions, its times by float."""

from __future__ import annotations

import csv
import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracle_formats import HEX, NUM, Heap, lines, number, pointer
from test_line_formats import JUNK, POINTERS, SIZES, read_rows, spelled

from memtrace import reading
from memtrace.errors import InputError

HEADER = "Event Type,Device ID,Address,Stream,Size (bytes),Free Memory,Total Memory,Current Allocs,Start,End,Elapsed,Location"
OTHER_HEADER = '"Event Type",Location,Start,"Size (bytes)",Stream,Address,Device ID'
WHOLE = {
    "Event Type": "Alloc|Realloc|Free",
    "Device ID": "[0-9]|[12][0-9]|3[01]",
    "Address": HEX,
    "Stream": HEX,
    "Size (bytes)": NUM,
    "Start": rf"{NUM}(\.[0-9]*)?(e[-+]?{NUM})?",
}
KINDS = st.sampled_from(["Alloc", "Alloc", "Free", "Realloc", "Fre", "Allocs", '"Alloc"'])
DEVICES = st.sampled_from(["0", "1", "31", "32", "x"])
STREAMS = st.sampled_from(["0", "7f10", "0x2", "g"])
STARTS = st.sampled_from(["0", "1.5", "2.5e-05", "1e+06", "1.", "1e-9223372036854775807", "0e99999", "-1", "1e", ".5"])
PLACES = st.sampled_from(["/a.py:1", '"/a,b.py:1"', '"say ""a"", b"', '""', ""])
LINES = st.one_of(
    spelled(KINDS, ",", DEVICES, ",", POINTERS, ",", STREAMS, ",", SIZES, ",0,0,1,", STARTS, ",1,0,", PLACES),
    spelled("Alloc,0,", POINTERS, ",0,", SIZES, ",0,0,1,1.5"),
    spelled("Realloc,0,", POINTERS, ",0,8,0,0,1,1.5,,,"),
    st.sampled_from([HEADER, "Alloc,0,0x10", " ", '"Alloc']),
    JUNK,
)


def twin(text: str) -> Heap:
    heap = Heap()
    streams: dict[int, int] = {}
    header, *rest = lines(text)
    names = next(csv.reader([header]))
    for line in rest:
        fields = dict(zip(names, next(csv.reader([line])), strict=False))
        if fields["Event Type"] == "Event Type":
            continue
        if not all(re.fullmatch(pattern, fields.get(name, ""), re.ASCII) for name, pattern in WHOLE.items()):
            heap.bad()
            continue
        code = streams.setdefault(pointer(fields["Stream"]), len(streams))
        address = pointer(fields["Address"])
        if address:
            address += int(fields["Device ID"]) << 58
            address = (address + 2**63) % 2**64 - 2**63
        size = number(fields["Size (bytes)"])
        if fields["Event Type"] == "Free":
            heap.free(address, code)
        elif fields["Event Type"] == "Alloc":
            heap.malloc(address, size, None, code)
        else:
            heap.realloc(address, address, size, code)
    return heap


@settings(max_examples=200, deadline=None)
@given(rest=st.lists(LINES, max_size=30))
def test_it_is_read_as_its_twin_reads_it(rest: list[str], tmp_path_factory: pytest.TempPathFactory) -> None:
    path, text = tmp_path_factory.getbasetemp() / "rmm-013.csv", "\n".join([HEADER, *rest]) + "\n"
    path.write_text(text)
    assert read_rows("rmm", path) == twin(text).rows


def test_columns_may_stand_in_any_order(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text(
        f'{OTHER_HEADER}\nAlloc,"a, b",1.5,8,0,0x10,0\nFree,c,2,0,0,0x10,0\n'.replace('"Event Type"', "Event Type")
    )
    assert reading.read(tmp_path / "t.csv").to_pandas()["size"].tolist()[0] == 8
    (tmp_path / "t.csv").write_text("Event Type,Device ID,Address,Stream,Start\n")
    with pytest.raises(InputError, match=r":1: no column 'Size \(bytes\)' in a log of RMM"):
        reading.read(tmp_path / "t.csv")


@settings(max_examples=100, deadline=None)
@given(starts=st.lists(st.floats(0, 1e6), min_size=1, max_size=20), form=st.sampled_from([".6g", ".3e", ".15g", "f"]))
def test_times_are_those_of_float(starts: list[float], form: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    texts = [format(start, form) for start in sorted(starts)]
    path = tmp_path_factory.getbasetemp() / "rmm-013-times.csv"
    path.write_text("\n".join([HEADER, *(f"Alloc,0,0x{i + 1}0,0,8,0,0,1,{text},0,0," for i, text in enumerate(texts))]) + "\n")
    assert reading.read(path).to_pandas()["time"].tolist() == [round(float(text) * 1e9) for text in texts]
