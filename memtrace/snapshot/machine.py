"""A pickle machine, compiled, that knows plain data and nothing else: no opcode of it can import, call or build.

Values are int64: a payload above a kind of KIND_BITS. Lists are chains of chunks of `items`, because a pickle appends
in batches; a dict is a shape (its keys, kept once) and its values, so an event costs 8 bytes a field and no Python
object. Texts are kept once each. Everything has a bound, and memory follows the size of the file.

Source: the opcodes of Python's pickletools, protocols 2 to 5.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

KIND_BITS = 4
NONE, FALSE, TRUE, INT, FLOAT, TEXT, LIST, DICT, BIG, BYTES = range(10)  # a tuple is a list
MOST_INT = 1 << 58  # a larger number becomes BIG: no size or address is

# Why the machine returned.
DONE, MORE, GROW, REFUSED = range(4)

# What it refused.
FINE, RUNS_CODE, UNKNOWN, MEMO_RANGE, NO_MARK, EMPTY_STACK, NOT_A_LIST, NOT_A_DICT, ODD_ITEMS, TOO_DEEP = range(10)
TOO_LONG, TOO_MANY_KEYS, TOO_MANY_SHAPES, BAD_LENGTH = range(10, 14)

# Places in `Heap.totals`: how much of each array is used, and what the driver is told.
STACK, MARKS, MEMO, ITEMS, DICTS, CHUNKS, LISTS, SHAPES, SHAPE_KEYS, TEXTS, TEXT_BYTES, FLOATS = range(12)
WHICH, NEED, WRONG, OPCODE, RESULT = range(12, 17)
TOTALS = 20

MOST_STACK = 1 << 25
MOST_MARKS = 200
MOST_TEXT = 1 << 24
MOST_KEYS = 1 << 12
MOST_SHAPES = 1 << 16
MEMO_AHEAD = 1 << 12  # a pickler numbers its memo one by one


class Heap(NamedTuple):
    """All that has been read; `totals` says how much of each array is used."""

    totals: NDArray[np.int64]
    stack: NDArray[np.int64]
    marks: NDArray[np.int64]
    memo: NDArray[np.int64]
    items: NDArray[np.int64]
    dict_shape: NDArray[np.int32]
    dict_start: NDArray[np.int64]
    chunk_start: NDArray[np.int64]
    chunk_count: NDArray[np.int32]
    chunk_next: NDArray[np.int64]
    list_first: NDArray[np.int64]
    list_last: NDArray[np.int64]
    shape_start: NDArray[np.int64]
    shape_count: NDArray[np.int32]
    shape_keys: NDArray[np.int64]
    text_start: NDArray[np.int64]
    text_end: NDArray[np.int64]
    text: NDArray[np.uint8]
    floats: NDArray[np.float64]
    text_table: NDArray[np.int64]  # open addressing, a power of two, at most half full; -1 is empty
    shape_table: NDArray[np.int64]


@njit(inline="always")
def pack(kind: Any, payload: Any) -> Any:
    return (np.int64(payload) << KIND_BITS) | kind


@njit(inline="always")
def unsigned(data: Any, at: Any, count: Any) -> Any:
    """A little-endian number of up to 7 bytes."""
    value = np.int64(0)
    for i in range(count):
        value |= np.int64(data[at + i]) << (8 * i)
    return value


@njit(cache=True, nogil=True)
def integer(data, at, count):  # type: ignore[no-untyped-def]
    """The signed little-endian number of `count` bytes as a value; BIG if it is beyond MOST_INT."""
    if count == 0:
        return pack(INT, 0)
    if count > 8:
        return pack(BIG, 0)
    value = np.int64(0)
    for i in range(count):
        value |= np.int64(data[at + i]) << (8 * i)
    if count < 8 and data[at + count - 1] >= 128:
        value -= np.int64(1) << (8 * count)
    if value >= MOST_INT or value <= -MOST_INT:
        return pack(BIG, 0)
    return pack(INT, value)


@njit(cache=True, nogil=True)
def hash_text(text, start, end):  # type: ignore[no-untyped-def]
    """FNV-1a, mixed."""
    value = np.uint64(0xCBF29CE484222325)
    for i in range(start, end):
        value = (value ^ np.uint64(text[i])) * np.uint64(0x100000001B3)
    return np.int64((value ^ (value >> np.uint64(29))) & np.uint64(0x3FFFFFFFFFFFFFFF))


@njit(cache=True, nogil=True)
def same_text(heap, one, data, at, count):  # type: ignore[no-untyped-def]
    start = heap.text_start[one]
    if heap.text_end[one] - start != count:
        return False
    same = True
    for i in range(count):
        same &= heap.text[start + i] == data[at + i]
    return same


@njit(cache=True, nogil=True)
def keep_text(heap, data, at, count):  # type: ignore[no-untyped-def]
    """The number of a text, which is stored if it is new; there is room."""
    totals, table = heap.totals, heap.text_table
    place = hash_text(data, at, at + count) & (table.size - 1)
    while table[place] >= 0:
        if same_text(heap, table[place], data, at, count):
            return table[place]
        place = (place + 1) & (table.size - 1)
    number, start = totals[TEXTS], totals[TEXT_BYTES]
    for i in range(count):
        heap.text[start + i] = data[at + i]
    heap.text_start[number], heap.text_end[number] = start, start + count
    totals[TEXT_BYTES] += count
    totals[TEXTS] += 1
    table[place] = number
    return number


@njit(cache=True, nogil=True)
def hash_keys(keys, start, count, step):  # type: ignore[no-untyped-def]
    value = np.uint64(0xCBF29CE484222325)
    for i in range(count):
        value = (value ^ np.uint64(keys[start + step * i])) * np.uint64(0x9E3779B97F4A7C15)
        value ^= value >> np.uint64(31)
    return np.int64(value & np.uint64(0x3FFFFFFFFFFFFFFF))


@njit(cache=True, nogil=True)
def keep_shape(heap, keys, start, count, step):  # type: ignore[no-untyped-def]
    """The number of a sequence of keys, every `step`th of `keys`; there is room."""
    totals, table = heap.totals, heap.shape_table
    place = hash_keys(keys, start, count, step) & (table.size - 1)
    while table[place] >= 0:
        shape = table[place]
        first, same = heap.shape_start[shape], heap.shape_count[shape] == count
        for i in range(count):
            if not same:
                break
            same = heap.shape_keys[first + i] == keys[start + step * i]
        if same:
            return shape
        place = (place + 1) & (table.size - 1)
    shape, first = totals[SHAPES], totals[SHAPE_KEYS]
    for i in range(count):
        heap.shape_keys[first + i] = keys[start + step * i]
    heap.shape_start[shape], heap.shape_count[shape] = first, count
    totals[SHAPE_KEYS] += count
    totals[SHAPES] += 1
    table[place] = shape
    return shape


@njit(cache=True, nogil=True)
def new_list(heap, first, count):  # type: ignore[no-untyped-def]
    """A list of stack entries from `first` on."""
    totals = heap.totals
    number = totals[LISTS]
    totals[LISTS] += 1
    heap.list_first[number] = heap.list_last[number] = -1
    extend(heap, number, first, count)
    return pack(LIST, number)


@njit(cache=True, nogil=True)
def extend(heap, number, first, count):  # type: ignore[no-untyped-def]
    """Append stack entries to a list: to its last chunk, if that ends where the items do."""
    totals = heap.totals
    if count == 0:
        return
    last, start = heap.list_last[number], totals[ITEMS]
    for i in range(count):
        heap.items[start + i] = heap.stack[first + i]
    totals[ITEMS] += count
    if last >= 0 and heap.chunk_start[last] + heap.chunk_count[last] == start:
        heap.chunk_count[last] += count
        return
    chunk = totals[CHUNKS]
    totals[CHUNKS] += 1
    heap.chunk_start[chunk], heap.chunk_count[chunk], heap.chunk_next[chunk] = start, count, -1
    if last < 0:
        heap.list_first[number] = chunk
    else:
        heap.chunk_next[last] = chunk
    heap.list_last[number] = chunk


@njit(cache=True, nogil=True)
def update(heap, number, first, pairs):  # type: ignore[no-untyped-def]
    """Set pairs on the stack in a dict; what it had is copied behind them, so a key set twice has the later value first."""
    totals = heap.totals
    old = heap.dict_shape[number]
    had = np.int64(heap.shape_count[old]) if old >= 0 else np.int64(0)
    start = totals[ITEMS]
    for i in range(pairs):
        heap.items[start + i] = heap.stack[first + 2 * i + 1]
    if had == 0:
        shape = keep_shape(heap, heap.stack, first, pairs, 2)
    else:
        keys = np.empty(pairs + had, np.int64)
        for i in range(pairs):
            keys[i] = heap.stack[first + 2 * i]
        for i in range(had):
            keys[pairs + i] = heap.shape_keys[heap.shape_start[old] + i]
            heap.items[start + pairs + i] = heap.items[heap.dict_start[number] + i]
        shape = keep_shape(heap, keys, 0, pairs + had, 1)
    totals[ITEMS] += pairs + had
    heap.dict_shape[number], heap.dict_start[number] = shape, start


@njit(cache=True, nogil=True)
def hash_texts_again(heap, table):  # type: ignore[no-untyped-def]
    """Fill an empty, larger table with all texts."""
    for number in range(heap.totals[TEXTS]):
        place = hash_text(heap.text, heap.text_start[number], heap.text_end[number]) & (table.size - 1)
        while table[place] >= 0:
            place = (place + 1) & (table.size - 1)
        table[place] = number


@njit(cache=True, nogil=True)
def hash_shapes_again(heap, table):  # type: ignore[no-untyped-def]
    """Fill an empty, larger table with all shapes."""
    for number in range(heap.totals[SHAPES]):
        start, count = heap.shape_start[number], heap.shape_count[number]
        place = hash_keys(heap.shape_keys, start, count, 1) & (table.size - 1)
        while table[place] >= 0:
            place = (place + 1) & (table.size - 1)
        table[place] = number
