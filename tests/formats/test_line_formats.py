"""Compiled readers of text against slow twins, on random lines: well formed, misfit, damaged."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracle_formats import READERS, Row

from memtrace.formats import _reading, formats
from memtrace.formats import _text as _lines
from memtrace.trace.batches import MISSING
from memtrace.trace.sources import open_source

POINTERS = st.sampled_from(["0x0", "(nil)", "0x1000", "0x2000", "0x3000", "0xffff888000000000", "0x7f0000001000"])
SIZES = st.sampled_from(["0", "1", "16", "100", "4096", "99999999999999999999", "1152921504606846976"])
HEX_SIZES = st.sampled_from(["0", "0x1", "0x64", "0xfffffffffffffffb"])
TIDS = st.sampled_from(["1", "7", "393"])
HANDLES = st.one_of(POINTERS, st.sampled_from(["#0", "#1", "#2"]))
INFOS = st.sampled_from(["0", "1", "2", "f"])
IDS = st.sampled_from(["0", "1", "2"])
AT = st.sampled_from(["@ ./a.out:[0x401150] ", "@ /lib/my lib - 2.so:(f+0x12)[0x7f0000] ", ""])
JUNK = st.one_of(
    st.text("0123456789abcdefx(),:#=+-<>! \t@frmaAFll", max_size=30),
    st.sampled_from(
        [
            "",
            "  ",
            "= Start",
            "= End",
            "7: thread_done 0x0",
            "malloc",
            "1 1 jemalloc_stats()",
            "1 1 mallox(5)=0x1",
            "7: mallox 0x1 5",
            "1 2 callox(1)",
            "c 1f",
            "# x",
        ]
    ),
)


CLOCKS = st.sampled_from(["00:00:01.5", "12:30:00:123456", "23:59:59.999999", "1634567890.123456", "2026-01-02 01:02:03.4", "7"])
STREAMS = st.sampled_from(["0x0", "0x2", "0x7f8a38001020", "default", ""])


def spelled(*parts: str | st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.tuples(*(st.just(part) if isinstance(part, str) else part for part in parts)).map("".join)


LINES = {
    "android": st.one_of(
        spelled(TIDS, ": malloc ", POINTERS, " ", SIZES),
        spelled(TIDS, ": calloc ", POINTERS, " ", SIZES, " ", SIZES),
        spelled(TIDS, ": memalign ", POINTERS, " ", SIZES, " ", SIZES),
        spelled(TIDS, ": realloc ", POINTERS, " ", POINTERS, " ", SIZES),
        spelled(TIDS, ": free ", POINTERS),
        JUNK,
    ),
    "mtrace": st.one_of(
        spelled(AT, "+ ", POINTERS, " ", HEX_SIZES),
        spelled(AT, "- ", POINTERS),
        spelled(AT, "< ", POINTERS),
        spelled("@ x:[0x1] < ", POINTERS, "\n@ x:[0x1] > ", POINTERS, " ", HEX_SIZES),
        spelled(AT, "> ", POINTERS, " ", HEX_SIZES),
        spelled(AT, "! ", POINTERS, " ", HEX_SIZES),
        JUNK,
    ),
    "logalloc": st.one_of(
        spelled(IDS, " ", TIDS, " malloc(", SIZES, ")=", HANDLES),
        spelled(TIDS, " calloc(", SIZES, ",", SIZES, ")=", HANDLES),
        spelled("1 ", TIDS, " realloc(", HANDLES, ",", SIZES, ")=", HANDLES),
        spelled("1 ", TIDS, " posix_memalign(", SIZES, ",", SIZES, ")=", HANDLES),
        spelled("1 ", TIDS, " free(", HANDLES, ")"),
        spelled("1 ", TIDS, " valloc(", SIZES, ")=", HANDLES),
        JUNK,
    ),
    "heaptrack": st.one_of(
        spelled("a ", INFOS, " 1"),
        spelled("+ ", INFOS),
        spelled("- ", INFOS),
        spelled("+ ", INFOS, " 1 ", st.sampled_from(["1000", "2000"])),
        spelled("- ", st.sampled_from(["1000", "2000"])),
        st.sampled_from(["v 10500 3", "X ./a", "I 1000 5", "A", "c 10", "R 5", "# strings: 1", "s 3 lib", "nothing"]),
    ),
    "rep": st.one_of(
        spelled("a ", IDS, " ", SIZES),
        spelled("r\t", IDS, "  ", SIZES),
        spelled("f ", IDS),
        st.sampled_from(["f -1", "f  -1", "3 4", "1 2 3 4 5 6 7 8 9", "5 x"]),
        SIZES,
        JUNK,
    ),
    "rmm": st.one_of(
        spelled(TIDS, ",", CLOCKS, ",allocate,", POINTERS, ",", SIZES, ",", STREAMS),
        spelled(TIDS, ",", CLOCKS, ",", st.sampled_from(["free", "deallocate", "fre"]), ",", POINTERS, ",", SIZES, ",", STREAMS),
        spelled(TIDS, ",", CLOCKS, ",allocate failure,", st.sampled_from(["(nil)", ""]), ",", SIZES, ",0x0"),
        st.sampled_from(
            [
                "Thread,Time,Action,Pointer,Size,Stream",
                "1,2,allocate",
                "1,12:00:00.0,allocate failure,0x1,5",
                "1,2,free,,5,",
                "",
                " ",
                "an INFO",
            ]
        ),
    ),
    "wee_alloc": st.one_of(spelled("Alloc(", SIZES, "),"), spelled("Free(", IDS, ")"), JUNK),
}
FOLDED = {name: st.lists(lines, max_size=30).map("\n".join) for name, lines in LINES.items()}


def read_rows(name: str, path: Path) -> list[Row]:
    found: list[Row] = []
    with open_source(path) as source:
        for batch in formats()[name].read(source):
            rows = batch.rows
            count = rows.op.size

            def column(values: np.ndarray, count: int = count) -> list[int | None]:
                return [None if value == MISSING else int(value) for value in np.broadcast_to(values, count)]

            found += zip(
                rows.op.tolist(),
                column(rows.id),
                column(rows.size),
                column(rows.align),
                column(rows.stream),
                strict=True,
            )
    return found


@pytest.mark.parametrize("name", LINES)
@settings(max_examples=120, deadline=None)
@given(data=st.data())
def test_it_is_read_as_its_twin_reads_it(name: str, data: st.DataObject, tmp_path_factory: pytest.TempPathFactory) -> None:
    text = data.draw(FOLDED[name])
    path = tmp_path_factory.getbasetemp() / f"{name}.txt"
    path.write_text(text + "\n")
    assert read_rows(name, path) == READERS[name](text).rows


@pytest.mark.parametrize("name", LINES)
def test_blocks_and_batches_may_be_of_any_size(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = many(name)
    path = tmp_path / "t"
    path.write_text(text)
    whole = read_rows(name, path)
    assert whole == READERS[name](text).rows and len(whole) > 2000
    monkeypatch.setattr(_lines, "BLOCK_BYTES", 333)
    monkeypatch.setattr(_reading, "BATCH_ROWS", 7)
    monkeypatch.setattr(_reading, "FIRST_PLACES", 16)
    monkeypatch.setattr(formats()["heaptrack"], "BATCH_ROWS", 7)
    monkeypatch.setattr(formats()["heaptrack"], "FIRST", 2)
    path.write_bytes(gzip.compress(text.encode()))
    assert read_rows(name, path) == whole


def many(name: str) -> str:
    """A long run with many blocks live at once, and many threads."""
    random = np.random.default_rng(3)
    lines: list[str] = ["20000", "9", "9", "1"] if name == "rep" else []
    live: list[int] = []
    for number in range(3000):
        free = live and random.random() < 0.3
        at = live.pop(int(random.integers(len(live)))) if free else number
        if not free:
            live.append(at)
        p, size, tid = f"0x{at * 16 + 16:x}", number % 999, number % 77
        lines.append(
            {
                "android": f"{tid}: free {p}" if free else f"{tid}: malloc {p} {size}",
                "mtrace": f"@ a:[0x1] - {p}" if free else f"@ a:[0x1] + {p} {size:#x}",
                "logalloc": f"1 {tid} free({p})" if free else f"1 {tid} malloc({size})={p}",
                "heaptrack": f"- {at:x}" if free else f"a {size:x} 1\n+ {at:x}",
                "rmm": f"{tid},1.5,free,{p},{size},0x{tid:x}" if free else f"{tid},1.5,allocate,{p},{size},0x{tid:x}",
                "rep": f"f {at}" if free else f"a {at} {size}",
                "wee_alloc": f"Free({at})" if free else f"Alloc({size}),",
            }[name]
        )
    if name == "heaptrack":  # every number names an info
        lines = [f"a {number:x} 1" for number in range(3000)] + [line.split("\n")[-1] for line in lines]
    return "\n".join(lines) + "\n"
