"""What comes from strangers' files is shown at the terminal, and not obeyed."""

from __future__ import annotations

from pathlib import Path

import pytest
from conftest import Run

from memtrace.cli.terminal import shown

EVIL = "\x1b]0;owned\x07\x1b[2J\u202etxt\u2066\x9b31m"


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        ("\x1b[31mred", r"\x1b[31mred"),
        ("a\rb\x08", r"a\rb\x08"),
        ("\u202eevil", r"\u202eevil"),
        ("\x9b1m", r"\x9b1m"),
        ("\udcff", r"\udcff"),
        ("two\nlines\tof 日本 ▁█ naïve", "two\nlines\tof 日本 ▁█ naïve"),
    ],
)
def test_control_characters_are_written_out(text: str, seen: str) -> None:
    assert shown(text) == seen


def test_no_command_sends_them(memtrace: Run, tmp_path: Path) -> None:
    trace = tmp_path / f"a{EVIL}.csv"
    trace.write_text(f"op,id,size,tag\nalloc,1,100,{EVIL}\nalloc,2,100,b\nalloc,3,9000,{EVIL}\nfree,1,,\n")
    commands = [
        ("run", trace, "-p", "best-fit", "-o", "o"),
        ("run", trace, "-p", "best-fit", "--capacity", "4KiB", "--no-report", "-o", "p"),
        ("show", "o"),
        ("show", "p"),
        ("info", trace),
        ("reuse", trace),
        ("check", trace),
        ("bound", trace),
        ("mincap", trace, "-p", "best-fit"),
        ("info", tmp_path / f"missing{EVIL}.csv"),
        ("run", trace, "-p", f"best{EVIL}"),
        (f"ru{EVIL}n",),
    ]
    for words in commands:
        done = memtrace(*words)
        sent = done.stdout + done.stderr
        assert not any(mark in sent for mark in ("\x1b", "\x07", "\u202e", "\u2066", "\x9b")), (words, sent)
        assert done.returncode in (0, 2, 3), (words, sent)
