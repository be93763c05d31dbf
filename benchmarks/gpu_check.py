"""Check on a real GPU that replays are what PyTorch does: `python -m benchmarks.gpu_check`, in a few minutes.

A small GPT is trained for some steps, with a fixed length and with varying lengths, in a process of its own under each of six
settings. Each writes a snapshot, and `memtrace.whatif` compares a replay of it with the recorded addresses. It needs PyTorch with
CUDA; nothing is downloaded.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

SETTINGS = (
    "",
    "expandable_segments:True",
    "max_split_size_mb:64",
    "roundup_power2_divisions:8",
    "garbage_collection_threshold:0.6",
    "max_split_size_mb:128,roundup_power2_divisions:4",
)
LENGTHS = {"fixed": (512,), "varying": (512, 130, 384, 64, 497, 256)}
STEPS, BATCH, WIDTH, HEADS, LAYERS, VOCABULARY = 12, 8, 512, 8, 6, 8192
SECONDS = 60  # that one process may take


def train(kind: str, path: str) -> None:
    """Train the model with sequences of the lengths of this kind, and write the snapshot to ``path``."""
    import torch

    import memtrace

    torch.manual_seed(0)
    layer = torch.nn.TransformerEncoderLayer(WIDTH, HEADS, 4 * WIDTH, batch_first=True, norm_first=True)
    model: Any = torch.nn.Sequential(
        torch.nn.Embedding(VOCABULARY, WIDTH), torch.nn.TransformerEncoder(layer, LAYERS), torch.nn.Linear(WIDTH, VOCABULARY)
    ).cuda()
    optimizer = torch.optim.AdamW(model.parameters())
    with memtrace.torch.record(path):
        for step in range(STEPS):
            length = LENGTHS[kind][step % len(LENGTHS[kind])]
            tokens = torch.randint(VOCABULARY, (BATCH, length + 1), device="cuda")
            with torch.autocast("cuda", torch.bfloat16):
                logits = model(tokens[:, :-1])
                loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten())
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()


def missing() -> str | None:
    """Return why there is nothing to check; None if PyTorch and a GPU are there."""
    try:
        import torch
    except ImportError:
        return "PyTorch is not installed: pip install torch"
    return None if torch.cuda.is_available() else "PyTorch sees no GPU"


def check(folder: Path) -> bool:
    """Record and compare under all settings, print a line for each, and return whether all addresses and peaks are equal."""
    from memtrace.gpu.answer import whatif

    good = True
    for conf in SETTINGS:
        for kind in LENGTHS:
            path = folder / f"{kind}-{SETTINGS.index(conf)}.pickle"
            environment = {**os.environ, "PYTORCH_CUDA_ALLOC_CONF": conf, "PYTORCH_ALLOC_CONF": conf}
            command = [sys.executable, "-m", "benchmarks.gpu_check", kind, str(path)]
            subprocess.run(command, env=environment, check=True, timeout=SECONDS)
            found = whatif(path, confs=("",))
            same = found.fidelity
            equal = same is not None and same.exact and same.blocks_equal
            good &= equal
            counts = f"{same.addresses_equal:,} of {same.addresses_total:,} addresses" if same is not None else "no events"
            print(f"{'equal ' if equal else 'DIFFERS'} {kind:8} {conf or 'defaults':50} {counts}, PyTorch {found.versions}")
    return good


def main() -> int:
    """Run the check, or one training if a kind and a path are given; return the exit code."""
    if len(sys.argv) == 3:
        train(sys.argv[1], sys.argv[2])
        return 0
    if reason := missing():
        print(f"nothing was checked: {reason}")
        return 1
    with tempfile.TemporaryDirectory() as folder:
        return 0 if check(Path(folder)) else 1


if __name__ == "__main__":
    sys.exit(main())
