"""The caches and TLBs of a locality model: presets, and the text `NAME:key=value,...` that chooses and changes one."""

from __future__ import annotations

import re
from dataclasses import dataclass, fields, replace
from typing import Any

from memtrace.errors import UsageError
from memtrace.names import unknown
from memtrace.units import parse_size

MOST_LINES = 1 << 26  # upper bound on the lines of all levels together; each takes 8 bytes of memory
UNLIMITED = 1 << 62  # bytes: the default of `reach`
PAGES = {"tlb4k": 4 << 10, "tlb2m": 2 << 20}  # bytes of a page
TOUCHES = ("auto", "accesses", "lifetimes")
FULL = "full"  # ways of a level that is one set

_LEVEL = re.compile(r"([^/]+)/([0-9]+|full)")


@dataclass(frozen=True)
class Level:
    """A set-associative level with LRU replacement; ``lines`` is a multiple of ``ways``."""

    lines: int
    ways: int

    @property
    def sets(self) -> int:
        """The number of sets."""
        return self.lines // self.ways


@dataclass(frozen=True)
class Model:
    """The levels of caches and TLBs, nearest first, and which touches are counted.

    ``caches`` hold lines of ``line`` bytes; ``tlb4k`` and ``tlb2m`` hold pages of 4 KiB and 2 MiB. ``touches``: the trace's
    ``accesses``, or touches derived from ``lifetimes``, or ``auto``: accesses if the trace has any. ``reach``: the most
    bytes of a block, from its start, that one touch comes to.
    """

    name: str
    caches: tuple[Level, ...]
    tlb4k: tuple[Level, ...]
    tlb2m: tuple[Level, ...]
    line: int = 64
    touches: str = "auto"
    reach: int = UNLIMITED

    def chains(self) -> list[tuple[str, int, tuple[Level, ...]]]:
        """Return the name, the bytes of a line (of TLBs: a page) and the levels of each chain that has levels."""
        found = [("cache", self.line, self.caches), *((name, page, getattr(self, name)) for name, page in PAGES.items())]
        return [chain for chain in found if chain[2]]

    def level_names(self) -> list[str]:
        """Return the names of all levels, in the order of the counts: `L1`, `L2`, ..., then `4 KiB TLB1` and so on."""
        words = {"cache": "L", "tlb4k": "4 KiB TLB", "tlb2m": "2 MiB TLB"}
        return [f"{words[name]}{number}" for name, _, levels in self.chains() for number in range(1, len(levels) + 1)]


# Intel 64 and IA-32 Architectures Optimization Reference Manual (248966): caches and data TLBs of the Skylake client and
# server microarchitectures; the L3 is that of one core's slice (server) and of four cores (client).
PRESETS = {
    "skylake-sp": Model(
        "skylake-sp",
        (Level(512, 8), Level(16384, 16), Level(22528, 11)),
        (Level(64, 4), Level(1536, 12)),
        (Level(32, 4), Level(1536, 12)),
    ),
    "skylake": Model(
        "skylake",
        (Level(512, 8), Level(4096, 4), Level(131072, 16)),
        (Level(64, 4), Level(1536, 12)),
        (Level(32, 4), Level(1536, 12)),
    ),
}


def parse_model(text: str) -> Model:
    """Return the model that a text names: `skylake-sp`, or a preset with changes: `skylake:caches=32KiB/8+1MiB/16,reach=4KiB`.

    Raise UsageError if the text is no model, or its levels are too large.
    """
    name, _, rest = text.partition(":")
    if name not in PRESETS:
        raise unknown("model of caches", name, PRESETS)
    model = PRESETS[name]
    keys = [field.name for field in fields(Model) if field.name != "name"]
    given: dict[str, str] = {}
    for part in rest.split(",") if rest else ():
        key, equals, value = part.partition("=")
        if key not in keys:
            raise unknown(f"option of {name}", key, keys)
        if not equals or not value:
            raise UsageError(f"{name}: {part!r} is no key=value")
        given[key] = value
    model = replace(model, line=_line(given.get("line", str(model.line))))
    for key, value in given.items():
        model = replace(model, **dict[str, Any]({key: _value(model, key, value)}))
    model = replace(model, name=text)
    lines = sum(level.lines for _, _, levels in model.chains() for level in levels)
    if lines == 0:
        raise UsageError(f"{text}: no level is left; give caches, tlb4k or tlb2m")
    if lines > MOST_LINES:
        raise UsageError(f"{text}: the levels hold {lines:,} lines, more than {MOST_LINES:,}; try a larger line=")
    return model


def _value(model: Model, key: str, text: str) -> Any:
    """Return the value of the option ``key`` read from its text. Levels of caches are in lines of ``model.line`` bytes."""
    if key == "line":
        return model.line
    if key == "reach":
        reach = parse_size(text)
        if reach < 1:
            raise UsageError("reach is 1 byte at least")
        return reach
    if key == "touches":
        if text not in TOUCHES:
            raise unknown("touches", text, TOUCHES)
        return text
    return () if text == "none" else tuple(_level(key, part, model.line) for part in text.split("+"))


def _line(text: str) -> int:
    """Return the bytes of a cache line read from text; raise UsageError if it is not a power of two."""
    line = parse_size(text)
    if line < 1 or line & (line - 1):
        raise UsageError(f"line={text} is not a power of two")
    return line


def _level(key: str, text: str, line: int) -> Level:
    """Return a level read from `32KiB/8` (cache) or `64/4` (TLB): how much it holds, and in how many ways.

    `/full` is one set. ``key`` is the option; ``line`` is the bytes of a cache line.
    """
    found = _LEVEL.fullmatch(text)
    example = "32KiB/8" if key == "caches" else "64/4"
    if not found:
        raise UsageError(f"{key}: {text!r} is no level; write SIZE/WAYS or ENTRIES/WAYS, joined by +, such as {example}")
    held = parse_size(found[1])
    lines, rest = divmod(held, line) if key == "caches" else (held, 0)
    ways = lines if found[2] == FULL else int(found[2])
    if lines < 1 or rest or ways < 1 or lines % ways:
        unit = f"lines of {line} bytes" if key == "caches" else "entries"
        raise UsageError(f"{key}: {text} does not come to whole sets: it takes a multiple of {found[2]} {unit}, at least 1")
    return Level(lines, ways)
