"""gpt-train against facts: a recording, published parameter counts, published activation bytes, bytes of model states."""

from __future__ import annotations

from collections import defaultdict

import numpy as np
import pytest
from conftest import ROOT

from memtrace.reading import read
from memtrace.reading.traces import recipe_of
from memtrace.trace import Op
from memtrace.workloads.events import Piece
from memtrace.workloads.transformer.models import PRESETS
from memtrace.workloads.transformer.setup import TAGS, Setup
from memtrace.workloads.transformer.training import Training, lengths

RECORDED = "gpt-train:layers=6,hidden=512,heads=8,context=512,batch=8,dtype=fp32,tied=false,steps=8"

# From the published weights: numbers in all parameters (the output layer counted once where it is tied).
PARAMETERS = {
    "gpt2": 124_439_808,
    "gpt2-medium": 354_823_168,
    "gpt2-large": 774_030_080,
    "gpt2-xl": 1_557_611_200,
    "llama-7b": 6_738_415_616,
    "llama-13b": 13_015_864_320,
    "llama-70b": 68_976_648_192,
}


def lives(spec: str) -> list[tuple[int, int, int]]:
    """(op, size, allocs since the block's own) of every event."""
    found, born, allocs = [], {}, 0
    for events in read(spec).batches():
        for op, block, size in zip(events.op.tolist(), events.block.tolist(), events.size.tolist(), strict=True):
            if op == Op.ALLOC:
                born[block] = (allocs, size)
                found.append((op, size, 0))
                allocs += 1
            else:
                birth, size = born.pop(block)
                found.append((op, size, allocs - birth))
    return found


def test_it_is_the_recording_event_for_event() -> None:
    assert lives(RECORDED) == lives(str(ROOT / "traces" / "gpt-6x512-fp32.csv"))


def test_it_is_another_recording_event_for_event() -> None:
    """Recorded as the first was (PyTorch 2.14 on a stand-in for the driver), from a smaller model."""
    options = "layers=2,hidden=256,heads=4,vocab=8000,context=256,batch=4,dtype=fp32,tied=false,steps=2"
    assert lives(f"gpt-train:{options}") == lives(str(ROOT / "tests" / "data" / "gpt-2x256-fp32.csv.gz"))


@pytest.mark.parametrize("preset", PARAMETERS)
def test_parameters_of_published_models(preset: str) -> None:
    assert PRESETS[preset].parameters() == PARAMETERS[preset]


def test_parameters_of_models_that_were_not_published() -> None:
    assert PRESETS["gpt3-6.7b"].parameters() == pytest.approx(6_660e6, rel=0.001)  # Brown et al. 2020, table D.1
    assert PRESETS["gpt3-13b"].parameters() == pytest.approx(12_850e6, rel=0.001)
    assert PRESETS["gpt3-175b"].parameters() == pytest.approx(174_600e6, rel=0.001)


def live_by_tag(spec: str, until_logits: int = 0) -> dict[str, int]:
    """Live bytes by tag at the end, or before the first temporary block of this size."""
    held: dict[str, int] = defaultdict(int)
    blocks: dict[int, tuple[str, int]] = {}
    for piece in recipe_of(spec).make().pieces:
        for op, id, size, tag in zip(piece.op.tolist(), piece.id.tolist(), piece.size.tolist(), piece.tag.tolist(), strict=True):
            if op == Op.FREE:
                name, size = blocks.pop(id)
                held[name] -= size
                continue
            if until_logits and TAGS[tag] == "temporary" and size == until_logits:
                return held
            blocks[id] = (TAGS[tag], size)
            held[TAGS[tag]] += size
    return held


S, B, H, A, V = 1024, 4, 1024, 16, 400_000
SBH, SCORES = S * B * H, 5 * A * S / H


@pytest.mark.parametrize(
    ("options", "shards", "expected"),
    [
        ("checkpointing=none", 1, SBH * (34 + SCORES)),
        ("checkpointing=selective", 1, SBH * 34),
        ("checkpointing=full", 1, SBH * 2),
        ("tensor_parallel=4", 4, SBH * (10 + 24 / 4 + SCORES / 4)),
        ("tensor_parallel=4,sequence_parallel=true", 4, SBH / 4 * (34 + SCORES)),
        ("tensor_parallel=4,checkpointing=selective", 4, SBH * (10 + 24 / 4)),
        ("tensor_parallel=4,sequence_parallel=true,checkpointing=selective", 4, SBH / 4 * 34),
    ],
)
def test_activation_bytes_of_a_layer(options: str, shards: int, expected: float) -> None:
    """Korthikanti et al. 2022, table 2: what one more layer keeps for the backward pass."""
    spec = f"gpt-train:hidden={H},heads={A},seq={S},batch={B},vocab={V},dtype=fp16,attention=math,dropout=true,steps=1,{options}"
    logits = S * B * V // shards * 2
    two, three = (live_by_tag(f"{spec},layers={layers}", logits)["activation"] for layers in (2, 3))
    assert three - two == pytest.approx(expected, rel=0.01)


@pytest.mark.parametrize(
    ("options", "bytes"),
    [
        ("dtype=bf16,optimizer=adam", 16),  # Rajbhandari et al. 2020: 2 + 2 + 12
        ("dtype=fp32,optimizer=adamw", 16),
        ("dtype=fp32,optimizer=sgd", 8),
        ("dtype=bf16,optimizer=sgd", 8),
        ("dtype=bf16,data_parallel=64,zero=1", 4 + 12 / 64),
        ("dtype=bf16,data_parallel=64,zero=2", 2 + 14 / 64),
        ("dtype=bf16,data_parallel=64,zero=3", 16 / 64),
    ],
)
def test_model_states(options: str, bytes: float) -> None:
    spec = f"gpt-train:preset=gpt2,steps=1,batch=1,{options}"
    held = live_by_tag(spec)
    states = held["weight"] + held["gradient"] + held["optimizer"]
    assert states == pytest.approx(bytes * PARAMETERS["gpt2"], rel=1e-4)
    assert states == int(recipe_of(spec).make().facts["model_state_bytes"])
    if "zero" not in options:
        assert states == bytes * PARAMETERS["gpt2"]


def rows(pieces: list[Piece]) -> list[tuple[int, ...]]:
    return [row for p in pieces for row in zip(p.op.tolist(), p.id.tolist(), p.size.tolist(), p.tag.tolist(), strict=True)]


@pytest.mark.parametrize("checkpointing", ["none", "selective", "full"])
def test_steps_laid_out_together_are_the_steps_one_by_one(checkpointing: str) -> None:
    setup = Setup(
        PRESETS["gpt2"].__class__("gpt", 2, 64, 4, 4, 256, 1000, 128, True), 2, 2, checkpointing=checkpointing, accumulate=2
    )
    many = list(Training(setup, 128).pieces(lengths(np.random.default_rng(5), 16, 128), 30, varying=True))
    drawn = lengths(np.random.default_rng(5), 16, 128)
    each = [drawn(1), drawn(1), *np.split(drawn(28), 28)]
    single = Training(setup, 128)
    single.states.make()
    for length in each:
        single.step(int(length[0]))
    assert rows(many) == rows([single.tape.cut().laid_out(0, 1)])
