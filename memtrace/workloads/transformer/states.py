"""What a training run holds from step to step: parameters, gradients, the optimizer's states and what its step allocates."""

from __future__ import annotations

from collections.abc import Callable

from memtrace.workloads.transformer.setup import FLOAT, GRADIENT, OPTIMIZER, TEMPORARY, WEIGHT, WORKSPACE, Setup
from memtrace.workloads.transformer.tape import Tape

CHUNK = 65536  # numbers that one thread block takes in PyTorch's multi-tensor kernels


class States:
    """Parameters by name (`3.qkv` is in block 3), in the order in which they are made."""

    def __init__(self, tape: Tape, setup: Setup) -> None:
        self.tape, self.setup = tape, setup
        model, shards = setup.model, setup.shards
        first, last = model.outer(shards)
        blocks = [(f"{layer}.{name}", count) for layer in range(model.layers) for name, count in model.block(shards)]
        self.counts = dict([*first, *blocks, *last])
        self.stepped = False

    def make_weights(self) -> None:
        for count in self.counts.values():
            self.tape.alloc(self.part(count, 3) * self.setup.element, WEIGHT)

    def make(self) -> None:
        """The parameters, and their fp32 copies in mixed precision."""
        self.make_weights()
        for count in self.counts.values() if self.setup.mixed else ():
            self.tape.alloc(self.part(count, 1) * FLOAT, OPTIMIZER)

    def part(self, count: int, stage: int) -> int:
        """What one replica holds of it: from this stage of ZeRO on only its share (Rajbhandari et al. 2020)."""
        return -(-count // self.setup.replicas) if self.setup.zero >= stage else count

    def gather(self, names: list[str]) -> list[int]:
        """ZeRO 3 gathers parameters for as long as they are read."""
        if self.setup.zero < 3 or self.setup.replicas == 1:
            return []
        return [self.tape.alloc(self.counts[name] * self.setup.element, WEIGHT) for name in names]

    def gradient(self, prefix: str = "") -> Callable[[str], None]:
        """What makes the gradient of a parameter whose name begins like that, or adds to it in place."""

        def add(name: str) -> None:
            count = self.counts[prefix + name]
            made = self.tape.alloc(count * self.setup.element, GRADIENT)
            if self.setup.zero >= 2 and self.setup.replicas > 1:
                whole, made = made, self.tape.alloc(self.part(count, 2) * self.setup.element, GRADIENT)
                self.tape.free(whole)
            if f"d {prefix}{name}" in self.tape.kept:
                self.tape.free(made)
            else:
                self.tape.kept[f"d {prefix}{name}"] = made

        return add

    def forget_gradients(self) -> None:
        """`zero_grad`: in the order of the parameters."""
        for name in self.counts:
            if f"d {name}" in self.tape.kept:
                self.tape.free(self.tape.kept.pop(f"d {name}"))

    def clip(self) -> None:
        """`clip_grad_norm_`: a norm per gradient, the norm of those, the factor."""
        tape, counts = self.tape, [self.part(count, 2) for count in self.counts.values()]
        chunks = tape.alloc(len(counts) * -(-max(counts) // CHUNK) * 4, WORKSPACE)
        norms = [tape.alloc(4, TEMPORARY) for _ in counts]
        tape.free(chunks)
        stacked = tape.alloc(4 * len(counts), TEMPORARY)
        total = tape.alloc(4, TEMPORARY)
        tape.free(stacked, *reversed(norms))
        first, second, third = (tape.alloc(4, TEMPORARY) for _ in range(3))
        tape.free(second, first)
        fourth = tape.alloc(4, TEMPORARY)
        tape.free(third, fourth, total)

    def step(self) -> None:
        """The optimizer's step: its states at the first, and what the step itself needs."""
        tape, parts = self.tape, [self.part(count, 1) for count in self.counts.values()]
        adam = self.setup.optimizer in ("adam", "adamw")
        if not self.stepped and adam:
            for count in parts:
                tape.alloc(count * FLOAT, OPTIMIZER)
                tape.alloc(count * FLOAT, OPTIMIZER)
        elif not self.stepped and self.setup.optimizer == "momentum":
            for count in parts:
                tape.alloc(count * FLOAT, OPTIMIZER)
        self.stepped = True
        casts = [tape.alloc(count * FLOAT, TEMPORARY) for count in parts] if self.setup.mixed else []
        roots = [tape.alloc(count * FLOAT, TEMPORARY) for count in parts] if adam else []
        tape.free(*reversed(roots), *reversed(casts))
