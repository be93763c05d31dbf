"""Print texts at the terminal, of which parts come from files of strangers: tags, names, call sites.

A terminal obeys what it is sent: an escape sequence in a tag could set its title, move the cursor over other lines, or hide text,
and marks of direction could show a name otherwise than it is. So control characters are shown and not sent.
"""

from __future__ import annotations

import re
from typing import Any

import click

# Control characters other than line feed and tab; Unicode's marks of text direction; lone surrogates.
_UNPRINTABLE = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def shown(text: str) -> str:
    r"""Return a text with the characters that a terminal would obey written as \x1b or \u202e."""
    return _UNPRINTABLE.sub(lambda found: ascii(found[0])[1:-1], text)


def echo(text: Any = "", err: bool = False) -> None:
    """Print a text as `shown`, and a line break, on standard output, or on standard error if ``err``."""
    click.echo(shown(str(text)), err=err)
