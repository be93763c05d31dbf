"""Read descriptions of tiers: `NAME=SIZE@BANDWIDTH[,LATENCY][,key=value...]`, the tables of a TOML file, or a machine's preset.

Every error says which part is wrong and what to write instead. The presets are peak rates of one direction. The data sheets of
NVIDIA and Samsung could not be read: ``source`` names, by title, the pages on which each figure was looked up, and ``assumed``
names the figures that were found nowhere. A tier has one rate both ways, that of reading; SSDs write at about half of it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from memtrace.errors import InputError, UsageError
from memtrace.names import unknown
from memtrace.tiers.tier import MOST_TIERS, Tier, parse_compression
from memtrace.units import BINARY, DECIMAL, parse_size

PCIE = (
    "PCIe 4.0 x16 31.5 GB/s, 5.0 x16 63.0 GB/s each way (HPC notes, 'PCI Express bus'); 10 us of a small copy is the 'constant "
    "overhead of about 10 microseconds' of cudaMemcpy (University of Virginia, 'Memory Transfer Overhead', PCIe 2.0; 'DualPath', "
    "arXiv 2602.21548, measures 5-7 us for cudaMemcpyAsync)"
)
PM9A3 = (
    "PCIe 4.0 x4 SSD: Samsung PM9A3, 7.68 TB, 6.5 GB/s read, 3.5 GB/s written (ComputerBase 2020, 'Samsung PM9A3 E1.S'); 80 us "
    "is the average latency of its sibling PM9A1 (Sysparts Direct, 'Samsung MZVL21T0HCLR PM9A1 1TB')"
)
DRAM = "how much DRAM the machine has"


@dataclass(frozen=True)
class Preset:
    """The tiers of a machine, and where their figures come from."""

    tiers: tuple[str, ...]  # in the form of `parse_tier`, the fastest first
    source: str  # where the figures were looked up
    assumed: str  # figures without a source


PRESETS = {
    "a100": Preset(
        ("hbm=80GiB@2039GB/s", "dram=1TiB@31.5GB/s,10us", "nvme=7.68TB@6.5GB/s,80us"),
        f"A100 SXM4 80 GB: HBM2e 2,039 GB/s, PCIe 4.0 (Glenn K. Lockwood, 'A100', from NVIDIA's data sheet); {PCIE}; {PM9A3}",
        DRAM,
    ),
    "a100-40": Preset(
        ("hbm=40GiB@1555GB/s", "dram=1TiB@31.5GB/s,10us", "nvme=7.68TB@6.5GB/s,80us"),
        f"A100 SXM4 40 GB: HBM2 1,555 GB/s (Glenn K. Lockwood, 'A100'; PC2 Paderborn, 'NVIDIA A100 40GB'); {PCIE}; {PM9A3}",
        DRAM,
    ),
    "h100": Preset(
        ("hbm=80GiB@3.35TB/s", "dram=1TiB@63GB/s,10us", "nvme=7.68TB@6.5GB/s,80us"),
        "H100 SXM5: HBM3 3.35 TB/s, PCIe 5.0 128 GB/s both ways together (Glenn K. Lockwood, 'H100'; Scaleway documentation, "
        f"'Migrating from H100-PCIe to H100-SXM'); {PCIE}; {PM9A3}",
        DRAM,
    ),
    "gh200": Preset(
        ("hbm=96GB@4TB/s", "lpddr=480GB@450GB/s,1us", "nvme=15.36TB@13GB/s,80us"),
        "GH200: HBM3 96 GB, 4,000 GB/s; LPDDR5X 480 GB, 546 GB/s; NVLink-C2C 450 GB/s each way, which is the slower (DataCrunch, "
        "'Data Movement in NVIDIA's Superchip Era'); PCIe 5.0 x4 SSD: Samsung PM1743, 13 GB/s read, 6.6 GB/s written, to 15.36 "
        "TB (Clubic, 'Samsung annonce un SSD PCI 5.0')",
        "the latencies of NVLink-C2C and of the SSD",
    ),
    "rtx4090": Preset(
        ("gddr=24GiB@1008GB/s", "dram=128GiB@31.5GB/s,10us", "nvme=1TB@7GB/s,80us"),
        "RTX 4090: GDDR6X 1,008 GB/s, PCIe 4.0 x16 (octo24, 'Inno3D GeForce RTX 4090 iChill X3'; Puget Systems, 'NVIDIA GeForce "
        f"RTX 4090 24GB'); {PCIE}; PCIe 4.0 x4 SSD: Samsung PM9A1 1 TB, 7.0 GB/s read, 5.1 GB/s written, 80 us (Sysparts Direct)",
        DRAM,
    ),
    "laptop": Preset(
        ("dram=16GiB@51.2GB/s", "zram=8GiB@20GB/s,1us,ratio=2.7,compress=1.7GB/s,decompress=4GB/s", "ssd=1TB@3GB/s,100us"),
        "DDR4-3200: 3,200 MT/s of 64 bits on two channels (APC magazine, issue 424921); zram with lzo-rle: ratio 2.68 to 2.74 "
        "('Zram Performance Analysis'); LZO written at 1,642,744 and read at 3,957,026 of iozone's KB/s by three streams (Linux "
        "commit 'zram: add lz4 algorithm backend'); PCIe 3.0 x4 SSD: Samsung PM981 1 TB, 3.0 GB/s read (ssdmeter)",
        "how much DRAM and zram, the rate and latency at which zram is reached, and the latency of the SSD",
    ),
}


FORM = "NAME=SIZE@BANDWIDTH[,LATENCY], such as dram=1TiB@60GB/s,10us"
# Nanoseconds of each unit.
TIMES = {"ns": 1, "us": 10**3, "µs": 10**3, "ms": 10**6, "s": 10**9}
# Keys that may follow the size, the bandwidth and the latency.
KEYS = ("policy", "ratio", "compress", "decompress")
LONGEST = 10**9  # latency, in ns
_TIME = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*([A-Za-zµ]*)")


def parse_tier(text: str) -> Tier:
    """Return the tier that a text of the command line describes. Raises UsageError, which says which part is wrong."""
    from memtrace.names import split_commas

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


def tiers_from_options(given: Sequence[str], file: str | None, preset: str | None, policy: str | None = None) -> tuple[Tier, ...]:
    """Return the tiers, fastest first, from exactly one of the texts ``given``, the path ``file`` and the name ``preset``.

    ``policy`` is that of the tiers that name none. Raises UsageError for a wrong description, InputError for a wrong file.
    """
    ways = [way for way, there in (("--tier", given), ("--tiers", file), ("--preset", preset)) if there]
    if len(ways) > 1:
        raise UsageError(f"{' and '.join(ways)} both describe the tiers; give one of them")
    if file:
        tiers = from_file(Path(file), policy)
    elif preset and preset not in PRESETS:
        raise unknown("preset", preset, PRESETS)
    else:
        texts = PRESETS[preset].tiers if preset else given
        tiers = [
            parse_tier(text if policy is None or "policy=" in text else f"{text},{policy_part(text, policy)}") for text in texts
        ]
    check_order(tiers)
    return tuple(tiers)


def policy_part(text: str, policy: str) -> str:
    """Return the text that adds ``policy`` to a tier's ``text``, with a latency of 0 ns before it if that has none."""
    latency = "" if any("=" not in part for part in text.partition("=")[2].split(",")[1:2]) else "0ns,"
    return f"{latency}policy=[{policy}]"


def from_file(path: Path, policy: str | None) -> list[Tier]:
    """Return the tiers of the tables `[[tier]]` in a TOML file; ``policy`` is that of the tables that name none.

    Raises InputError, which names the file and the table.
    """
    import tomllib

    try:
        document = tomllib.loads(path.read_text())
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}") from None
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        wrong = error if isinstance(error, ValueError) else "its values are nested too deeply"
        raise InputError(f"{path}: is no TOML: {wrong}") from None
    tables = document.pop("tier", None)
    if document:
        raise InputError(f"{path}: {next(iter(document))!r} is not known there; tiers are tables [[tier]]")
    if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
        raise InputError(
            f'{path}: has no tables [[tier]]\ntry: [[tier]] and below it name = "hbm", size = "80GiB", bandwidth = "3.35TB/s"'
        )
    tiers = []
    for number, table in enumerate(tables, 1):
        try:
            tiers.append(make_tier(table if policy is None else {"policy": policy, **table}))
        except UsageError as error:
            raise InputError(f"{path}: tier {number}: {error}") from None
    return tiers
