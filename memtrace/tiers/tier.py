"""Describe a replay over tiers: each tier's name, capacity, link, policy and compression, and how the tiers are used.

Compression ratios are read from text here: `ratio=2.5`, `ratio=[activation:1.8,weight:1.2,*:1]` or `ratio=sample:FILE`. A ratio
is original / stored bytes. A sample is cut into pieces of 64 KiB, which zlib compresses at level 1, and every block draws the
ratio of one piece, chosen by the event of its alloc. So blocks of one size take different sizes in the tier, which has
fragmentation of its own. Pieces that do not shrink by 1/16 are stored as they are: ratio 1. `compress` and `decompress` are
rates in original bytes per second; if one is 0 or absent, that takes no time.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from memtrace.errors import InputError, UsageError

MOST_TIERS = 7  # a block keeps a bit for each tier, in a signed byte
SCALE = 1000  # compression ratios are integers, in thousandths


@dataclass(frozen=True)
class Compression:
    """How a tier compresses blocks: compression ratios (original / stored bytes), and how fast."""

    ratios: dict[str, tuple[int, ...]]  # tag, or "*" for all others -> ratios in thousandths; each block draws one
    pack: float = 0.0  # bytes of the original that are compressed per second; 0: compression takes no time
    unpack: float = 0.0  # bytes of the original that are decompressed per second; 0: takes no time


@dataclass(frozen=True)
class Tier:
    """One tier of memory and its link to the tier above.

    The link of the first tier is that of its own memory, which the program does not wait for.
    """

    name: str
    capacity: int  # bytes
    bandwidth: float  # of the link: bytes per second, the same both ways
    latency: int = 0  # of the link: ns per transfer
    policy: str = "best-fit"  # placement policy with its options
    compression: Compression | None = None  # None: blocks are stored as they are

    @property
    def ns_per_byte(self) -> float:
        """Return the nanoseconds that a byte takes over the link."""
        return 1e9 / self.bandwidth


@dataclass(frozen=True)
class Plan:
    """How the tiers are used: the options of a replay."""

    evict: str = "lru"  # eviction rule, of `eviction.RULES`
    uses: str = "auto"  # rule for when blocks are used, of `uses.RULES`
    pinned: tuple[str, ...] = ()  # tags whose blocks never leave the tier that they are in
    prefetch: int = 0  # events by which blocks are brought up before their use; 0: no prefetch
    overlap: bool = False  # transfers run beside the program
    event_ns: int = 0  # the program's own time per event, where the trace has no times


PIECE = 1 << 16  # bytes
MOST_PIECES = 256  # of a sample
MOST_RATIO = 1000
LEAST_GAIN = 16 / 15  # ratio below which a piece is kept as it is
_RATIO = re.compile(r"[0-9]+(\.[0-9]{1,3})?")


def parse_compression(ratio: Any, compress: Any, decompress: Any) -> Compression | None:
    """Return the compression of a tier from the values of its keys ratio, compress and decompress, None for an absent one.

    None is returned for a tier without a ratio, which does not compress. Raises UsageError for a wrong value.
    """
    from memtrace.tiers.description import parse_bandwidth

    if ratio is None:
        if compress is not None or decompress is not None:
            raise UsageError("compress and decompress need a ratio\ntry: ratio=2")
        return None
    rates = [parse_bandwidth(str(rate)) if rate is not None else 0.0 for rate in (compress, decompress)]
    return Compression(parse_ratios(ratio), *rates)


def parse_ratios(given: Any) -> dict[str, tuple[int, ...]]:
    """Return tag, or "*" for all others -> ratios in thousandths, from `2.5`, `[tag:ratio,...]`, `sample:FILE` or a table by tag.

    Raises UsageError for a wrong form or ratio, and InputError for a sample that cannot be read.
    """
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
    """Return a ratio such as `2.5` in thousandths. Raises UsageError if it is not between 1 and MOST_RATIO."""
    if not _RATIO.fullmatch(text):
        raise UsageError(f"{text!r} is no ratio; write original over stored with three decimals at most, such as 2.5")
    thousandths = round(float(text) * SCALE)
    if not SCALE <= thousandths <= MOST_RATIO * SCALE:
        raise UsageError(f"a ratio of {text} is not between 1 and {MOST_RATIO}: it is original over stored")
    return thousandths


def measured(path: Path) -> tuple[int, ...]:
    """Return the ratios, in thousandths, of pieces of the file that are evenly spread over it: all, or MOST_PIECES of them.

    Raises InputError if the file cannot be read or is smaller than a piece.
    """
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
