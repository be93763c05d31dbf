"""Lengths of prompts and answers, and when requests arrive."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from memtrace.errors import InputError, UsageError
from memtrace.trace.model import Int64s
from memtrace.workloads.chance import lognormal, whole

# Mean tokens of prompt and answer: Kwon et al. 2023, figure 11. The spreads (deviation by mean) are ours.
MEANS = {"sharegpt": (161.31, 337.99), "alpaca": (19.31, 58.45)}
SPREADS = {"sharegpt": (1.2, 0.9), "alpaca": (0.7, 1.1)}


@dataclass(frozen=True)
class Requests:
    prompt: Int64s  # tokens
    output: Int64s
    arrival: Int64s  # ns
    prefixed: np.ndarray  # whether it begins with the shared prefix


def poisson(rng: np.random.Generator, count: int, rate: float) -> Int64s:
    """Arrivals in ns, `rate` a second."""
    found: Int64s = np.cumsum(-np.log1p(-rng.random(count)) * (1e9 / rate)).astype(np.int64)
    return found


def drawn(rng: np.random.Generator, count: int, kind: str, means: tuple[float | None, float | None]) -> tuple[Int64s, Int64s]:
    """Log-normal lengths of at least one token, not yet cut."""
    columns = []
    for mean, usual, spread in zip(means, MEANS[kind], SPREADS[kind], strict=True):
        columns.append(whole(lognormal(rng, count, mean or usual, spread), 1, 1 << 40))
    return columns[0], columns[1]


def from_file(path: str, count: int) -> tuple[Int64s, Int64s]:
    """The columns prompt and output of a CSV, again and again until there are enough."""
    file = Path(path)
    if not file.is_file():
        raise UsageError(f"lengths={path}: no such file; it is sharegpt, alpaca, or a CSV with columns prompt,output")
    with file.open(newline="") as stream:
        rows = csv.DictReader(stream)
        if not {"prompt", "output"} <= set(rows.fieldnames or ()):
            raise InputError(f"{path}:1: columns prompt and output are needed; there are {', '.join(rows.fieldnames or ())}")
        pairs = [_pair(path, line, row) for line, row in enumerate(rows, 2)]
    if not pairs:
        raise InputError(f"{path}: it holds no lengths")
    table = np.array(pairs, np.int64)
    repeated = table[np.arange(count) % len(pairs)]
    return repeated[:, 0].copy(), repeated[:, 1].copy()


def _pair(path: str, line: int, row: dict[str, str]) -> tuple[int, int]:
    try:
        prompt, output = int(row["prompt"]), int(row["output"])
    except (TypeError, ValueError):
        raise InputError(f"{path}:{line}: prompt and output are whole numbers of tokens") from None
    if min(prompt, output) < 1 or max(prompt, output) > 1 << 30:
        raise InputError(f"{path}:{line}: prompt and output are at least 1 token, at most 2^30")
    return prompt, output


def cut(prompt: Int64s, output: Int64s, longest: int) -> tuple[Int64s, Int64s]:
    """So that both together fit: the prompt gives way first, down to half."""
    prompt = np.minimum(prompt, np.maximum(longest - output, longest // 2))
    return prompt, np.minimum(output, longest - prompt)
