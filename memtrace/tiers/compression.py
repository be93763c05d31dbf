"""How far blocks shrink in a compressed tier: a ratio for all, one by tag, or measured on a file of sample data.

`ratio=2.5`, `ratio=[activation:1.8,weight:1.2,*:1]`, `ratio=sample:FILE`. A sample is cut into pieces of 64 KiB, each is
compressed by zlib at level 1, and every block draws one of the pieces' ratios by the number of its alloc: so blocks of one
size are stored in many, and a tier of them has a fragmentation of its own. Pieces that do not shrink by 1/16 are kept as they
are: ratio 1. `compress` and `decompress` are the rates of the original bytes, 0 or absent: no time.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from memtrace.errors import InputError, UsageError
from memtrace.tiers.model import SCALE, Compression

PIECE = 1 << 16
MOST_PIECES = 256
MOST_RATIO = 1000
LEAST_GAIN = 16 / 15

_RATIO = re.compile(r"[0-9]+(\.[0-9]{1,3})?")


def parse_compression(ratio: Any, compress: Any, decompress: Any) -> Compression | None:
    """None for a tier that does not compress; UsageError for what is wrong."""
    from memtrace.tiers.grammar import parse_bandwidth

    if ratio is None:
        if compress is not None or decompress is not None:
            raise UsageError("compress and decompress need a ratio\ntry: ratio=2")
        return None
    rates = [parse_bandwidth(str(rate)) if rate is not None else 0.0 for rate in (compress, decompress)]
    return Compression(parse_ratios(ratio), *rates)


def parse_ratios(given: Any) -> dict[str, tuple[int, ...]]:
    if isinstance(given, dict):
        return {str(tag): (one_ratio(str(value)),) for tag, value in given.items()}
    text = str(given)
    if text.startswith("sample:"):
        return {"*": measured(Path(text.removeprefix("sample:")))}
    if text.startswith("[") and text.endswith("]"):
        pairs = [part.rpartition(":") for part in text[1:-1].split(",")]
        if any(not mark or not tag for tag, mark, _ in pairs):
            raise UsageError(f"ratio={text}: each part is TAG:RATIO, such as [activation:1.8,*:1]")
        return {tag.strip(): (one_ratio(value.strip()),) for tag, _, value in pairs}
    return {"*": (one_ratio(text),)}


def one_ratio(text: str) -> int:
    """Thousandths of `2.5`: original over stored."""
    if not _RATIO.fullmatch(text):
        raise UsageError(f"{text!r} is no ratio; write original over stored with three decimals at most, such as 2.5")
    thousandths = round(float(text) * SCALE)
    if not SCALE <= thousandths <= MOST_RATIO * SCALE:
        raise UsageError(f"a ratio of {text} is not between 1 and {MOST_RATIO}: it is original over stored")
    return thousandths


def measured(path: Path) -> tuple[int, ...]:
    """The ratios of pieces of a file, evenly spread over it, in thousandths."""
    import zlib

    try:
        pieces = path.stat().st_size // PIECE
        if pieces == 0:
            raise InputError(f"{path}: a sample has 64 KiB at least")
        found = []
        with path.open("rb") as file:
            for k in range(min(pieces, MOST_PIECES)):
                file.seek(k * pieces // min(pieces, MOST_PIECES) * PIECE)
                ratio = PIECE / len(zlib.compress(file.read(PIECE), 1))
                found.append(min(round(ratio * SCALE), MOST_RATIO * SCALE) if ratio >= LEAST_GAIN else SCALE)
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror or error}") from None
    return tuple(found)
