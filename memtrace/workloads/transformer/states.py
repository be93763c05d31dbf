"""Write what a training run keeps from step to step: parameters, gradients, optimizer states.

An optimizer's step also allocates temporaries, which are written here too.
"""

from __future__ import annotations

from collections.abc import Callable

from memtrace.workloads.transformer.setup import FLOAT, GRADIENT, OPTIMIZER, TEMPORARY, WEIGHT, WORKSPACE, Setup
from memtrace.workloads.transformer.tape import Tape

CHUNK = 65536  # elements that one thread block processes in PyTorch's multi-tensor kernels


class States:
    """Write the parameters and their states to a tape, in the order in which a training run allocates them.

    Parameters have names: `3.qkv` is in block 3. `counts` maps names to numbers of elements.
    """

    def __init__(self, tape: Tape, setup: Setup) -> None:
        """List the parameters of the model; nothing is written yet."""
        self.tape, self.setup = tape, setup
        model, shards = setup.model, setup.shards
        first, last = model.outer(shards)
        blocks = [(f"{layer}.{name}", count) for layer in range(model.layers) for name, count in model.block(shards)]
        self.counts = dict([*first, *blocks, *last])
        self.stepped = False

    def make_weights(self) -> None:
        """Write the weights."""
        for count in self.counts.values():
            self.tape.alloc(self.part(count, 3) * self.setup.element, WEIGHT)

    def make(self) -> None:
        """Write the weights, and their fp32 copies in mixed precision."""
        self.make_weights()
        for count in self.counts.values() if self.setup.mixed else ():
            self.tape.alloc(self.part(count, 1) * FLOAT, OPTIMIZER)

    def part(self, count: int, stage: int) -> int:
        """Return how many of `count` elements one replica stores: all, or from this stage of ZeRO on only its share.

        Source: Rajbhandari et al. 2020.
        """
        return -(-count // self.setup.replicas) if self.setup.zero >= stage else count

    def gather(self, names: list[str]) -> list[int]:
        """Write the whole parameters that stage 3 of ZeRO gathers while they are read.

        Returns their ids, [] at other stages.
        """
        if self.setup.zero < 3 or self.setup.replicas == 1:
            return []
        return [self.tape.alloc(self.counts[name] * self.setup.element, WEIGHT) for name in names]

    def gradient(self, prefix: str = "") -> Callable[[str], None]:
        """Return a function that writes the gradient of the parameter `prefix` + name, or adds to it in place."""

        def add(name: str) -> None:
            """Write the gradient of a parameter; if there is one from an earlier pass, the new one is added to it and freed."""
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
        """Free all gradients, in the order of the parameters (`zero_grad`)."""
        for name in self.counts:
            if f"d {name}" in self.tape.kept:
                self.tape.free(self.tape.kept.pop(f"d {name}"))

    def clip(self) -> None:
        """Write the clipping of gradients (`clip_grad_norm_`): a norm for each gradient, the norm of these, the factor."""
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
        """Write the optimizer's step: its states at the first step, and the temporaries of the step itself."""
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
