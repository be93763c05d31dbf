"""Convert sizes, counts, times and ratios to text, and sizes from text.

Every text such as `200MiB` that memtrace reads or prints passes through this file.
"""

import re
from collections.abc import Callable, Iterable

from memtrace.errors import UsageError

# Unit name -> bytes.
BINARY = {"KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "TiB": 1 << 40, "PiB": 1 << 50, "EiB": 1 << 60}
DECIMAL = {"kB": 10**3, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12, "PB": 10**15, "EB": 10**18}
UNITS = {"": 1, "B": 1, **BINARY, **DECIMAL}
MOST_DIGITS = 6  # behind the point of a size
MOST_BYTES = 1 << 62  # upper bound of a size that a user may give: 4 EiB

_SIZE = re.compile(r"([0-9][0-9_]*(?:\.[0-9]+)?|\.[0-9]+)\s*([A-Za-z]*)")


def parse_size(text: str) -> int:
    """Return the number of bytes that a text such as `200MiB`, `1.5GiB`, `80 GB` or `4096` stands for.

    A fraction of a unit is cut to whole bytes. Raises UsageError, which says what is wrong, for text that is not a size, an
    unknown unit, a fraction of a byte, or more than MOST_BYTES.
    """
    found = _SIZE.fullmatch(text.strip())
    if not found:
        raise UsageError(f"{text!r} is no size; write bytes or a unit: 4096, 200MiB, 1.5GiB, 80GB")
    number, word = found[1].replace("_", ""), found[2]
    unit = {name.lower(): name for name in UNITS}.get(word.lower())
    if unit is None:
        raise UsageError(f"{text!r} has an unknown unit {word!r}; {_hint(number, word)}")
    whole, _, part = number.partition(".")
    parts = int("1" + "0" * len(part))
    scaled = (int(whole or 0) * parts + int(part or 0)) * UNITS[unit]
    size, rest = divmod(scaled, parts)  # a size such as 7.3GiB is cut to whole bytes
    if rest and UNITS[unit] == 1:
        raise UsageError(f"{text!r} is not a whole number of bytes")
    if size > MOST_BYTES:
        raise UsageError(f"{text!r} is more than the largest address space (4EiB)")
    return size


def _hint(number: str, word: str) -> str:
    """Return the advice for an error about an unknown unit: `number` is the text before the unit, `word` the unknown unit.

    For a bare letter such as `G` the advice offers both its meanings (GiB, GB), else it lists the known units.
    """
    letter = word[0].upper()
    binary, decimal = f"{letter}iB", f"{letter}B"
    if word.upper() == letter and binary in BINARY:
        twos, tens = BINARY[binary].bit_length() - 1, len(str(DECIMAL[decimal])) - 1
        return f"write {number}{binary} (2^{twos}) or {number}{decimal} (10^{tens})"
    return "known: B, KiB, MiB, GiB, TiB, kB, MB, GB, TB"


def format_size(size: float, digits: int = 1) -> str:
    """Return a size in bytes as text such as `7.3 GiB` or `512 B`, in the largest binary unit that leaves at least 1.

    ``digits``: how many there are behind the point, except for bytes.
    """
    magnitude = abs(size)
    unit, scale = "B", 1
    for name, value in BINARY.items():
        # A size that rounds to 1024.0 of this unit is printed as 1.0 of the next unit.
        if round(magnitude / scale, digits if scale > 1 else 0) < 1024:
            break
        unit, scale = name, value
    if scale == 1:
        return f"{size:.0f} B"
    return f"{size / scale:.{digits}f} {unit}"


def format_apart(sizes: Iterable[int | None]) -> Callable[[int | None], str]:
    """Return a function that writes sizes in bytes, with as many digits as give different ones of ``sizes`` different texts.

    All sizes of a unit have the same number of digits, at most MOST_DIGITS. None is no size, and is written as a dash.
    """
    groups: dict[str, set[int]] = {}
    for size in sizes:
        if size is not None:
            groups.setdefault(format_size(size).split()[1], set()).add(size)
    digits = {}
    for unit, different in groups.items():
        tried = range(1, MOST_DIGITS)
        digits[unit] = next((n for n in tried if len({format_size(one, n) for one in different}) == len(different)), MOST_DIGITS)
    return lambda size: "-" if size is None else format_size(size, digits.get(format_size(size).split()[1], 1))


def format_count(count: float) -> str:
    """Return a count as text, rounded to a whole number, with commas between thousands: `1,234,567`."""
    return f"{count:,.0f}"


def format_seconds(seconds: float) -> str:
    """Return a time in seconds as text: `850 ns`, `1.2 µs`, `35.0 ms`, `1.24 s`, `2 min 05 s`, `1 h 02 min`."""
    if seconds < 0:
        return f"-{format_seconds(-seconds)}"
    if seconds == 0:
        return "0 s"
    for unit, scale, digits in (("ns", 1e-9, 0), ("µs", 1e-6, 1), ("ms", 1e-3, 1), ("s", 1.0, 2)):
        if round(seconds / scale, digits) < (60 if unit == "s" else 1000):
            return f"{seconds / scale:.{digits}f} {unit}"
    if round(seconds) < 3600:
        return f"{round(seconds) // 60} min {round(seconds) % 60:02d} s"
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60:02d} min"


def format_ratio(ratio: float) -> str:
    """Return a ratio as text such as `1.25x`.

    A ratio within 0.01 of 1 gets three digits instead of two, so that 1.004 is not read as equal.
    """
    digits = 3 if 0 < abs(ratio - 1) < 0.01 else 2
    return f"{ratio:.{digits}f}x"
