"""Fold long lines of text at a width, as a terminal has it."""

import re
from textwrap import wrap

BETWEEN_OPTIONS = re.compile(r",(?=[^,\s])(?![^\[]*\])")  # a comma between options of a setting, outside brackets ...
INSIDE = re.compile(r",(?=[^,\s])")  # ... or anywhere within a word
WORD = re.compile(r"[\d.,]+ (?:[KMGTPE]i)?B\b\S*|[\d.,]+ %\S*|\S+")  # a size or a share with its unit is one word


def folded(text: str, width: int, more: str = "  ") -> list[str]:
    """Return the lines of a text, each at most ``width`` columns; all but the first begin with ``more``.

    Lines end between words, but not between a number and its unit. A word that is longer than a line, such as a setting of
    PyTorch's allocator, is cut behind a comma if it has one, so that it stays readable.
    """
    found: list[str] = []
    line = ""
    for word in WORD.findall(text):
        lead = more if found else ""
        if not line:
            line = lead + word
        elif len(line) + 1 + len(word) <= width:
            line += f" {word}"
        else:
            found.append(line)
            line = more + word
        while len(line) > width:
            at = room_before(line, width, len(more) if found else 0)
            found.append(line[:at])
            line = more + line[at:]
    return [*found, line] if line.strip() else found


def room_before(line: str, width: int, least: int) -> int:
    """Return where behind ``least`` to cut a line whose last word is too long: behind a comma, else at the width."""
    for pattern in (BETWEEN_OPTIONS, INSIDE):
        commas = [found.end() for found in pattern.finditer(line, least) if least < found.end() <= width]
        if commas:
            return commas[-1]
    return max(width, least + 1)


def folded_line(line: str, width: int) -> list[str]:
    """Return a printed line folded between words, which keep the spaces between them; a command to try stays whole."""
    if len(line) <= width or line.startswith(("try:", "\t")):
        return [line]
    lead = line[: len(line) - len(line.lstrip())]
    return wrap(
        line.strip(), width, initial_indent=lead, subsequent_indent=f"{lead}  ", break_long_words=False, break_on_hyphens=False
    )
