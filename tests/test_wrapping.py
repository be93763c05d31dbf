"""Folding of lines: at the width, between words, and settings behind their commas."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from memtrace.cli.terminal import echo
from memtrace.wrapping import folded, folded_line


@pytest.mark.parametrize(
    ("text", "width", "lines"),
    [
        ("", 10, []),
        ("one two three", 9, ["one two", "  three"]),
        ("at most 13.0 GiB reserved", 14, ["at most", "  13.0 GiB", "  reserved"]),
        ("aa:True,bbb:[1:2,>:4],c:8", 12, ["aa:True,", "  bbb:[1:2,", "  >:4],c:8"]),
        ("aa:True,bbb:[1:2,>:4],c:8", 17, ["aa:True,", "  bbb:[1:2,>:4],", "  c:8"]),
        ("abcdefghijkl", 5, ["abcde", "  fgh", "  ijk", "  l"]),
    ],
)
def test_lines_end_where_they_can_be_read(text: str, width: int, lines: list[str]) -> None:
    assert folded(text, width) == lines


@given(st.text("ab,:[ 1%", max_size=60), st.integers(8, 30))
def test_no_line_is_too_long_and_nothing_is_lost(text: str, width: int) -> None:
    lines = folded(text, width)
    assert all(len(line) <= width for line in lines)
    assert "".join("".join(lines).split()) == "".join(text.split())


def test_a_command_to_try_is_one_line() -> None:
    command = "try: memtrace run a.csv -p pytorch"
    assert folded_line(command, 20) == [command]
    assert folded_line("  a note  with two spaces", 16) == ["  a note  with", "    two spaces"]
    assert folded_line("error: /a/long/path/without/spaces", 20) == ["error:", "  /a/long/path/without/spaces"]


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_what_is_printed_is_folded_at_the_terminals_width(
    stream: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    text = "a sentence of some words that is longer than the terminal"
    monkeypatch.setenv("COLUMNS", "30")
    echo(text, err=stream == "stderr")  # no terminal, so whole
    monkeypatch.setattr(f"sys.{stream}.isatty", lambda: True)
    echo(text, err=stream == "stderr")
    echo(text, err=stream == "stderr", whole=True)
    lines = getattr(capsys.readouterr(), stream[3:]).splitlines()
    assert lines == [text, "a sentence of some words that", "  is longer than the terminal", text]
