"""Draw or read the lengths of prompts and answers, and draw the times at which requests arrive."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import NamedTuple

import numpy as np

from memtrace.errors import InputError, UsageError
from memtrace.trace.model import Int64s
from memtrace.workloads.chance import lognormal, whole

# Mean tokens of prompt and answer: Kwon et al. 2023, figure 11. The spreads (standard deviation / mean) are our choice.
MEANS = {"sharegpt": (161.31, 337.99), "alpaca": (19.31, 58.45)}
SPREADS = {"sharegpt": (1.2, 0.9), "alpaca": (0.7, 1.1)}


class Requests(NamedTuple):
    """Describe requests by columns, one element for each."""

    prompt: Int64s  # tokens
    output: Int64s  # tokens of the answer
    arrival: Int64s  # ns
    prefixed: np.ndarray  # whether the prompt begins with the shared prefix


def poisson(rng: np.random.Generator, count: int, rate: float) -> Int64s:
    """Return the arrival times, in ns, of `count` requests of a Poisson process with `rate` requests a second."""
    found: Int64s = np.cumsum(-np.log1p(-rng.random(count)) * (1e9 / rate)).astype(np.int64)
    return found


def drawn(rng: np.random.Generator, count: int, kind: str, means: tuple[float | None, float | None]) -> tuple[Int64s, Int64s]:
    """Return log-normal lengths of `count` prompts and answers, of at least one token, not yet shortened.

    `kind` is a key of MEANS; `means` replace its means where they are not None.
    """
    columns = []
    for mean, usual, spread in zip(means, MEANS[kind], SPREADS[kind], strict=True):
        columns.append(whole(lognormal(rng, count, mean or usual, spread), 1, 1 << 40))
    return columns[0], columns[1]


def from_file(path: str, count: int) -> tuple[Int64s, Int64s]:
    """Return `count` lengths of prompts and answers from a CSV with the columns prompt and output, repeated if there are fewer.

    Raises UsageError if there is no such file, InputError if it has no such lengths.
    """
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
    """Return prompt and answer length of a row; raises InputError, which names path and line, if they are not allowed."""
    try:
        prompt, output = int(row["prompt"]), int(row["output"])
    except (TypeError, ValueError):
        raise InputError(f"{path}:{line}: prompt and output are whole numbers of tokens") from None
    if min(prompt, output) < 1 or max(prompt, output) > 1 << 30:
        raise InputError(f"{path}:{line}: prompt and output are at least 1 token, at most 2^30")
    return prompt, output


def shortened(prompt: Int64s, output: Int64s, longest: int) -> tuple[Int64s, Int64s]:
    """Return the lengths shortened so that prompt and answer together have at most `longest` tokens.

    The prompt is shortened first, down to half of `longest`.
    """
    prompt = np.minimum(prompt, np.maximum(longest - output, longest // 2))
    return prompt, np.minimum(output, longest - prompt)
