"""What a file looks like, how sure that is, and what would be read."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from conftest import ROOT, Run

from memtrace import reading
from memtrace.errors import InputError
from memtrace.formats import formats
from memtrace.reading import recognition

SAMPLES = ROOT / "tests" / "data" / "formats"


@pytest.mark.parametrize("path", sorted(SAMPLES.iterdir()), ids=lambda path: path.name)
def test_samples_are_certain_and_counted(path: Path) -> None:
    found = recognition.recognise(path)
    facts = reading.read(path).facts
    assert (found.sure, found.others, found.problem, found.whole) == ("certain", (), None, True)
    assert (found.events, found.invalid, found.ops["alloc"]) == (facts.events, 0, facts.allocs)


@pytest.mark.parametrize(
    ("file", "content", "format", "sure", "says"),
    [
        ("a.csv", b"op,id,size\nalloc,1,8\n", "csv", "certain", "no other"),
        ("a.csv", b"op,id,size\nalloc,1,8\nfree,2,\n", "csv", "likely", "1 of 2 events are invalid"),
        ("a.rep", b"hello\n", "rep", "by its name only", "files of rep are named"),
        ("a.json", b'{"traceEvents": [{"ph":"X","name":"mm","ts":1}]}', "chrome", "likely", "nothing could be read"),
        ("a.log", b"7: malloc 0x10 8\n--1-- malloc(8) = 0x10\n", "valgrind", "likely", "and of others"),
    ],
)
def test_how_sure_it_is(file: str, content: bytes, format: str, sure: str, says: str, tmp_path: Path) -> None:
    (tmp_path / file).write_bytes(content)
    found = recognition.recognise(tmp_path / file)
    assert (found.format, found.sure) == (format, sure) and says in found.reason


def test_a_long_file_is_read_in_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recognition, "MOST_EVENTS", 10)
    (tmp_path / "a.log").write_text("--1-- malloc(8) = 0x10\n" * 200_000)
    found = recognition.recognise(tmp_path / "a.log")
    assert not found.whole and 10 <= found.events < 200_000


def test_the_command_says_it(memtrace: Run, tmp_path: Path) -> None:
    done = memtrace("formats", SAMPLES / "valgrind.log")
    lines = done.stdout.splitlines()
    assert lines[0].endswith("valgrind.log: valgrind, certain") and lines[1].startswith("Valgrind's own log of calls")
    assert lines[3] == "would be read: 11 events (5 alloc, 5 free, 1 realloc); columns op, id, size, align, tag"
    found = json.loads(memtrace("formats", SAMPLES / "kmem.txt", "--format", "kmem:pages", "--json").stdout)
    assert (found["schema"], found["format"], found["ops"]) == ("memtrace.recognised/1", "kmem:pages", {"alloc": 1})
    (tmp_path / "a.log").write_text("take a0 64\nhello\n")
    done = memtrace("formats", tmp_path / "a.log", "--template", "take {ptr} {size}")
    assert "note: lines that fit no template, left out: 1" in done.stdout, done
    done = memtrace("formats", tmp_path / "a.log")
    assert done.returncode == 3 and "--template 'alloc {ptr} {size}'" in done.stderr
    (tmp_path / "a.html").write_text("<html></html>")
    done = memtrace("formats", tmp_path / "a.html")
    assert done.returncode == 3 and "torch-snapshot, by its name only" in done.stdout and "try: " in done.stderr, done
    done = memtrace("formats", "csv", "--format", "csv")
    assert done.returncode == 2 and "go with a file" in done.stderr


def test_a_file_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InputError):
        recognition.recognise(tmp_path / "none.csv")
    assert "template" in formats()
