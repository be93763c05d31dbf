"""Tiers as they are described: names, capacities, links, policies, compression."""

from __future__ import annotations

from dataclasses import dataclass

MOST_TIERS = 7
SCALE = 1000  # ratios are thousandths


@dataclass(frozen=True)
class Compression:
    """What a tier does to blocks: original / stored bytes by tag, and what that takes."""

    ratios: dict[str, tuple[int, ...]]  # tag, or "*" for all others -> thousandths, of which each block draws one
    pack: float = 0.0  # bytes per second, of the original; 0: takes no time
    unpack: float = 0.0


@dataclass(frozen=True)
class Tier:
    """One tier. The link is the one to the tier above; the first tier's is that of its own memory, and is not waited for."""

    name: str
    capacity: int  # bytes
    bandwidth: float  # bytes per second
    latency: int = 0  # ns
    policy: str = "best-fit"
    compression: Compression | None = None

    @property
    def ns_per_byte(self) -> float:
        return 1e9 / self.bandwidth


@dataclass(frozen=True)
class Plan:
    """How the tiers are used."""

    evict: str = "lru"
    uses: str = "auto"
    pinned: tuple[str, ...] = ()
    prefetch: int = 0  # events
    overlap: bool = False
    event_ns: int = 0  # time of an event, where the trace has no times
