"""Compiled reading of text: blanks, words and numbers in an array of bytes, without an object per line."""

from __future__ import annotations

import numpy as np
from numba import njit

NEWLINE = 10
MOST = np.uint64((1 << 63) - 1)
NEARLY = np.uint64(922337203685477579)  # from here on another digit would pass MOST


@njit
def next_line(text, at):  # type: ignore[no-untyped-def]
    """(first place that is no blank, end without blanks, start of the next line) of the line at this place."""
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
    """(number, place behind it) after blanks; the place is -1 if there is none. Beyond 63 bits it stays at 2^63 - 1."""
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
    """As `decimal`, to base 16, with or without 0x; from 2^63 on it wraps round, and more than 64 bits are none.

    `(nil)` is 0.
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
    """one * other, held to 2^61: more than any block may have."""
    if one > 0 and other > (1 << 61) // one:
        return np.int64(1 << 61)
    return one * other


def code_of(name: bytes) -> int:
    """What `word` gives for this word."""
    code = 0
    for byte in name:
        code = (code * 131 + byte) % (1 << 63)
    return code


@njit
def word(text, at, end):  # type: ignore[no-untyped-def]
    """(code, place behind it) of the letters, digits and underscores here; the place is -1 if there is none."""
    code, start = np.int64(0), at
    while at < end and (text[at] == 95 or np.uint8((text[at] | 32) - 97) < 26 or np.uint8(text[at] - 48) <= 9):
        code = (code * 131 + text[at]) & ((1 << 63) - 1)
        at += 1
    return code, (np.int64(at) if at > start else np.int64(-1))


@njit
def after(text, at, end, byte):  # type: ignore[no-untyped-def]
    """The place behind this byte, -1 if it does not lie here."""
    if at >= 0 and at < end and text[at] == byte:
        return np.int64(at + 1)
    return np.int64(-1)
