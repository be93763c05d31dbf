"""Read the CSV log of RMM before 0.14 (`rmm.csv_log()`): Event Type,Device ID,Address,Stream,Size (bytes),...,Start,....

A free has no size. A Realloc names only the new pointer: if a block is live there, it is resized, else the block is new.
Times are seconds since the log began. Source: rapidsai/rmm 0.13, src/memory_manager.cpp.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from memtrace.contract.calls import out_of_line
from memtrace.errors import InputError
from memtrace.formats._calls import BAD_LINE, FREES, MALLOCS, REALLOCS
from memtrace.formats._reading import LINE, CallFormat, read_calls
from memtrace.formats._text import MARK, code_of, compiled, decimal, hexadecimal, next_line, word
from memtrace.trace.batches import MISSING
from memtrace.trace.model import Int64s

if TYPE_CHECKING:
    from memtrace.trace.batches import Batch
    from memtrace.trace.sources import Source

START = b"Event Type,"  # first bytes of such a log
NEEDED = ("Event Type", "Device ID", "Address", "Stream", "Size (bytes)", "Start")
TYPE, DEVICE, ADDRESS, STREAM, SIZE, TIME = range(6)  # indices in NEEDED

DEVICES = 1  # index in the parser's state of the set of devices seen, a bit for each
MOST_DEVICES = 32  # the device's number goes into the bits of a pointer above the lower 58
MOST_FIELDS = 64  # further fields of a line are ignored
COMMA, QUOTE, DOT, MINUS, PLUS = 44, 34, 46, 45, 43  # ASCII codes
ALLOC, REALLOC, FREE, EVENT = code_of(b"Alloc"), code_of(b"Realloc"), code_of(b"Free"), code_of(b"Event")
# Powers of ten up to 10^EXACT_POWER and whole numbers below EXACT_DIGITS are exact in float64: their quotient is rounded once.
EXACT_POWER, EXACT_DIGITS = 22, 1 << 53
MOST_POWER = 999  # exponents are limited to this, which is beyond the range of floats
POWERS = np.array([float(f"1e{n}") for n in range(EXACT_POWER + 1)])


def read(source: Source, name: str) -> Iterator[Batch]:
    """Yield events of numbered blocks, with times and CUDA streams; each device has its own pointers.

    `name` is the format's name. Raises InputError if the header lacks a needed column.
    """
    head = source.head().removeprefix(MARK).split(b"\n", 1)[0].decode(errors="replace").strip()
    try:
        names = next(csv.reader([head]))[:MOST_FIELDS]
    except csv.Error:  # not a line of CSV, so no column is found
        names = []
    if missing := [column for column in NEEDED if column not in names]:
        raise InputError(f"{source.label}:1: no column {missing[0]!r} in a log of RMM")
    columns = np.array([names.index(column) for column in NEEDED])
    yield from read_calls(
        source,
        CallFormat(
            name,
            lambda text, at, calls, state: parse(text, at, calls, state, columns),
            ("op", "id", "size", "time", "stream"),
            code_threads=True,
            notes=notes,
            counted="streams",
        ),
    )


def notes(state: Int64s) -> list[str]:
    """Return a sentence for the metadata if the log has events of several devices."""
    devices = int(state[DEVICES]).bit_count()
    return [f"events of {devices} devices in one trace"] if devices > 1 else []


@out_of_line
def fields(text, at, end, places):  # type: ignore[no-untyped-def]
    """Split a line of CSV: write the half-open interval of each field, without its quotes, to `places`, and return their number.

    The line is `text[at:end]`; `places` is [field, (begin, end)] and limits the number of fields.
    """
    count = 0
    while count < places.shape[0]:
        begin, quoted = at, at < end and text[at] == QUOTE
        if quoted:
            at += 1
            while at < end and (text[at] != QUOTE or (at + 1 < end and text[at + 1] == QUOTE)):
                at += 2 if text[at] == QUOTE else 1
            begin += 1
        behind = at
        while at < end and text[at] != COMMA:
            at += 1
        places[count, 0], places[count, 1] = begin, behind if quoted else at
        count += 1
        if at >= end:
            break
        at += 1
    return count


@out_of_line
def scaled(value, power):  # type: ignore[no-untyped-def]
    """Return value * 10^power as float, infinite or 0 beyond the range of floats.

    Steps of at most 10^EXACT_POWER are exact in float64, so a number of few digits is rounded once.
    """
    while power > 0 and value < np.inf and value > 0:
        step = min(power, EXACT_POWER)
        value *= POWERS[step]
        power -= step
    while power < 0 and value > 0:
        step = min(-power, EXACT_POWER)
        value /= POWERS[step]
        power += step
    return value


@out_of_line
def seconds(text, at, end):  # type: ignore[no-untyped-def]
    """Return (nanoseconds, offset behind) of a number of seconds, which may have a point and an exponent.

    The offset is -1 if there is no number, or one beyond 2^33 seconds.
    """
    whole, place = decimal(text, at, end)
    digits, power = 0, 0
    if place >= 0 and place < end and text[place] == DOT:
        place += 1
        while place < end and np.uint8(text[place] - 48) <= 9:
            if whole < EXACT_DIGITS // 10 - 1:
                whole = whole * 10 + np.int64(text[place] - 48)
                digits += 1
            place += 1
    if place >= 0 and place < end and text[place] | 32 == 101:
        down = place + 1 < end and text[place + 1] == MINUS
        signed = down or (place + 1 < end and text[place + 1] == PLUS)
        power, place = decimal(text, place + 1 + signed, end)
        power = MOST_POWER if power > MOST_POWER else power
        power = -power if down else power
    power -= digits
    value = scaled(np.float64(whole), power)
    if place < 0 or value > 1 << 33:
        return np.int64(0), np.int64(-1)
    return np.int64(np.rint(value * 1e9)), place


@compiled
def parse(text, at, calls, state, columns):  # type: ignore[no-untyped-def]
    """Parse lines from offset `at` on into `calls`; `columns` are the indices, in a line, of the fields in NEEDED.

    Returns (offset of the next line, number of calls written).
    """
    filled, places = 0, np.empty((MOST_FIELDS, 2), np.int64)
    while at < text.size and filled < calls.kind.size:
        start, end, following = next_line(text, at)
        at, line = following, state[LINE]
        state[LINE] += 1
        if start == end:
            continue
        kind, pointer, size, stream, time = BAD_LINE, 0, 0, 0, MISSING
        if fields(text, start, end, places) > columns.max():
            name, place = word(text, places[columns[TYPE], 0], places[columns[TYPE], 1])
            if name == EVENT:  # the header, which is repeated where logs were concatenated
                continue
            if name == ALLOC:
                kind = MALLOCS
            elif name == REALLOC:
                kind = REALLOCS
            elif name == FREE:
                kind = FREES
            whole = place == places[columns[TYPE], 1]
            device, place = decimal(text, places[columns[DEVICE], 0], places[columns[DEVICE], 1])
            whole &= place == places[columns[DEVICE], 1] and device < MOST_DEVICES
            pointer, place = hexadecimal(text, places[columns[ADDRESS], 0], places[columns[ADDRESS], 1])
            whole &= place == places[columns[ADDRESS], 1]
            stream, place = hexadecimal(text, places[columns[STREAM], 0], places[columns[STREAM], 1])
            whole &= place == places[columns[STREAM], 1]
            size, place = decimal(text, places[columns[SIZE], 0], places[columns[SIZE], 1])
            whole &= place == places[columns[SIZE], 1]
            time, place = seconds(text, places[columns[TIME], 0], places[columns[TIME], 1])
            if not whole or place != places[columns[TIME], 1]:
                kind = BAD_LINE
            elif kind != BAD_LINE:
                state[DEVICES] |= 1 << device
                pointer += device << 58 if pointer != 0 else 0
        if kind == BAD_LINE:
            size, stream, time = start, MISSING, MISSING
        calls.kind[filled], calls.pointer[filled], calls.size[filled] = kind, pointer, size
        calls.old[filled] = pointer if kind == REALLOCS else MISSING
        calls.thread[filled], calls.time[filled], calls.line[filled] = stream, time, line
        filled += 1
    return at, filled
