"""Describe a replay over tiers: the name, capacity, link, policy and compression of each tier, and how the tiers are used."""

from __future__ import annotations

from dataclasses import dataclass

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
