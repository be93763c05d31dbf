"""The data structures of a compiled pickle machine that knows only plain data: no opcode can import, call or build.

A value is an int64: a payload above a kind of KIND_BITS bits. A list is a chain of chunks of `items`, because a pickle appends in
batches. A dict is a shape (its keys, stored once for all dicts that share them) and its values, so an event takes 8 bytes per
field and no Python object. Equal texts are stored once. Everything is bounded, and memory grows with the size of the file.

Source: the opcodes of Python's pickletools, protocols 2 to 5.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from memtrace.kernels import jit

KIND_BITS = 4
# Kinds of values. The payload is the number of an INT, and an index into the heap of a FLOAT, TEXT, LIST or DICT. A tuple is a
# LIST. BIG and BYTES stand for values whose content is dropped.
NONE, FALSE, TRUE, INT, FLOAT, TEXT, LIST, DICT, BIG, BYTES = range(10)
MOST_INT = 1 << 58  # a number from here on becomes BIG: no size or address is so large

# Why the machine returned: it is done, needs more input, needs larger arrays, or refused an opcode.
DONE, MORE, GROW, REFUSED = range(4)

# Why it refused an opcode.
FINE, RUNS_CODE, UNKNOWN, MEMO_RANGE, NO_MARK, EMPTY_STACK, NOT_A_LIST, NOT_A_DICT, ODD_ITEMS, TOO_DEEP = range(10)
TOO_LONG, TOO_MANY_KEYS, TOO_MANY_SHAPES, BAD_LENGTH = range(10, 14)

# Indices into `Heap.totals`. First, how many entries of each array are used.
STACK, MARKS, MEMO, ITEMS, DICTS, CHUNKS, LISTS, SHAPES, SHAPE_KEYS, TEXTS, TEXT_BYTES, FLOATS = range(12)
# Then the machine's answers to its driver: which array has to grow, and by how many entries (or how many bytes of input it
# needs); why it refused, and which opcode; the value that the pickle holds.
WHICH, NEED, WRONG, OPCODE, RESULT = range(12, 17)
TOTALS = 20  # length

# Upper bounds; a pickle that exceeds one is refused.
MOST_STACK = 1 << 25  # values on the stack
MOST_MARKS = 200  # nested marks
MOST_TEXT = 1 << 24  # bytes of a text
MOST_KEYS = 1 << 12  # keys of a dict
MOST_SHAPES = 1 << 16  # different sequences of keys
MEMO_AHEAD = 1 << 12  # how far a memo index may be beyond those in use: a pickler numbers its memo one by one


class Heap(NamedTuple):
    """Hold all values that have been read; `totals` says how many entries of each array are used."""

    totals: NDArray[np.int64]
    stack: NDArray[np.int64]  # values
    marks: NDArray[np.int64]  # height of the stack at each mark
    memo: NDArray[np.int64]  # values
    items: NDArray[np.int64]  # values in lists and dicts
    dict_shape: NDArray[np.int32]  # [dict] its shape, -1 if it is empty
    dict_start: NDArray[np.int64]  # [dict] index in items of its first value
    chunk_start: NDArray[np.int64]  # [chunk] index in items of its first value
    chunk_count: NDArray[np.int32]  # [chunk] number of values
    chunk_next: NDArray[np.int64]  # [chunk] the list's next chunk, -1 for none
    list_first: NDArray[np.int64]  # [list] its first chunk, -1 if it is empty
    list_last: NDArray[np.int64]  # [list] its last chunk, -1 if it is empty
    shape_start: NDArray[np.int64]  # [shape] index in shape_keys of its first key
    shape_count: NDArray[np.int32]  # [shape] number of keys
    shape_keys: NDArray[np.int64]  # values
    text_start: NDArray[np.int64]  # [text] half-open interval of its bytes in `text`
    text_end: NDArray[np.int64]
    text: NDArray[np.uint8]  # bytes of all texts, as in the file
    floats: NDArray[np.float64]
    # Hash tables of the indices of texts and shapes: open addressing, length a power of two, at most half full; -1 is empty.
    text_table: NDArray[np.int64]
    shape_table: NDArray[np.int64]


@jit(inline="always")
def pack(kind: Any, payload: Any) -> Any:
    """Return the value of this kind with this payload."""
    return (np.int64(payload) << KIND_BITS) | kind


@jit(inline="always")
def unsigned(data: Any, at: Any, count: Any) -> Any:
    """Return the unsigned little-endian number in ``count`` bytes of ``data`` from index ``at``; at most 7 bytes."""
    value = np.int64(0)
    for i in range(count):
        value |= np.int64(data[at + i]) << (8 * i)
    return value


@jit()
def integer(data, at, count):  # type: ignore[no-untyped-def]
    """Return the signed little-endian number in ``count`` bytes of ``data`` from index ``at``, as a value.

    The value is BIG if the number is MOST_INT or more in size.
    """
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


@jit()
def hash_text(text, start, end):  # type: ignore[no-untyped-def]
    """Return a hash (FNV-1a with its bits mixed, not negative) of the bytes ``start`` to ``end`` of ``text``."""
    value = np.uint64(0xCBF29CE484222325)
    for i in range(start, end):
        value = (value ^ np.uint64(text[i])) * np.uint64(0x100000001B3)
    return np.int64((value ^ (value >> np.uint64(29))) & np.uint64(0x3FFFFFFFFFFFFFFF))


@jit()
def same_text(heap, one, data, at, count):  # type: ignore[no-untyped-def]
    """Return whether text number ``one`` of the heap equals the ``count`` bytes of ``data`` from index ``at``."""
    start = heap.text_start[one]
    if heap.text_end[one] - start != count:
        return False
    same = True
    for i in range(count):
        same &= heap.text[start + i] == data[at + i]
    return same


@jit()
def keep_text(heap, data, at, count):  # type: ignore[no-untyped-def]
    """Return the index of the text in ``count`` bytes of ``data`` from index ``at``; it is stored if it is new.

    The heap must have room for it.
    """
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


@jit()
def hash_keys(keys, start, count, step):  # type: ignore[no-untyped-def]
    """Return a hash (not negative) of ``count`` keys: every ``step``-th value of ``keys`` from index ``start``."""
    value = np.uint64(0xCBF29CE484222325)
    for i in range(count):
        value = (value ^ np.uint64(keys[start + step * i])) * np.uint64(0x9E3779B97F4A7C15)
        value ^= value >> np.uint64(31)
    return np.int64(value & np.uint64(0x3FFFFFFFFFFFFFFF))


@jit()
def keep_shape(heap, keys, start, count, step):  # type: ignore[no-untyped-def]
    """Return the index of the shape with these keys, in this order; it is stored if it is new.

    The keys are ``count`` values: every ``step``-th one of ``keys`` from index ``start``. The heap must have room for them.
    """
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


@jit()
def new_list(heap, first, count):  # type: ignore[no-untyped-def]
    """Return the value of a new list with ``count`` values of the stack from index ``first``; the heap must have room."""
    totals = heap.totals
    number = totals[LISTS]
    totals[LISTS] += 1
    heap.list_first[number] = heap.list_last[number] = -1
    extend(heap, number, first, count)
    return pack(LIST, number)


@jit()
def extend(heap, number, first, count):  # type: ignore[no-untyped-def]
    """Append ``count`` values of the stack, from index ``first``, to list ``number``; the heap must have room.

    They extend the list's last chunk if that ends where the used part of `items` does, and else become a new chunk.
    """
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


@jit()
def update(heap, number, first, pairs):  # type: ignore[no-untyped-def]
    """Set ``pairs`` pairs of key and value, on the stack from index ``first``, in dict ``number``; the heap must have room.

    The dict gets new values in `items`: the new pairs, and behind them what it had before. A lookup takes the first of equal
    keys, so a key that is set again has its later value.
    """
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


@jit()
def hash_texts_again(heap, table):  # type: ignore[no-untyped-def]
    """Insert all texts of the heap into an empty hash table, which has to be larger than their number."""
    for number in range(heap.totals[TEXTS]):
        place = hash_text(heap.text, heap.text_start[number], heap.text_end[number]) & (table.size - 1)
        while table[place] >= 0:
            place = (place + 1) & (table.size - 1)
        table[place] = number


@jit()
def hash_shapes_again(heap, table):  # type: ignore[no-untyped-def]
    """Insert all shapes of the heap into an empty hash table, which has to be larger than their number."""
    for number in range(heap.totals[SHAPES]):
        start, count = heap.shape_start[number], heap.shape_count[number]
        place = hash_keys(heap.shape_keys, start, count, 1) & (table.size - 1)
        while table[place] >= 0:
            place = (place + 1) & (table.size - 1)
        table[place] = number
