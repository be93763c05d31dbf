"""Print texts at the terminal, folded at its width, of which parts come from files of strangers: tags, names, call sites.

A terminal obeys what it is sent: an escape sequence in a tag could set its title, move the cursor over other lines, or hide text,
and marks of direction could show a name otherwise than it is. So control characters are shown and not sent.
"""

from __future__ import annotations

import re
import sys
from shutil import get_terminal_size
from typing import Any

import click

from memtrace.wrapping import folded_line

LEAST_WIDTH = 20  # columns

# Control characters other than line feed and tab; Unicode's marks of text direction; lone surrogates.
_UNPRINTABLE = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def shown(text: str) -> str:
    r"""Return a text with the characters that a terminal would obey written as \x1b or \u202e."""
    return _UNPRINTABLE.sub(lambda found: ascii(found[0])[1:-1], text)


def width_of(err: bool) -> int | None:
    """Return the columns of the terminal that standard output is, or standard error if ``err``; None if it is no terminal.

    Lines that go to a file or a pipe are left whole, since logs are searched by line.
    """
    terminal = (sys.stderr if err else sys.stdout).isatty()
    return max(get_terminal_size().columns, LEAST_WIDTH) if terminal else None


def echo(text: Any = "", err: bool = False, whole: bool = False) -> None:
    """Print a text as `shown`, and a line break, on standard output, or on standard error if ``err``.

    Lines wider than the terminal are folded between words, unless ``whole``.
    """
    said, width = shown(str(text)), None if whole else width_of(err)
    if width is not None:
        said = "\n".join(line for one in said.split("\n") for line in folded_line(one, width))
    click.echo(said, err=err)
