"""What a pickle held, looked up by column: fields of many dicts at once, as arrays."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from memtrace.snapshot import machine as m

Values = NDArray[np.int64]  # of a Tree: payload and kind
KIND = (1 << m.KIND_BITS) - 1


class Tree:
    """Values of plain data. A value is an int64 that only the tree can read."""

    def __init__(self, heap: m.Heap, bytes_read: int) -> None:
        self.heap, self.bytes_read = heap, bytes_read
        self.root = int(heap.totals[m.RESULT])
        self._texts: dict[str, int] | None = None

    def is_dict(self, value: int) -> bool:
        return value & KIND == m.DICT

    def is_list(self, value: int) -> bool:
        return value & KIND == m.LIST

    def items(self, value: int) -> Values:
        """The items of a list or tuple; none if it is neither."""
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
        """The names of a dict's fields."""
        shape = int(self.heap.dict_shape[value >> m.KIND_BITS]) if self.is_dict(value) else -1
        return [str(self.plain(int(key))) for key in self._keys(shape)]

    def get(self, value: int, key: str) -> int:
        """A field of a dict, NONE if it is not there."""
        return int(self.column(np.array([value], np.int64), key)[0])

    def column(self, values: Values, key: str) -> Values:
        """A field of many dicts; NONE where it is not there."""
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
        """Whole numbers; the default for what is none."""
        kinds = values & KIND
        found = np.where(kinds == m.INT, values >> m.KIND_BITS, default)
        return np.where(kinds == m.TRUE, 1, np.where(kinds == m.FALSE, 0, found))

    def pairs(self, values: Values) -> tuple[Values, Values]:
        """Which of the values are lists of two, and the two items of each, [n, 2]."""
        heap = self.heap
        lists = np.flatnonzero(values & KIND == m.LIST)
        chunks = heap.list_first[values[lists] >> m.KIND_BITS]
        whole = (chunks >= 0) & (heap.chunk_count[chunks] == 2) & (heap.chunk_next[chunks] < 0)
        starts = heap.chunk_start[chunks[whole]]
        return lists[whole], np.stack((heap.items[starts], heap.items[starts + 1]), axis=1)

    def text_codes(self, values: Values) -> Values:
        """Numbers of texts, -1 for what is none; equal texts have equal numbers."""
        return np.where(values & KIND == m.TEXT, values >> m.KIND_BITS, -1)

    def text(self, code: int) -> str:
        heap = self.heap
        return heap.text[heap.text_start[code] : heap.text_end[code]].tobytes().decode(errors="replace")

    def plain(self, value: int) -> Any:
        """A value that is no container: None, bool, int, float, str; containers become None."""
        kind, payload = value & KIND, value >> m.KIND_BITS
        simple = {m.TRUE: True, m.FALSE: False}
        if kind == m.INT:
            return payload
        if kind == m.FLOAT:
            return float(self.heap.floats[payload])
        return self.text(payload) if kind == m.TEXT else simple.get(kind)

    def _keys(self, shape: int) -> Values:
        if shape < 0:
            return np.empty(0, np.int64)
        start = int(self.heap.shape_start[shape])
        return self.heap.shape_keys[start : start + int(self.heap.shape_count[shape])]

    def key(self, key: str) -> int | None:
        """The value of a text that some dict has as its key."""
        if self._texts is None:
            used = np.unique(self.heap.shape_keys[: int(self.heap.totals[m.SHAPE_KEYS])])
            self._texts = {self.text(int(v >> m.KIND_BITS)): int(v) for v in used.tolist() if v & KIND == m.TEXT}
        return self._texts.get(key)
