"""Read a file of pickled plain data into a Tree, in bounded time and memory, and without running anything from the file.

The pickle machine (``opcodes.run``) reads the file window by window. It returns here when it needs more input or larger arrays,
and when it refuses the file.
"""

from __future__ import annotations

import pickletools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from memtrace.errors import InputError
from memtrace.formats.snapshot import machine as m
from memtrace.formats.snapshot.opcodes import run
from memtrace.formats.snapshot.tree import Tree

if TYPE_CHECKING:
    from memtrace.formats.snapshot.wrapped import Readable

BLOCK_BYTES = 4 << 20  # least number of bytes that are read at a time
KEPT_FIRST = 1 << 30  # bytes that the values of any file may take, however small ...
KEPT_RATIO = 24  # ... and how many more for each byte of the file

# The arrays of the heap that grow together, by the index in `Heap.totals` of their common count.
GROUPS = {
    m.STACK: ("stack",),
    m.MARKS: ("marks",),
    m.MEMO: ("memo",),
    m.ITEMS: ("items",),
    m.DICTS: ("dict_shape", "dict_start"),
    m.CHUNKS: ("chunk_start", "chunk_count", "chunk_next"),
    m.LISTS: ("list_first", "list_last"),
    m.FLOATS: ("floats",),
    m.TEXTS: ("text_start", "text_end"),
    m.TEXT_BYTES: ("text",),
    m.SHAPES: ("shape_start", "shape_count"),
    m.SHAPE_KEYS: ("shape_keys",),
}
# Why the machine refused an opcode -> the text of the error; `name` is the opcode's.
REFUSALS = {
    m.UNKNOWN: "{name} does not belong in plain data of protocol 2 to 5",
    m.MEMO_RANGE: "{name} refers to a value that is not there",
    m.NO_MARK: "{name} has no beginning",
    m.EMPTY_STACK: "{name} finds nothing to work on",
    m.NOT_A_LIST: "{name} fills what is no list",
    m.NOT_A_DICT: "{name} fills what is no dict",
    m.ODD_ITEMS: "{name} has a key without a value",
    m.TOO_DEEP: "it is nested too deep",
    m.TOO_LONG: f"a text in it claims more than {m.MOST_TEXT >> 20} MiB",
    m.TOO_MANY_KEYS: f"a dict in it has more than {m.MOST_KEYS:,} keys",
    m.TOO_MANY_SHAPES: f"it has more than {m.MOST_SHAPES:,} kinds of dicts",
    m.BAD_LENGTH: "{name} has a negative length",
}


@dataclass
class Window:
    """Hold the part of the unpacked file that the machine sees."""

    data: Any  # uint8
    start: int  # byte of the file at which it begins
    length: int  # bytes


def read_tree(source: Readable) -> Tree:
    """Return the data in a pickle.

    Raises InputError if the pickle is cut, holds anything but plain data, or would run code.
    """
    heap = new_heap()
    with source.open() as stream:
        window = Window(np.empty(0, np.uint8), 0, 0)
        at, ended = 0, False
        while True:
            why, at = run(window.data, at, window.length, heap)
            if why == m.DONE:
                return Tree(heap._replace(memo=heap.memo[:0].copy()), window.start + at)  # the memo is of no more use
            if why == m.GROW:
                heap = grown(heap, window.start + at, source.label)
            elif why == m.REFUSED:
                raise refusal(source.label, heap, window.start + at)
            elif ended:
                raise InputError(
                    f"{source.label}: the pickle is cut at byte {window.start + window.length:,}\n"
                    "try: make or fetch the file again"
                )
            else:
                need = max(int(heap.totals[m.NEED]) - (window.length - at), BLOCK_BYTES)
                more = stream.read(need)
                ended = not more
                rest = window.data[at : window.length]
                window = Window(np.concatenate((rest, np.frombuffer(more, np.uint8))), window.start + at, rest.size + len(more))
                at = 0


def new_heap() -> m.Heap:
    """Return a heap that holds no values; its arrays are small and grow as needed."""
    kinds: dict[str, Any] = {"text": np.uint8, "floats": np.float64}
    kinds |= dict.fromkeys(("dict_shape", "chunk_count", "shape_count"), np.int32)
    arrays = {name: np.empty(1 << 12, kinds.get(name, np.int64)) for name in m.Heap._fields}
    arrays["memo"][:] = m.NONE
    arrays["totals"] = np.zeros(m.TOTALS, np.int64)
    arrays["items"] = np.empty(1 << 15, np.int64)
    arrays["text_table"], arrays["shape_table"] = (np.full(1 << 14, -1, np.int64) for _ in range(2))
    return m.Heap(**arrays)


def grown(heap: m.Heap, read: int, label: str) -> m.Heap:
    """Return the heap with more room in the arrays that the machine asked for (``totals[WHICH]``, ``totals[NEED]``).

    ``read``: bytes of the file read so far. Raises InputError, which begins with ``label``, if the values take more memory than a
    snapshot of this size could need.
    """
    which, need = int(heap.totals[m.WHICH]), int(heap.totals[m.NEED])
    kept = sum(array.nbytes for array in heap)
    if kept > KEPT_FIRST + KEPT_RATIO * read:
        raise InputError(f"{label}: the pickle unfolds to {kept >> 20:,} MiB within {read:,} bytes; it is no memory snapshot")
    larger = {}
    for name in GROUPS[which]:
        old = getattr(heap, name)
        size = max(old.size + old.size // 2, int(heap.totals[which]) + need) + need
        larger[name] = np.empty(size, old.dtype)  # pages that are never written to take no memory
        larger[name][: old.size] = old
        if name == "memo":
            larger[name][old.size :] = m.NONE
    heap = heap._replace(**larger)
    if which == m.TEXTS:
        heap = heap._replace(text_table=larger_table(heap.text_start.size))
        m.hash_texts_again(heap, heap.text_table)
    if which == m.SHAPES:
        heap = heap._replace(shape_table=larger_table(heap.shape_start.size))
        m.hash_shapes_again(heap, heap.shape_table)
    return heap


def larger_table(entries: int) -> Any:
    """Return an empty hash table that ``entries`` entries fill to at most a half; its length is a power of two."""
    return np.full(1 << (2 * entries - 1).bit_length(), -1, np.int64)


def refusal(label: str, heap: m.Heap, at: int) -> InputError:
    """Return the error that says why the machine refused the opcode at byte ``at`` of the pickle."""
    code, wrong = int(heap.totals[m.OPCODE]), int(heap.totals[m.WRONG])
    known = {ord(op.code): op.name for op in pickletools.opcodes}
    name = known.get(code, f"opcode 0x{code:02x}")
    if wrong == m.RUNS_CODE:
        return InputError(
            f"{label}: byte {at:,} of the pickle ({name}) asks to import or call something; memory snapshots hold plain data "
            "only\nnothing was run; do not load this file with pickle.load\n"
            "try: a file written by torch.cuda.memory._dump_snapshot(PATH)"
        )
    return InputError(
        f"{label}: byte {at:,} of the pickle: {REFUSALS[wrong].format(name=name)}\ntry: make or fetch the file again"
    )
