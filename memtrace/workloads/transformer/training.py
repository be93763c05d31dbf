"""Training steps of a model, one after the other."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from memtrace.workloads.events import PIECE_EVENTS, Piece
from memtrace.workloads.transformer.backward import Backward, embedding_gradient
from memtrace.workloads.transformer.forward import Forward, Saved
from memtrace.workloads.transformer.setup import ACTIVATION, FLOAT, INPUT, TEMPORARY, Setup, Sizes
from memtrace.workloads.transformer.states import States
from memtrace.workloads.transformer.tape import Tape, in_pieces


class Training:
    """Writes steps to a tape; what a step leaves behind, the next one frees."""

    def __init__(self, setup: Setup) -> None:
        self.setup, self.tape = setup, Tape()
        self.states = States(self.tape, setup)
        self.forward = Forward(self.tape, setup)
        self.backward = Backward(self.tape, setup, self.forward)
        self.inputs: list[int] = []
        self.loss = -1

    def pieces(self, lengths: Iterator[int], steps: int, varying: bool) -> Iterator[Piece]:
        """The parameters, then as many steps; from the third on all steps are alike, and laid out many at a time."""
        tape = self.tape
        self.states.make()
        for _ in range(min(2, steps)):
            self.step(next(lengths))
            first = tape.first_id
            yield tape.cut().laid_out(first, 1)
        done, first = 2, tape.next_id
        while done < steps:
            if not varying:
                self.step(next(lengths))
                template = tape.cut()
                yield from in_pieces(template, first, steps - done, PIECE_EVENTS)
                return
            many = min(steps - done, max(1, PIECE_EVENTS // max(1, self.events)))
            self.step(np.array([next(lengths) for _ in range(many)]))
            template = tape.cut(many)
            yield template.laid_out(first, many)
            done, first = done + many, first + many * template.stride
            self._move((many - 1) * template.stride)

    def _move(self, by: int) -> None:
        """Steps were laid out that the tape has not seen."""
        self.tape.next_id += by
        self.tape.first_id += by
        self.inputs = [id + by for id in self.inputs]
        self.states.gradients = {name: id + by for name, id in self.states.gradients.items()}

    def step(self, length: Any) -> None:
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
        self.events = len(self.tape.ids)

    def _take_inputs(self, sizes: Sizes) -> None:
        """The next batch comes before the last one goes."""
        new = []
        for place in range(2):
            new.append(self.tape.alloc(sizes.indices, INPUT))
            self.tape.free(*self.inputs[place : place + 1])
        self.inputs = new

    def _pass(self, sizes: Sizes) -> None:
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
        return [f"{layer}.{name}" for name, _ in self.setup.model.block(self.setup.shards)]

    def _embed(self, sizes: Sizes) -> tuple[int | None, int]:
        """Token and position embeddings, and their sum."""
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
        tape, setup = self.tape, self.setup
        if setup.dropout and positions is not None:
            tape.free(self.dropped)
        if positions is not None:
            summed = tape.alloc(sizes.length * setup.model.hidden * setup.element, TEMPORARY)
            self.states.gradient()("positions")
            tape.free(summed, positions)
        embedding_gradient(tape, sizes, setup, self.states.gradient())


def lengths(rng: np.random.Generator, least: int, most: int) -> Iterator[int]:
    """Sequence lengths of the steps: the same, or drawn evenly between the two."""
    while True:
        drawn: Sequence[int] = rng.integers(least, most + 1, 1024).tolist() if least < most else [most] * 1024
        yield from drawn


def state_bytes(setup: Setup) -> int:
    """Weights, gradients and optimizer states of one device, in bytes."""
    count, e, replicas = setup.model.parameters(setup.shards), setup.element, setup.replicas
    moments = {"sgd": 0, "momentum": 1, "adam": 2, "adamw": 2}[setup.optimizer]
    optimizer = FLOAT * (moments + setup.mixed)
    parts = ((e, 3), (e, 2), (optimizer, 1))
    return sum(bytes * (-(-count // replicas) if setup.zero >= stage else count) for bytes, stage in parts)
