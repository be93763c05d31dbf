"""The values of a pickle, looked up by column: a field of many dicts at once, as an array."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from memtrace.formats.snapshot import machine as m

Values = NDArray[np.int64]  # values of a Tree: a payload above a kind
KIND = (1 << m.KIND_BITS) - 1  # mask of the kind


class Tree:
    """Give access to the values of a pickle, which are plain data. A value is an int64 that only its tree can interpret."""

    def __init__(self, heap: m.Heap, bytes_read: int) -> None:
        """Wrap the heap of a pickle machine that is done; ``bytes_read`` is how much of the pickle was read."""
        self.heap, self.bytes_read = heap, bytes_read
        self.root = int(heap.totals[m.RESULT])
        self._texts: dict[str, int] | None = None

    def is_dict(self, value: int) -> bool:
        """Return whether a value is a dict."""
        return value & KIND == m.DICT

    def is_list(self, value: int) -> bool:
        """Return whether a value is a list or a tuple."""
        return value & KIND == m.LIST

    def items(self, value: int) -> Values:
        """Return the items of a list or tuple; none if the value is neither."""
        if not self.is_list(value):
            return np.empty(0, np.int64)
        heap, parts = self.heap, []
        chunk = int(heap.list_first[value >> m.KIND_BITS])
        while chunk >= 0:
            start, count = int(heap.chunk_start[chunk]), int(heap.chunk_count[chunk])
            parts.append(heap.items[start : start + count])
            chunk = int(heap.chunk_next[chunk])
        return np.concatenate(parts) if parts else np.empty(0, np.int64)

    def keys(self, value: int) -> list[str]:
        """Return the keys of a dict as text, in order; none if the value is no dict."""
        shape = int(self.heap.dict_shape[value >> m.KIND_BITS]) if self.is_dict(value) else -1
        return [str(self.plain(int(key))) for key in self._keys(shape)]

    def get(self, value: int, key: str) -> int:
        """Return the value of a key of a dict; NONE if it has no such key or is no dict."""
        return int(self.column(np.array([value], np.int64), key)[0])

    def column(self, values: Values, key: str) -> Values:
        """Return the value of a key for each of many dicts; NONE where a value is no dict or has no such key."""
        found = np.full(values.size, m.NONE, np.int64)
        code = self.key(key)
        dicts = np.flatnonzero(values & KIND == m.DICT)
        if code is None or not dicts.size:
            return found
        numbers = values[dicts] >> m.KIND_BITS
        shapes = self.heap.dict_shape[numbers]
        for shape in (np.flatnonzero(np.bincount(shapes + 1)) - 1).tolist():
            place = np.flatnonzero(self._keys(shape) == code)
            if place.size:
                of = shapes == shape
                found[dicts[of]] = self.heap.items[self.heap.dict_start[numbers[of]] + place[0]]
        return found

    def numbers(self, values: Values, default: int) -> Values:
        """Return whole numbers (True is 1, False 0) as int64; ``default`` where a value is no whole number."""
        found = values >> m.KIND_BITS
        kinds = values.astype(np.uint8) & KIND  # the kind is in the lowest bits
        found[kinds != m.INT] = default
        found[kinds == m.TRUE] = 1
        found[kinds == m.FALSE] = 0
        return found

    def pairs(self, values: Values) -> tuple[Values, Values, Values]:
        """Return the indices of the values that are lists of two, and the first and the second item of each.

        Only a list whose two items were appended together is found, as every tuple is.
        """
        heap = self.heap
        lists = np.flatnonzero(values & KIND == m.LIST)
        chunks = heap.list_first[values[lists] >> m.KIND_BITS]
        whole = (chunks >= 0) & (heap.chunk_count[chunks] == 2) & (heap.chunk_next[chunks] < 0)
        starts = heap.chunk_start[chunks[whole]]
        return lists[whole], heap.items[starts], heap.items[starts + 1]

    def text_codes(self, values: Values) -> Values:
        """Return the index of each text in the heap, -1 where a value is no text; equal texts have equal indices."""
        return np.where(values & KIND == m.TEXT, values >> m.KIND_BITS, -1)

    def text(self, code: int) -> str:
        """Return the text with an index as ``text_codes`` gives it; bytes that are not UTF-8 are replaced."""
        heap = self.heap
        return heap.text[heap.text_start[code] : heap.text_end[code]].tobytes().decode(errors="replace")

    def plain(self, value: int) -> Any:
        """Return a value as None, bool, int, float or str; a value of any other kind becomes None."""
        kind, payload = value & KIND, value >> m.KIND_BITS
        simple = {m.TRUE: True, m.FALSE: False}
        if kind == m.INT:
            return payload
        if kind == m.FLOAT:
            return float(self.heap.floats[payload])
        return self.text(payload) if kind == m.TEXT else simple.get(kind)

    def _keys(self, shape: int) -> Values:
        """Return the keys of a shape as values; none for shape -1, which is that of an empty dict."""
        if shape < 0:
            return np.empty(0, np.int64)
        start = int(self.heap.shape_start[shape])
        return self.heap.shape_keys[start : start + int(self.heap.shape_count[shape])]

    def key(self, key: str) -> int | None:
        """Return the value of the text ``key`` if some dict has it as a key, else None."""
        if self._texts is None:
            used = np.unique(self.heap.shape_keys[: int(self.heap.totals[m.SHAPE_KEYS])])
            self._texts = {self.text(int(v >> m.KIND_BITS)): int(v) for v in used.tolist() if v & KIND == m.TEXT}
        return self._texts.get(key)
