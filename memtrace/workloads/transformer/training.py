"""Generate the training steps of a model, one after the other."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from memtrace.workloads.events import Piece
from memtrace.workloads.transformer.backward import UNSORTED, Backward, sorted_embedding_gradient
from memtrace.workloads.transformer.forward import Forward, Saved
from memtrace.workloads.transformer.setup import ACTIVATION, FLOAT, INPUT, TEMPORARY, Setup, Sizes
from memtrace.workloads.transformer.states import States
from memtrace.workloads.transformer.tape import Tape, training_pieces


class Training:
    """Write training steps to a tape; each step frees what the step before has left."""

    def __init__(self, setup: Setup, longest: int, input_stream: int = 0) -> None:
        """Set up the training of `setup`.

        `longest` is the longest sequence in tokens, `input_stream` the stream on which inputs are copied.
        """
        self.setup, self.tape = setup, Tape(streams=input_stream > 0)
        self.input_stream = input_stream
        self.sorts = setup.batch * longest > UNSORTED
        self.states = States(self.tape, setup)
        self.forward = Forward(self.tape, setup)
        self.backward = Backward(self.tape, setup, self.forward)
        self.loss = -1

    def pieces(self, lengths: Callable[[int], Any], steps: int, varying: bool) -> Iterator[Piece]:
        """Yield the parameters and then `steps` steps; `lengths(n)` returns the sequence lengths of the next n steps."""
        self.states.make()
        return training_pieces(self.tape, self.step, lengths, steps, varying)

    def step(self, length: Any) -> None:
        """Write a training step of sequences of this length (an array: several steps at once)."""
        sizes = Sizes(self.setup, length)
        for micro in range(self.setup.accumulate):
            self._take_inputs(sizes)
            if micro == 0:
                self.states.forget_gradients()
            self._pass(sizes)
            if micro + 1 < self.setup.accumulate:
                self.tape.free(self.loss)
        if self.setup.clip:
            self.states.clip()
        self.states.step()
        self.tape.free(self.loss)

    def _take_inputs(self, sizes: Sizes) -> None:
        """Write the next batch of inputs, and then the free of the batch before."""
        for name in ("tokens", "targets"):
            new = self.tape.alloc(sizes.indices, INPUT, self.input_stream)
            if name in self.tape.kept:
                self.tape.free(self.tape.kept[name], stream=self.input_stream)
            self.tape.kept[name] = new

    def _pass(self, sizes: Sizes) -> None:
        """Write a forward and a backward pass."""
        tape, setup = self.tape, self.setup
        layers, full = setup.model.layers, setup.checkpointing == "full"
        positions, x = self._embed(sizes)
        kept: list[Saved] = []
        for layer in range(layers):
            gathered = self.states.gather(self._names(layer))
            y, saved = self.forward.block(sizes, x, keep=not full, own_input=False)
            kept.append({"x": x} if full else saved)
            tape.free(*gathered)
            x = y
        last: Saved = {"x": x}
        normed = self.forward.norm(sizes, last, "norm")
        head = self.states.gather(["tokens" if setup.model.tied else "head"])
        loss = self.forward.loss(sizes)
        self.loss = loss.pop("loss")
        one = tape.alloc(4, TEMPORARY)
        d = self.backward.loss(sizes, loss, normed, self.states.gradient())
        tape.free(*head)
        last.pop("norm")
        d = self.backward.norm(sizes, last, "norm", "x", d, self.states.gradient())
        for layer in reversed(range(layers)):
            gathered = self.states.gather(self._names(layer))
            saved = kept.pop()
            if full:
                again, saved = self.forward.block(sizes, saved["x"], keep=True)
                tape.free(again)
            d = self.backward.block(sizes, saved, d, self.states.gradient(f"{layer}."))
            tape.free(*gathered)
        self._embedding_gradients(sizes, positions)
        tape.free(d, one)

    def _names(self, layer: int) -> list[str]:
        """Return the names of the parameters of a layer."""
        return [f"{layer}.{name}" for name, _ in self.setup.model.block(self.setup.shards)]

    def _embed(self, sizes: Sizes) -> tuple[int | None, int]:
        """Write token and position embeddings and their sum; returns (id of the position numbers or None, id of the sum)."""
        tape, model, e = self.tape, self.setup.model, self.setup.element
        table = self.states.gather(["tokens"])
        x = tape.alloc(sizes.outer, ACTIVATION)
        if not model.context:
            tape.free(*table)
            return None, x
        numbers = tape.alloc(sizes.length * 8, ACTIVATION)
        placed = tape.alloc(sizes.length * model.hidden * e, TEMPORARY)
        total = tape.alloc(sizes.outer, ACTIVATION)
        tape.free(x, placed, *table)
        if not self.setup.dropout:
            return numbers, total
        out, mask = tape.alloc(sizes.outer, ACTIVATION), tape.alloc(sizes.outer_mask, ACTIVATION)
        tape.free(total)
        self.dropped = mask
        return numbers, out

    def _embedding_gradients(self, sizes: Sizes, positions: int | None) -> None:
        """Write the gradients of the token and position tables.

        `positions` is the id of the position numbers, which are freed; None for rotary positions.
        """
        tape, setup = self.tape, self.setup
        if setup.dropout and positions is not None:
            tape.free(self.dropped)
        if positions is not None:
            summed = tape.alloc(sizes.length * setup.model.hidden * setup.element, TEMPORARY)
            self.states.gradient()("positions")
            tape.free(summed, positions)
        if self.sorts:
            sorted_embedding_gradient(tape, sizes, setup, self.states.gradient())
        else:
            self.states.gradient()("tokens")


def lengths(rng: np.random.Generator, least: int, most: int) -> Callable[[int], Any]:
    """Return a function that draws the sequence lengths of the next n steps, evenly from [least, most].

    If both are equal, it returns that one length.
    """
    if least == most:
        return lambda steps: most
    return lambda steps: rng.integers(least, most + 1, steps)


def state_bytes(setup: Setup) -> int:
    """Return the bytes of the weights, gradients and optimizer states of one device."""
    states = States(Tape(), setup)
    moments = {"sgd": 0, "momentum": 1, "adam": 2, "adamw": 2}[setup.optimizer]
    parts = ((setup.element, 3), (setup.element, 2), (FLOAT * (moments + setup.mixed), 1))
    return sum(bytes * states.part(count, stage) for bytes, stage in parts for count in states.counts.values())
