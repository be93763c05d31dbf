"""Tiers of real machines, by name, with peak rates of one direction.

The data sheets of NVIDIA and Samsung could not be read: ``source`` names, by title, the pages on which each figure was looked
up, and ``assumed`` names the figures that were found nowhere. A tier has one rate both ways, that of reading; SSDs write at
about half of it.
"""

from __future__ import annotations

from dataclasses import dataclass

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

    tiers: tuple[str, ...]  # in the form of `grammar.parse_tier`, the fastest first
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
