"""Real machines as tiers. Rates are peaks of one direction.

The figures are from memory, not read off the documents that ``source`` names: compare before a decision hangs on one.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Preset:
    tiers: tuple[str, ...]
    source: str  # where its figures are to be looked up


PRESETS = {
    "a100": Preset(
        ("hbm=80GiB@2039GB/s", "dram=1TiB@32GB/s,10us", "nvme=8TiB@7GB/s,80us"),
        "NVIDIA A100 80 GB SXM data sheet (HBM2e 2,039 GB/s); PCIe 4.0 x16, 32 GB/s less overhead; one PCIe 4.0 x4 SSD "
        "(Samsung PM9A3 data sheet: 6.9 GB/s read, 80 µs)",
    ),
    "a100-40": Preset(
        ("hbm=40GiB@1555GB/s", "dram=1TiB@32GB/s,10us", "nvme=8TiB@7GB/s,80us"),
        "NVIDIA A100 40 GB data sheet (HBM2 1,555 GB/s); the rest as a100",
    ),
    "h100": Preset(
        ("hbm=80GiB@3.35TB/s", "dram=1TiB@64GB/s,10us", "nvme=8TiB@7GB/s,80us"),
        "NVIDIA H100 SXM data sheet (HBM3 3.35 TB/s); PCIe 5.0 x16, 64 GB/s; one PCIe 4.0 x4 SSD",
    ),
    "gh200": Preset(
        ("hbm=96GB@4TB/s", "lpddr=480GB@450GB/s,1us", "nvme=8TiB@14GB/s,80us"),
        "NVIDIA GH200 data sheet (HBM3 96 GB, 4 TB/s; NVLink-C2C 900 GB/s both ways, 450 GB/s each); one PCIe 5.0 x4 SSD",
    ),
    "rtx4090": Preset(
        ("gddr=24GiB@1008GB/s", "dram=128GiB@32GB/s,10us", "nvme=2TiB@7GB/s,80us"),
        "NVIDIA RTX 4090 data sheet (GDDR6X 1,008 GB/s, PCIe 4.0 x16); a desktop's DRAM and one PCIe 4.0 x4 SSD",
    ),
    "laptop": Preset(
        ("dram=16GiB@51.2GB/s", "zram=8GiB@20GB/s,1us,ratio=2.5,compress=2GB/s,decompress=4GB/s", "ssd=512GiB@3.5GB/s,100us"),
        "DDR4-3200 on two channels (51.2 GB/s); zram with lzo-rle, ratio and rates as in its makers' tests (our assumption, no "
        "data sheet); one PCIe 3.0 x4 SSD",
    ),
}
