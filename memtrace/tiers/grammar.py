"""Parse the text of a tier, `NAME=SIZE@BANDWIDTH[,LATENCY][,key=value...]`, and check the order of tiers.

Every error says which part is wrong and what to write instead.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from memtrace.errors import UsageError
from memtrace.names import unknown
from memtrace.tiers.compression import parse_compression
from memtrace.tiers.model import MOST_TIERS, Tier
from memtrace.units import BINARY, DECIMAL, parse_size

FORM = "NAME=SIZE@BANDWIDTH[,LATENCY], such as dram=1TiB@60GB/s,10us"
# Nanoseconds of each unit.
TIMES = {"ns": 1, "us": 10**3, "µs": 10**3, "ms": 10**6, "s": 10**9}
# Keys that may follow the size, the bandwidth and the latency.
KEYS = ("policy", "ratio", "compress", "decompress")
LONGEST = 10**9  # latency, in ns

_TIME = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*([A-Za-zµ]*)")


def parse_tier(text: str) -> Tier:
    """Return the tier that a text of the command line describes. Raises UsageError, which says which part is wrong."""
    from memtrace.engine.registry import split_commas

    name, mark, rest = text.partition("=")
    if not mark or not rest:
        raise UsageError(f"--tier {text}: is not {FORM}")
    head, *parts = split_commas(rest)
    size, mark, bandwidth = head.partition("@")
    if not mark:
        raise UsageError(f"--tier {text}: has no bandwidth\ntry: --tier {name}={size}@60GB/s")
    given: dict[str, Any] = {"name": name, "size": size, "bandwidth": bandwidth}
    for number, part in enumerate(parts):
        key, mark, value = part.partition("=")
        if mark and key.strip() in given:
            raise UsageError(f"--tier {text}: {key.strip()} is there twice")
        if mark:
            given[key.strip()] = value.strip()
        elif number == 0:
            given["latency"] = part
        else:
            raise UsageError(f"--tier {text}: {part!r} is not key=value; keys: {', '.join(KEYS)}")
    try:
        return make_tier(given)
    except UsageError as error:
        raise UsageError(f"--tier {text}: {error}") from None


def make_tier(given: dict[str, Any]) -> Tier:
    """Return a tier from its parts by name: name, size, bandwidth, latency, policy, ratio, compress, decompress.

    All but the first three may be absent. Raises UsageError for an unknown, missing or wrong part.
    """
    known = ("name", "size", "bandwidth", "latency", *KEYS)
    for key in given:
        if key not in known:
            raise unknown("part of a tier", key, known)
    for key in ("name", "size", "bandwidth"):
        if not str(given.get(key, "")).strip():
            raise UsageError(f"{key} is missing")
    name = str(given["name"]).strip()
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_-]{0,15}", name):
        raise UsageError(f"{name!r} is no name for a tier: a letter, then letters, digits, - and _, 16 at most")
    policy = str(given.get("policy", "best-fit"))
    policy = policy[1:-1] if policy.startswith("[") and policy.endswith("]") else policy
    return Tier(
        name,
        parse_size(str(given["size"])),
        parse_bandwidth(str(given["bandwidth"])),
        parse_time(str(given.get("latency", "0ns"))),
        policy,
        parse_compression(given.get("ratio"), given.get("compress"), given.get("decompress")),
    )


def parse_bandwidth(text: str) -> float:
    """Return the bytes per second of a text such as `60GB/s`. Raises UsageError for another form, for bits, and for 0."""
    amount, mark, per = text.strip().partition("/")
    if not mark or per.strip() != "s":
        units = {name.lower(): name for name in (*BINARY, *DECIMAL)}
        shown = amount if amount[-2:].lower() in units or amount[-3:].lower() in units else "60GB"
        raise UsageError(f"{text!r} is no bandwidth; write bytes per second: {shown}/s")
    if amount.strip().endswith(("b", "bit")) and not amount.strip().endswith("ib"):
        raise UsageError(f"{text!r} looks like bits; write bytes per second: 60GB/s")
    rate = parse_size(amount)
    if rate == 0:
        raise UsageError(f"a bandwidth of {text} moves nothing; leave the tier out, or give what it does move")
    return float(rate)


def parse_time(text: str) -> int:
    """Return the nanoseconds of a text such as `10us`. Raises UsageError for another form and for more than a second."""
    found = _TIME.fullmatch(text.strip())
    if not found or (not found[2] and float(found[1])):
        raise UsageError(f"{text!r} is no time; write 80us, 500ns, 10ms")
    if found[2] and found[2] not in TIMES:
        raise UsageError(f"{text!r} has an unknown unit {found[2]!r}; known: ns, us, ms, s")
    nanoseconds = round(float(found[1]) * TIMES[found[2] or "ns"])
    if nanoseconds > LONGEST:
        raise UsageError(f"a latency of {text} is more than a second")
    return nanoseconds


def check_order(tiers: Sequence[Tier]) -> None:
    """Check that the tiers go from the fastest to the slowest, that their names differ, and that there are 1 to MOST_TIERS.

    Raises UsageError otherwise.
    """
    if not tiers:
        raise UsageError(f"no tier is given\ntry: --tier {FORM}, or --preset h100")
    if len(tiers) > MOST_TIERS:
        raise UsageError(f"{len(tiers)} tiers are given; the most is {MOST_TIERS}")
    for number, tier in enumerate(tiers):
        twin = next((k for k in range(number) if tiers[k].name.lower() == tier.name.lower()), None)
        if twin is not None:
            raise UsageError(f"two tiers are called {tier.name}: the {twin + 1}. and the {number + 1}.")
    for above, below in pairwise(tiers):
        if below.bandwidth > above.bandwidth:
            raise UsageError(
                f"tiers go from the fastest to the slowest, but {below.name} is faster than {above.name}, which is before it\n"
                f"try: give {below.name} first"
            )
