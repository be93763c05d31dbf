"""Views of record arrays that the interpreter reads and writes fast.

An attribute of an element of a ``numpy.recarray`` takes about a microsecond, since numpy looks it up in Python. `viewed` returns
the same memory as arrays of ctypes structures, whose attributes are looked up in C. Values are Python's integers; a value that
is written is cut to the bytes of its field, as in compiled code.
"""

from __future__ import annotations

import ctypes
from functools import cache
from typing import Any

import numpy as np

SCALARS = {
    ("i", 1): ctypes.c_int8,
    ("i", 2): ctypes.c_int16,
    ("i", 4): ctypes.c_int32,
    ("i", 8): ctypes.c_int64,
    ("u", 1): ctypes.c_uint8,
    ("u", 2): ctypes.c_uint16,
    ("u", 4): ctypes.c_uint32,
    ("u", 8): ctypes.c_uint64,
    ("f", 4): ctypes.c_float,
    ("f", 8): ctypes.c_double,
    ("b", 1): ctypes.c_bool,
}


def viewed(value: Any) -> Any:
    """Return the value with each record array in it, at any depth of its tuples, as an array of ctypes structures.

    The structures share the memory of the record arrays. An array that ctypes cannot describe stays as it is.
    """
    if isinstance(value, np.recarray):
        return view_of(value)
    if isinstance(value, tuple):
        parts = [viewed(part) for part in value]
        return type(value)(*parts) if hasattr(value, "_fields") else tuple(parts)
    return value


def view_of(records: Any) -> Any:
    """Return one record array as an array of ctypes structures with numpy's `size`; itself if it cannot be described so."""
    structure = structure_of(records.dtype)
    if structure is None or records.ndim != 1 or not records.size or not (records.flags.c_contiguous and records.flags.writeable):
        return records
    return array_of(structure, records.size).from_buffer(records)


@cache
def array_of(structure: Any, size: int) -> Any:
    """Return the type of an array of ``size`` structures."""
    return type("Records", (structure * size,), {"size": size})


@cache
def structure_of(kind: Any) -> Any:
    """Return the ctypes structure that has the fields of a record dtype at their offsets, or None if there is none."""
    fields, end = [], 0
    for name, (field, offset, *_) in sorted(kind.fields.items(), key=lambda item: item[1][1]):
        found = field_of(field)
        if found is None or offset < end:
            return None
        if offset > end:
            fields.append((f"_gap{end}", ctypes.c_char * (offset - end)))
        fields.append((name, found))
        end = offset + field.itemsize
    if end < kind.itemsize:
        fields.append((f"_gap{end}", ctypes.c_char * (kind.itemsize - end)))
    return type("Record", (ctypes.Structure,), {"_pack_": 1, "_fields_": fields})


def field_of(kind: Any) -> Any:
    """Return the ctypes type of a field: a scalar in the machine's byte order, a record, or an array of these; else None."""
    if kind.subdtype is not None:
        inner, shape = kind.subdtype
        found = field_of(inner)
        for length in reversed(shape):
            found = found and found * length
        return found
    if kind.fields:
        return structure_of(kind)
    return SCALARS.get((kind.kind, kind.itemsize)) if kind.isnative else None
