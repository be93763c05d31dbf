"""The loop of the pickle machine: it reads opcodes and puts values into its heap, and returns when its driver has to act."""

from __future__ import annotations

import numpy as np

from memtrace.formats.snapshot import machine as m
from memtrace.formats.snapshot.machine import extend, integer, keep_text, new_list, pack, unsigned, update
from memtrace.kernels import jit

# Opcodes, named as in pickletools.
PROTO, FRAME, STOP, MARK, POP, POP_MARK, DUP = 0x80, 0x95, 0x2E, 0x28, 0x30, 0x31, 0x32
NONE_OP, NEWTRUE, NEWFALSE, BININT, BININT1, BININT2, LONG1, LONG4, BINFLOAT = (
    0x4E,
    0x88,
    0x89,
    0x4A,
    0x4B,
    0x4D,
    0x8A,
    0x8B,
    0x47,
)
SHORT_BINUNICODE, BINUNICODE, BINUNICODE8 = 0x8C, 0x58, 0x8D
BINSTRING, SHORT_BINSTRING, BINBYTES, SHORT_BINBYTES, BINBYTES8, BYTEARRAY8 = 0x54, 0x55, 0x42, 0x43, 0x8E, 0x96
EMPTY_LIST, APPEND, APPENDS, LIST_OP, EMPTY_TUPLE, TUPLE, TUPLE1, TUPLE2, TUPLE3 = (
    0x5D,
    0x61,
    0x65,
    0x6C,
    0x29,
    0x74,
    0x85,
    0x86,
    0x87,
)
EMPTY_DICT, DICT_OP, SETITEM, SETITEMS = 0x7D, 0x64, 0x73, 0x75
MEMOIZE, BINPUT, LONG_BINPUT, BINGET, LONG_BINGET = 0x94, 0x71, 0x72, 0x68, 0x6A
# Opcodes that import or call: EXT1-4, GLOBAL, STACK_GLOBAL, REDUCE, BUILD, INST, OBJ, NEWOBJ, NEWOBJ_EX, PERSID, BINPERSID.
RUNNING = (0x82, 0x83, 0x84, 0x63, 0x93, 0x52, 0x62, 0x69, 0x6F, 0x81, 0x92, 0x50, 0x51)
SLACK = 4  # upper bound of the entries of an array that an opcode uses, if it has no variable number of them


def _argument_bytes() -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """Return a table by opcode: the bytes of its fixed argument, which for a text is its length."""
    table = np.zeros(256, np.int64)
    for code in (PROTO, BININT1, LONG1, SHORT_BINUNICODE, SHORT_BINSTRING, SHORT_BINBYTES, BINPUT, BINGET):
        table[code] = 1
    table[BININT2] = 2
    for code in (BININT, LONG4, BINUNICODE, BINSTRING, BINBYTES, LONG_BINPUT, LONG_BINGET):
        table[code] = 4
    for code in (FRAME, BINFLOAT, BINUNICODE8, BINBYTES8, BYTEARRAY8):
        table[code] = 8
    return table


def _payloads() -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """Return a table by opcode: whether its argument is the length of data that follows it."""
    table = np.zeros(256, np.bool_)
    table[[LONG1, LONG4, SHORT_BINUNICODE, BINUNICODE, BINUNICODE8]] = True
    table[[BINSTRING, SHORT_BINSTRING, BINBYTES, SHORT_BINBYTES, BINBYTES8, BYTEARRAY8]] = True
    return table


ARGUMENT = _argument_bytes()
PAYLOAD = _payloads()


@jit()
def lacking(heap):  # type: ignore[no-untyped-def]
    """Return the first array (an index into ``totals``) that has fewer than SLACK entries left; -1 if none."""
    totals = heap.totals
    sizes = (
        (m.STACK, heap.stack.size),
        (m.MARKS, heap.marks.size),
        (m.MEMO, heap.memo.size),
        (m.ITEMS, heap.items.size),
        (m.DICTS, heap.dict_start.size),
        (m.CHUNKS, heap.chunk_start.size),
        (m.LISTS, heap.list_first.size),
        (m.FLOATS, heap.floats.size),
        (m.TEXTS, heap.text_start.size),
        (m.SHAPES, heap.shape_start.size),
    )
    for which, size in sizes:
        if totals[which] + SLACK > size:
            return which
    return -1


@jit()
def stopped(heap, why, at, which, need):  # type: ignore[no-untyped-def]
    """Return (``why``, ``at``) from the loop, after noting which array lacks room and how many entries or bytes are needed."""
    heap.totals[m.WHICH], heap.totals[m.NEED] = which, need
    return why, at


@jit()
def refused(heap, at, code, wrong):  # type: ignore[no-untyped-def]
    """Return (REFUSED, ``at``) from the loop, and note the opcode and the reason ``wrong`` in ``totals``."""
    heap.totals[m.OPCODE], heap.totals[m.WRONG] = code, wrong
    return m.REFUSED, at


@jit()
def runs_code(code):  # type: ignore[no-untyped-def]
    """Return whether an opcode imports or calls something."""
    found = False
    for other in RUNNING:
        found |= code == other
    return found


@jit()
def run(data, at, end, heap):  # type: ignore[no-untyped-def]
    """Run the opcodes in ``data`` from index ``at`` up to ``end``; return (why it stopped, index of the opcode there).

    Why: DONE, MORE, GROW or REFUSED, with details in ``heap.totals``. Nothing of the opcode at which it stopped has been done, so
    the loop can go on there with more input or a larger heap.
    """
    totals, stack = heap.totals, heap.stack
    while True:
        which = lacking(heap)
        if which >= 0:
            return stopped(heap, m.GROW, at, which, SLACK)
        if at >= end:
            return stopped(heap, m.MORE, at, 0, 1)
        code = data[at]
        body = at + 1
        fixed = ARGUMENT[code]
        if body + fixed > end:
            return stopped(heap, m.MORE, at, 0, 1 + fixed)
        top = totals[m.STACK]
        base = totals[m.MARKS]
        mark = heap.marks[base - 1] if base > 0 else np.int64(-1)
        floor = mark if base > 0 else np.int64(0)
        if top >= m.MOST_STACK:
            return refused(heap, at, code, m.TOO_DEEP)

        if PAYLOAD[code]:
            if fixed == 8 and data[body + 7] >= 1:
                return refused(heap, at, code, m.TOO_LONG)
            length = unsigned(data, body, min(fixed, 7))
            body += fixed
            if length > m.MOST_TEXT:
                return refused(heap, at, code, m.TOO_LONG)
            if body + length > end:
                return stopped(heap, m.MORE, at, 0, 1 + fixed + length)
            if code == LONG1 or code == LONG4:
                stack[top] = integer(data, body, length)
            elif code == SHORT_BINUNICODE or code == BINUNICODE or code == BINUNICODE8:
                if totals[m.TEXT_BYTES] + length > heap.text.size:
                    return stopped(heap, m.GROW, at, m.TEXT_BYTES, length)
                stack[top] = pack(m.TEXT, keep_text(heap, data, body, length))
            else:
                stack[top] = pack(m.BYTES, 0)
            totals[m.STACK] = top + 1
            at = body + length
            continue

        if code == BININT1 or code == BININT2:
            stack[top] = pack(m.INT, unsigned(data, body, fixed))
            totals[m.STACK] = top + 1
        elif code == BININT:
            stack[top] = integer(data, body, 4)
            totals[m.STACK] = top + 1
        elif code == NONE_OP or code == NEWTRUE or code == NEWFALSE:
            stack[top] = pack(m.NONE if code == NONE_OP else (m.TRUE if code == NEWTRUE else m.FALSE), 0)
            totals[m.STACK] = top + 1
        elif code == BINFLOAT:
            bits = np.uint64(0)
            for i in range(8):
                bits = (bits << np.uint64(8)) | np.uint64(data[body + i])
            number = totals[m.FLOATS]
            heap.floats[number : number + 1].view(np.uint64)[0] = bits
            totals[m.FLOATS] += 1
            stack[top] = pack(m.FLOAT, number)
            totals[m.STACK] = top + 1
        elif code == EMPTY_LIST or code == EMPTY_TUPLE:
            stack[top] = new_list(heap, top, 0)
            totals[m.STACK] = top + 1
        elif code == EMPTY_DICT:
            number = totals[m.DICTS]
            heap.dict_shape[number], heap.dict_start[number] = -1, 0
            totals[m.DICTS] += 1
            stack[top] = pack(m.DICT, number)
            totals[m.STACK] = top + 1
        elif code == MARK:
            if base >= m.MOST_MARKS:
                return refused(heap, at, code, m.TOO_DEEP)
            heap.marks[base] = top
            totals[m.MARKS] = base + 1
        elif code == BINGET or code == LONG_BINGET:
            number = unsigned(data, body, fixed)
            if number >= totals[m.MEMO]:
                return refused(heap, at, code, m.MEMO_RANGE)
            stack[top] = heap.memo[number]
            totals[m.STACK] = top + 1
        elif code == MEMOIZE or code == BINPUT or code == LONG_BINPUT:
            number = unsigned(data, body, fixed) if fixed > 0 else totals[m.MEMO]
            if top == floor:
                return refused(heap, at, code, m.EMPTY_STACK)
            if number >= totals[m.MEMO] + m.MEMO_AHEAD:
                return refused(heap, at, code, m.MEMO_RANGE)
            if number >= heap.memo.size:
                return stopped(heap, m.GROW, at, m.MEMO, m.MEMO_AHEAD + SLACK)
            heap.memo[number] = stack[top - 1]
            totals[m.MEMO] = max(totals[m.MEMO], number + 1)
        elif code == APPENDS or code == APPEND or code == SETITEMS or code == SETITEM:
            many = code == APPENDS or code == SETITEMS
            if many and base == 0:
                return refused(heap, at, code, m.NO_MARK)
            first = mark if many else top - (1 if code == APPEND else 2)
            # The list or dict to fill lies directly below the top mark, so it has to be above the mark before that one.
            under = (heap.marks[base - 2] if base > 1 else np.int64(0)) if many else floor
            if first - 1 < under:
                return refused(heap, at, code, m.EMPTY_STACK)
            given = top - first
            target = stack[first - 1]
            kind, number = target & ((1 << m.KIND_BITS) - 1), target >> m.KIND_BITS
            if totals[m.ITEMS] + given + m.MOST_KEYS > heap.items.size:
                return stopped(heap, m.GROW, at, m.ITEMS, given + m.MOST_KEYS)
            if code == APPEND or code == APPENDS:
                if kind != m.LIST:
                    return refused(heap, at, code, m.NOT_A_LIST)
                extend(heap, number, first, given)
            else:
                if kind != m.DICT:
                    return refused(heap, at, code, m.NOT_A_DICT)
                wrong = filled(heap, number, first, given)
                if wrong == m.GROW:
                    return stopped(heap, m.GROW, at, m.SHAPE_KEYS, m.MOST_KEYS)
                if wrong < 0:
                    return refused(heap, at, code, -wrong)
            totals[m.STACK] = first
            if many:
                totals[m.MARKS] = base - 1
        elif code == TUPLE1 or code == TUPLE2 or code == TUPLE3:
            count = np.int64(code) - TUPLE1 + 1
            if top - count < floor:
                return refused(heap, at, code, m.EMPTY_STACK)
            stack[top - count] = new_list(heap, top - count, count)
            totals[m.STACK] = top - count + 1
        elif code == TUPLE or code == LIST_OP or code == DICT_OP:
            if base == 0:
                return refused(heap, at, code, m.NO_MARK)
            given = top - mark
            if totals[m.ITEMS] + given + m.MOST_KEYS > heap.items.size:
                return stopped(heap, m.GROW, at, m.ITEMS, given + m.MOST_KEYS)
            if code == DICT_OP:
                number = totals[m.DICTS]
                heap.dict_shape[number], heap.dict_start[number] = -1, 0
                wrong = filled(heap, number, mark, given)
                if wrong == m.GROW:
                    return stopped(heap, m.GROW, at, m.SHAPE_KEYS, m.MOST_KEYS)
                if wrong < 0:
                    return refused(heap, at, code, -wrong)
                totals[m.DICTS] += 1
                stack[mark] = pack(m.DICT, number)
            else:
                stack[mark] = new_list(heap, mark, given)
            totals[m.STACK] = mark + 1
            totals[m.MARKS] = base - 1
        elif code == POP or code == DUP:
            if top == floor:
                return refused(heap, at, code, m.EMPTY_STACK)
            if code == DUP:
                stack[top] = stack[top - 1]
            totals[m.STACK] = top + 1 if code == DUP else top - 1
        elif code == POP_MARK:
            if base == 0:
                return refused(heap, at, code, m.NO_MARK)
            totals[m.STACK], totals[m.MARKS] = mark, base - 1
        elif code == STOP:
            if top == floor or base > 0:
                return refused(heap, at, code, m.EMPTY_STACK)
            totals[m.RESULT] = stack[top - 1]
            return stopped(heap, m.DONE, at, 0, 0)
        elif code == PROTO:
            if data[body] < 2 or data[body] > 5:
                return refused(heap, at, code, m.UNKNOWN)
        elif code == FRAME:
            if data[body + 7] >= 128:
                return refused(heap, at, code, m.BAD_LENGTH)
        elif runs_code(code):
            return refused(heap, at, code, m.RUNS_CODE)
        else:
            return refused(heap, at, code, m.UNKNOWN)
        at = body + fixed


@jit()
def filled(heap, number, first, given):  # type: ignore[no-untyped-def]
    """Set the pairs in ``given`` stack entries from index ``first`` in dict ``number``.

    Returns FINE; GROW if `shape_keys` lacks room, with nothing done; or the reason for which the pickle is refused, negated.
    """
    if given % 2 != 0:
        return -m.ODD_ITEMS
    pairs = given // 2
    if pairs == 0:
        return m.FINE
    shape = heap.dict_shape[number]
    had = np.int64(heap.shape_count[shape]) if shape >= 0 else np.int64(0)
    if pairs + had > m.MOST_KEYS:
        return -m.TOO_MANY_KEYS
    if heap.totals[m.SHAPES] >= m.MOST_SHAPES:
        return -m.TOO_MANY_SHAPES
    if heap.totals[m.SHAPE_KEYS] + pairs + had > heap.shape_keys.size:
        return m.GROW
    update(heap, number, first, pairs)
    return m.FINE
