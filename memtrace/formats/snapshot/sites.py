"""Convert recorded stacks to sites: of each stack the innermost frame of the user's own code, each stored once."""

from __future__ import annotations

import re
from typing import Any

import numpy as np

from memtrace.formats.snapshot.machine import DICT, KIND_BITS, LIST, MOST_SHAPES, SHAPES, TEXT, TEXTS
from memtrace.formats.snapshot.records import Site
from memtrace.formats.snapshot.tree import Tree, Values
from memtrace.kernels import jit
from memtrace.trace.model import Int32s

SKIPPED, LIBRARY, USER = 0, 1, 2  # kinds of files: native or without a name; installed Python code; the user's own code
LIBRARIES = re.compile(
    r"(^|/)(site-packages|dist-packages)/|(^|/)lib(64)?/python3[^/]*/|^<|(^|/)torch/(_|nn/|optim/|utils/|cuda/|autograd/)"
)


def kind_of_file(name: str) -> int:
    """Return the kind of the file of a stack frame, by its name.

    USER: a Python file or notebook cell of the user. LIBRARY: a Python file below a library's folder. SKIPPED: anything that is
    not Python, such as C++.
    """
    if not name.endswith(".py") and not name.startswith("<"):
        return USER if name.endswith(".ipynb") or "ipykernel" in name else SKIPPED
    if name.startswith("<ipython-input"):
        return USER
    return LIBRARY if LIBRARIES.search(name) and "ipykernel" not in name else USER


def find_sites(tree: Tree, stacks: Values) -> tuple[Int32s, list[Site]]:
    """Return the index of the site of each stack, -1 if no frame is in Python, and the sites.

    ``stacks``: values of ``tree``, each a list of frames.
    """
    heap = tree.heap
    file_at = _places(tree, "filename")
    kinds = np.full(int(heap.totals[TEXTS]) + 1, -1, np.int8)
    while True:
        frames, unknown = innermost(heap, stacks, file_at, kinds)
        if unknown < 0:
            break
        for code in np.flatnonzero(kinds == -2).tolist():
            kinds[code] = kind_of_file(tree.text(code))
    found = np.flatnonzero(frames >= 0)
    sites = np.full(stacks.size, -1, np.int32)
    if not found.size:
        return sites, []
    used, which = np.unique(frames[found], return_inverse=True)
    dicts = (used << KIND_BITS) | DICT
    rows = np.stack(
        [
            tree.text_codes(tree.column(dicts, "filename")),
            tree.numbers(tree.column(dicts, "line"), 0),
            tree.text_codes(tree.column(dicts, "name")),
        ]
    )
    unique, inverse = np.unique(rows, axis=1, return_inverse=True)
    sites[found] = inverse.reshape(-1)[which]
    named = [(tree.text(int(f)), int(line), tree.text(int(n)) if n >= 0 else "") for f, line, n in unique.T]
    return sites, _tagged(named)


def _tagged(named: list[tuple[str, int, str]]) -> list[Site]:
    """Return (file, line, function) triples as sites, with as few folders in the tag as tell them apart, but at least one."""
    parts = [file.split("/") for file, _, _ in named]
    for depth in range(2, 2 + max(map(len, parts))):
        tags = [f"{'/'.join(p[-depth:])}:{line} {name}".rstrip() for p, (_, line, name) in zip(parts, named, strict=True)]
        if len(set(tags)) == len(set(named)):
            break
    return [Site(tag, *rest) for tag, rest in zip(tags, named, strict=True)]


def _places(tree: Tree, key: str) -> Any:
    """Return by shape the place of a key among the keys of its dicts, -1 if they lack the key."""
    heap = tree.heap
    places = np.full(min(int(heap.totals[SHAPES]), MOST_SHAPES) + 1, -1, np.int32)
    code = tree.key(key)
    for shape in range(int(heap.totals[SHAPES])) if code is not None else ():
        start, count = int(heap.shape_start[shape]), int(heap.shape_count[shape])
        place = np.flatnonzero(heap.shape_keys[start : start + count] == code)
        places[shape] = place[0] if place.size else -1
    return places


@jit()
def innermost(heap, stacks, file_at, kinds):  # type: ignore[no-untyped-def]
    """Return for each stack the dict number of its innermost user frame, else of its innermost Python frame, else -1.

    ``file_at``: by shape, the place of the file name. ``kinds``: by text, the kind of the file of that name, -1 if it is not
    known yet. Such files are marked -2, and one of their text numbers is returned too (-1 if there are none): the caller then
    fills in ``kinds`` and calls again.
    """
    mask = (np.int64(1) << KIND_BITS) - 1
    frames = np.full(stacks.size, -1, np.int64)
    unknown = np.int64(-1)
    for i in range(stacks.size):
        if i > 0 and stacks[i] == stacks[i - 1]:
            frames[i] = frames[i - 1]
            continue
        if stacks[i] & mask != LIST:
            continue
        chunk = heap.list_first[stacks[i] >> KIND_BITS]
        done = False
        while chunk >= 0 and not done:
            for at in range(heap.chunk_start[chunk], heap.chunk_start[chunk] + heap.chunk_count[chunk]):
                if heap.items[at] & mask != DICT:
                    continue
                number = heap.items[at] >> KIND_BITS
                shape = heap.dict_shape[number]
                if shape < 0 or file_at[shape] < 0:
                    continue
                file = heap.items[heap.dict_start[number] + file_at[shape]]
                if file & mask != TEXT:
                    continue
                kind = kinds[file >> KIND_BITS]
                if kind < 0:
                    kinds[file >> KIND_BITS] = -2
                    unknown = file >> KIND_BITS
                elif kind == 2:
                    frames[i] = number
                    done = True
                    break
                elif kind == 1 and frames[i] < 0:
                    frames[i] = number
            chunk = heap.chunk_next[chunk]
    return frames, unknown
