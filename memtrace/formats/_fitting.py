"""Fit a line to one compiled pattern of `_patterns`: the functions that read fields, and the loop over a pattern's operations."""

from __future__ import annotations

import numpy as np

from memtrace.contract.calls import out_of_line
from memtrace.formats._patterns import (
    BLANKS,
    CUT,
    DELTA,
    END,
    GAP,
    LEAD,
    NUMBER,
    OPTION,
    POINTER,
    STAR,
    TAG,
    TAG_END,
    TEXT,
    THREAD,
    TIME,
    WHEN,
    WORD,
)  # fmt: skip
from memtrace.formats._text import decimal, hexadecimal

DAYS, LAST = 5, 4  # indices in the state of `_matching.Memory`: the days that times of day went over, the last time of day
MOST_WORD = 200  # upper bound of the bytes of a word
SECOND = 10**9  # ns
LONG = 10**6  # seconds: a time below is since another time, and one from here on since 1970
DAY = 86_400 * SECOND


@out_of_line
def is_word(byte):  # type: ignore[no-untyped-def]
    """Return whether a byte is a letter, a digit or an underscore."""
    return byte == 95 or np.uint8((byte | 32) - 97) < 26 or np.uint8(byte - 48) <= 9


@out_of_line
def pointer(text, at, end):  # type: ignore[no-untyped-def]
    """Return (number, offset behind) of a pointer in hexadecimal; (nil), NULL and the like are 0.

    The offset is -1 if there is none.
    """
    if at < end and (text[at] == 40 or text[at] == 60 or text[at] == 78 or text[at] == 110):  # ( < N n
        inner = at + (text[at] == 40 or text[at] == 60)
        if end - inner >= 3 and text[inner] | 32 == 110 and (text[inner + 1] | 32 == 117 or text[inner + 1] | 32 == 105):
            behind = inner
            while behind < end and np.uint8((text[behind] | 32) - 97) < 26:
                behind += 1
            if inner > at:
                behind += 1
            if behind <= end and behind - inner <= 8:
                return np.int64(0), np.int64(behind)
        return np.int64(0), np.int64(-1)
    if at < end and not is_word(text[at]):
        return np.int64(0), np.int64(-1)
    return hexadecimal(text, at, end)


@out_of_line
def number(text, at, end):  # type: ignore[no-untyped-def]
    """Return (number, offset behind) of a number, hexadecimal if it begins with 0x; the offset is -1 if there is none."""
    if at >= end or np.uint8(text[at] - 48) > 9:
        return np.int64(0), np.int64(-1)
    if end - at >= 3 and text[at] == 48 and (text[at + 1] | 32) == 120:
        return hexadecimal(text, at, end)
    value, behind = decimal(text, at, min(end, at + 40))
    return value, behind


@out_of_line
def time_of(text, at, end, unit):  # type: ignore[no-untyped-def]
    """Return (nanoseconds, offset behind) of a time in units of `unit` ns; 0 is seconds if there is a fraction, else ns.

    -1 is seconds, which are no time without a fraction. Both a point and a comma begin a fraction. The offset is -1 if there is
    no time.
    """
    whole, behind = number(text, at, end)
    if behind < 0:
        return np.int64(0), np.int64(-1)
    fraction = behind + 1 < end and (text[behind] == 46 or text[behind] == 44) and np.uint8(text[behind + 1] - 48) <= 9
    if unit < 0 and not fraction:
        return np.int64(0), np.int64(-1)
    if unit <= 0:
        unit = SECOND if fraction else 1
    if whole > (1 << 62) // unit:
        return np.int64(0), np.int64(-1)
    value, part = whole * unit, np.int64(unit)
    if fraction:
        behind += 1
        start = behind
        while behind < end and behind < start + 30 and np.uint8(text[behind] - 48) <= 9:
            part //= 10
            value += part * np.int64(text[behind] - 48)
            behind += 1
    return value, np.int64(behind)


@out_of_line
def clock(text, at, end, state):  # type: ignore[no-untyped-def]
    """Return (nanoseconds, offset behind) of a time of day as 14:21:19.998533; the offset is -1 if there is none.

    A time of day that goes back by half a day or more begins the next day, in `state`.
    """
    total, behind = np.int64(0), np.int64(at)
    for _ in range(2):
        value, behind = number(text, behind, end)
        if behind < 0 or behind >= end or text[behind] != 58 or value > 99:
            return np.int64(0), np.int64(-1)
        total = total * 60 + value
        behind += 1
    seconds, behind = time_of(text, behind, end, SECOND)
    if behind < 0 or seconds > 61 * SECOND:
        return np.int64(0), np.int64(-1)
    time = total * 60 * SECOND + seconds
    return time + (state[DAYS] + (state[LAST] - time > DAY // 2)) * DAY, np.int64(behind)


@out_of_line
def has(text, at, end, literals, first, count):  # type: ignore[no-untyped-def]
    """Return whether the text has the literal of `count` bytes at offset `at`."""
    if end - at < count:
        return False
    for place in range(count):
        if text[at + place] != literals[first + place]:
            return False
    return True


@out_of_line
def blanks(text, at, end):  # type: ignore[no-untyped-def]
    """Return the offset behind the blanks at `at`."""
    while at < end and (text[at] == 32 or text[at] == 9):
        at += 1
    return np.int64(at)


@out_of_line
def lead(text, at, end, values, state):  # type: ignore[no-untyped-def]
    """Return the offset behind what ltrace and strace write before a call; each part is there with its option only.

    The parts are the thread (`7` or, on a terminal, `[pid 7]`), a time of day, or seconds since 1970 or since the line before,
    the address of the instruction in brackets, and the object that calls (`prog->`). Thread and time are written to `values`.
    """
    value, behind = np.int64(0), np.int64(-1)
    if end - at > 6 and text[at] == 91 and text[at + 1] == 112 and text[at + 4] == 32:  # [pid
        value, behind = number(text, blanks(text, at + 4, end), end)
        behind = np.int64(behind + 1 if behind >= 0 and behind < end and text[behind] == 93 else -1)
    elif at < end and np.uint8(text[at] - 48) <= 9:
        value, behind = number(text, at, end)
    if behind >= 0 and behind < end and text[behind] == 32:
        values[THREAD] = value
        at = blanks(text, behind, end)
    if at < end and np.uint8(text[at] - 48) <= 9:
        time, behind = clock(text, at, end, state)
        into = WHEN
        if behind < 0:
            time, behind = time_of(text, at, end, -1)
            into = WHEN if time >= LONG * SECOND else DELTA
        if behind >= 0 and behind < end and text[behind] == 32:
            values[into] = time
            at = blanks(text, behind, end)
    if at < end and text[at] == 91:
        behind = at
        while behind < end and text[behind] != 93 and text[behind] != 32:
            behind += 1
        if behind + 1 < end and text[behind + 1] == 32:
            at = behind + 2
    behind = at
    while behind < end and text[behind] != 40 and text[behind] != 32 and text[behind] != 60 and text[behind] != 62:
        behind += 1
    arrow = behind > at and behind < end and text[behind] == 62 and text[behind - 1] == 45
    return np.int64(behind + 1 if arrow else at)


@out_of_line
def fit(text, at, end, program, op, values, state):  # type: ignore[no-untyped-def]
    """Return the offset behind what the pattern from operation `op` on takes of the line at `at`, -1 if it does not fit.

    What it reads is written to `values`.
    """
    ops, literals = program.ops, program.text
    star, star_at = np.int64(-1), np.int64(-1)
    while True:
        code, one, two, last = ops[op, 0], ops[op, 1], ops[op, 2], ops[op, 3]
        behind = np.int64(-1)
        if code == CUT:
            return np.int64(at)
        if code == END:
            if at == end:
                return np.int64(at)
        elif code == STAR:
            if ops[op + 1, 0] == END:
                return np.int64(end)
            star, star_at = op + 1, np.int64(at)
            behind = np.int64(at)
        elif code == TEXT:
            if op == star:  # the next place where the text may begin
                byte = literals[one]
                while at < end and text[at] != byte:
                    at += 1
                star_at = np.int64(at)
            if has(text, at, end, literals, one, two):
                behind = np.int64(at + two)
        elif code == LEAD:
            behind = lead(text, at, end, values, state)
        elif code == OPTION:
            behind = np.int64(at + two if has(text, at, end, literals, one, two) else at)
        elif code == BLANKS or code == GAP:
            if op == star and code == BLANKS:  # the next blank
                while at < end and text[at] != 32 and text[at] != 9:
                    at += 1
                star_at = np.int64(at)
            behind = np.int64(at)
            while behind < end and (text[behind] == 32 or text[behind] == 9):
                behind += 1
            if code == BLANKS and behind == at:
                behind = np.int64(-1)
        elif code == WORD:
            behind = np.int64(at)
            if two:
                while behind < end and behind < at + MOST_WORD and is_word(text[behind]):
                    behind += 1
            else:
                while behind < end and behind < at + MOST_WORD and text[behind] != 32 and text[behind] != 9:
                    if text[behind] == last:
                        break
                    behind += 1
            if one:
                values[TAG], values[TAG_END] = at, behind
                if behind == at:
                    behind = np.int64(-1)
        else:
            if code == POINTER:
                value, behind = pointer(text, at, end)
            elif code == NUMBER:
                value, behind = number(text, at, end)
            elif code == TIME:
                value, behind = time_of(text, at, end, two)
            else:
                value, behind = clock(text, at, end, state)
            values[one] = value
            # A number ends where its digits end, unless the pattern goes on with a text.
            if behind >= 0 and last and behind < end and is_word(text[behind]):
                behind = np.int64(-1)
        if behind >= 0:
            at = behind
            op += 1
        elif star >= 0 and star_at < end:
            star_at += 1
            at, op = star_at, star
        else:
            return np.int64(-1)
