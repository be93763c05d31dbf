"""Read sweeps: one text that stands for several values, such as `16|64|256`, `0..19`, `2GiB..8GiB/12` and `1KiB..64KiB*2`.

- `a|b|c` is a list of values.
- `low..high` is every whole number from low to high.
- `low..high/n` is n values with equal steps, both ends included. Where a step is 64 MiB or more, the values between the ends are
  rounded down to whole MiB; where it is 64 KiB or more, to whole KiB; else to whole numbers.
- `low..high*f` is low, and each time f times the last one, up to high.
"""

from __future__ import annotations

import re
from itertools import product

from memtrace.errors import UsageError
from memtrace.names import split_commas, split_name
from memtrace.units import BINARY, parse_size

MOST = 100_000  # values that one text may stand for
ROUNDED = 64  # a step of so many units or more gives values in whole units

_RANGE = re.compile(r"\s*([0-9][0-9_.]*?\s*[A-Za-z]*)\.\.([0-9][0-9_.]*\s*[A-Za-z]*)(?:([/*])([0-9]+))?\s*")


def values(text: str) -> list[str]:
    """Return the values that a text stands for, each as text; the text itself if it is no sweep.

    Raise UsageError for a range that is empty, that cannot be read, or that has more than MOST values.
    """
    found = list(dict.fromkeys(value for part in split_commas(text, "|") for value in _ranged(part.strip())))
    if len(found) > MOST:
        raise UsageError(f"{text!r} stands for {len(found):,} values; at most {MOST:,} are taken")
    return found or [text]


def spellings(text: str) -> list[str]:
    """Return the texts that `name:key=value,...` stands for, one for each combination of values; the last varies first.

    What is in square brackets stays as it is. Raise UsageError as `values` does.
    """
    name, rest = split_name(text)
    if not re.search(r"\||\.\.", rest):
        return [text]
    parts = []
    for part in split_commas(rest):
        key, mark, value = _pair(part)
        parts.append([f"{key}{mark}{each}" for each in values(value)])
    count = 1
    for part_values in parts:
        count *= len(part_values)
    if count > MOST:
        raise UsageError(f"{text!r} stands for {count:,} combinations; at most {MOST:,} are taken")
    return [f"{name}:{','.join(chosen)}" for chosen in product(*parts)]


def size_text(size: int) -> str:
    """Return a number of bytes as exact text in the largest binary unit of which it is a whole number: `1536MiB`."""
    unit, scale = next(((u, s) for u, s in reversed(BINARY.items()) if size and size % s == 0), ("", 1))
    return f"{size // scale}{unit}"


def _pair(part: str) -> tuple[str, str, str]:
    """Return the key, the mark and the value of `key=value` or `key:value`; a value alone has neither key nor mark."""
    mark = ":" if ":" in part.partition("=")[0] else "="
    key, found, value = part.partition(mark)
    return (key, found, value) if found else ("", "", part)


def _ranged(text: str) -> list[str]:
    """Return the values of a range, or the text itself if it is none."""
    found = _RANGE.fullmatch(text)
    if found is None:
        return [text]
    low, high = parse_size(found[1]), parse_size(found[2])
    is_size = any(character.isalpha() for character in found[1] + found[2])
    if low > high:
        raise UsageError(f"{text!r}: {found[1].strip()} is more than {found[2].strip()}")
    if found[3] is None and is_size:
        raise UsageError(f"{text!r} does not say how many sizes; write {text}/12 (equal steps) or {text}*2 (each twice the last)")
    numbers = _numbers(text, low, high, found[3], int(found[4] or 1))
    return [size_text(number) if is_size else str(number) for number in numbers]


def _numbers(text: str, low: int, high: int, mark: str | None, by: int) -> list[int]:
    """Return the numbers of a range from low to high: by equal steps, by a factor, or all of them if ``mark`` is None."""
    if mark == "*":
        if by < 2 or low < 1:
            raise UsageError(f"{text!r}: a factor is 2 or more, and begins at 1 or more")
        found = [low]
        while found[-1] * by <= high:
            found.append(found[-1] * by)
        return found
    count = high - low + 1 if mark is None else by
    if count > MOST:
        raise UsageError(f"{text!r} stands for {count:,} values; at most {MOST:,} are taken")
    if mark is None:
        return list(range(low, high + 1))
    if count < 2:
        raise UsageError(f"{text!r}: a range has 2 values or more")
    step = (high - low) / (count - 1)
    unit = next((scale for scale in (BINARY["MiB"], BINARY["KiB"]) if step >= ROUNDED * scale), 1)
    between = [(low + (high - low) * i // (count - 1)) // unit * unit for i in range(1, count - 1)]
    return [low, *(number for number in between if number > low), high]
