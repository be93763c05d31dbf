"""Scan text in compiled code: lines, words and numbers in an array of bytes (uint8), without a Python object for each line.

A function takes an offset `at` and the end of the line, and returns the offset behind what it read, -1 for nothing.
Functions accept the offset -1, so calls can be chained and only the last result be checked.
"""

from __future__ import annotations

import numpy as np
from numba import njit

NEWLINE = 10  # ASCII code
MOST = np.uint64((1 << 63) - 1)  # upper bound of a decimal number
NEARLY = np.uint64(922337203685477579)  # a number from here on passes MOST with one more digit


@njit
def next_line(text, at):  # type: ignore[no-untyped-def]
    """Return (first offset that is not blank, end without trailing blanks, start of the next line) of the line at offset `at`.

    The text must contain the line's end.
    """
    newline = at
    while text[newline] != NEWLINE:
        newline += 1
    end = newline
    while end > at and (text[end - 1] == 32 or text[end - 1] == 13 or text[end - 1] == 9):
        end -= 1
    while at < end and (text[at] == 32 or text[at] == 9):
        at += 1
    return at, end, newline + 1


@njit
def decimal(text, at, end):  # type: ignore[no-untyped-def]
    """Return (number, offset behind) of a decimal number after blanks; the offset is -1 if there is none.

    Numbers beyond 63 bits become 2^63 - 1.
    """
    if at < 0:
        return np.int64(0), np.int64(-1)
    while at < end and (text[at] == 32 or text[at] == 9):
        at += 1
    value, start = np.uint64(0), at
    while at < end and np.uint8(text[at] - 48) <= 9:
        value = MOST if value >= NEARLY else value * np.uint64(10) + np.uint64(text[at] - 48)
        at += 1
    return np.int64(value), (np.int64(at) if at > start else np.int64(-1))


@njit
def hexadecimal(text, at, end):  # type: ignore[no-untyped-def]
    """Return (number, offset behind) as `decimal`, to base 16, with or without 0x.

    Numbers from 2^63 on wrap round to negative ones; more than 16 digits are not a number. `(nil)` is 0.
    """
    if at < 0:
        return np.int64(0), np.int64(-1)
    while at < end and (text[at] == 32 or text[at] == 9):
        at += 1
    if end - at >= 2 and text[at] == 48 and (text[at + 1] | 32) == 120:
        at += 2
    elif end - at >= 5 and text[at] == 40 and text[at + 1] == 110 and text[at + 4] == 41:
        return np.int64(0), np.int64(at + 5)
    value, start = np.uint64(0), at
    while at < end:
        digit = np.uint64(text[at] - 48)
        if digit > 9:
            digit = np.uint64((text[at] | 32) - 87)
            if digit < 10 or digit > 15:
                break
        value = np.uint64(value << np.uint64(4)) | digit
        at += 1
    return np.int64(value), (np.int64(at) if start < at <= start + 16 else np.int64(-1))


@njit
def product(one, other):  # type: ignore[no-untyped-def]
    """Return one * other for numbers that are not negative, limited to 2^61, which is more than a block may have."""
    if one > 0 and other > (1 << 61) // one:
        return np.int64(1 << 61)
    return one * other


def code_of(name: bytes) -> int:
    """Return the hash that `word` returns for this word."""
    code = 0
    for byte in name:
        code = (code * 131 + byte) % (1 << 63)
    return code


@njit
def word(text, at, end):  # type: ignore[no-untyped-def]
    """Return (hash, offset behind) of the letters, digits and underscores at `at`; the offset is -1 if there are none."""
    code, start = np.int64(0), at
    while at < end and (text[at] == 95 or np.uint8((text[at] | 32) - 97) < 26 or np.uint8(text[at] - 48) <= 9):
        code = (code * 131 + text[at]) & ((1 << 63) - 1)
        at += 1
    return code, (np.int64(at) if at > start else np.int64(-1))


@njit
def after(text, at, end, byte):  # type: ignore[no-untyped-def]
    """Return the offset behind `at` if the text has this byte there, else -1."""
    if at >= 0 and at < end and text[at] == byte:
        return np.int64(at + 1)
    return np.int64(-1)
