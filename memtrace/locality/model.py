"""The caches and TLBs of a model: presets, and the text `NAME:key=value,...` that chooses and changes one."""

from __future__ import annotations

import re
from dataclasses import dataclass, fields, replace
from typing import Any

from memtrace.errors import UsageError
from memtrace.names import unknown
from memtrace.units import parse_size

MOST_LINES = 1 << 26  # of all levels: 8 bytes each
UNLIMITED = 1 << 62
PAGES = {"tlb4k": 4 << 10, "tlb2m": 2 << 20}  # bytes of a page
TOUCHES = ("auto", "accesses", "lifetimes")
FULL = "full"

_LEVEL = re.compile(r"([^/]+)/([0-9]+|full)")


@dataclass(frozen=True)
class Level:
    """A set-associative level with LRU replacement; ``lines`` is a multiple of ``ways``."""

    lines: int
    ways: int

    @property
    def sets(self) -> int:
        return self.lines // self.ways


@dataclass(frozen=True)
class Model:
    """Levels, nearest first. ``caches`` hold lines of ``line`` bytes; ``tlb4k`` and ``tlb2m`` hold pages of 4 KiB and 2 MiB.

    ``touches``: what of a trace touches memory: its ``accesses``, or its ``lifetimes`` (derived), or ``auto``: its accesses if
    it has any. ``reach``: the most bytes of a block that one touch comes to.
    """

    name: str
    caches: tuple[Level, ...]
    tlb4k: tuple[Level, ...]
    tlb2m: tuple[Level, ...]
    line: int = 64
    touches: str = "auto"
    reach: int = UNLIMITED

    def chains(self) -> list[tuple[str, int, tuple[Level, ...]]]:
        """Name, bytes of a line, and levels of each chain that there is."""
        found = [("cache", self.line, self.caches), *((name, page, getattr(self, name)) for name, page in PAGES.items())]
        return [chain for chain in found if chain[2]]

    def level_names(self) -> list[str]:
        """`L1`, `L2`, ... of the caches, then `4 KiB TLB1` and so on; in the order of the counts."""
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
    """The model of `skylake-sp`, or of a preset with changes: `skylake:caches=32KiB/8+1MiB/16,reach=4KiB`."""
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
    line = parse_size(text)
    if line < 1 or line & (line - 1):
        raise UsageError(f"line={text} is not a power of two")
    return line


def _level(key: str, text: str, line: int) -> Level:
    """`32KiB/8` of a cache, `64/4` of a TLB: what it holds, and in how many ways (`full`: in one set)."""
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
