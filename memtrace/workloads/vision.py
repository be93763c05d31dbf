"""Training a detector on images of changing size: a residual backbone, a feature pyramid, proposals, two heads.

Each batch's images are scaled to a short side between short_min and short_max and padded to the largest, in multiples of 32, so
that every activation and convolution workspace changes from step to step. Proposals and boxes are as many as the images give.
The next batch is copied on stream 1.

Source: Faster R-CNN with a feature pyramid (Ren et al. 2015, Lin et al. 2017) on a ResNet-50 (He et al. 2016).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, NamedTuple

import numpy as np

from memtrace.errors import UsageError
from memtrace.workloads.events import Made
from memtrace.workloads.options import Between
from memtrace.workloads.transformer.tape import Tape, training_pieces

# Names of tags, and their indices.
TAGS = ("weight", "gradient", "optimizer", "activation", "temporary", "workspace", "input", "proposal")
WEIGHT, GRADIENT, OPTIMIZER, ACTIVATION, TEMPORARY, WORKSPACE, INPUT, PROPOSAL = range(8)
FLOAT, INDEX, LOADING = 4, 8, 1  # bytes, bytes, and the stream on which inputs are copied

STAGES = ((3, 64, 256), (4, 128, 512), (6, 256, 1024), (3, 512, 2048))  # blocks, inner and outer channels of a stage
PYRAMID, ANCHORS, CLASSES = 256, 3, 91  # channels of the pyramid, anchors at a position, classes of objects
KEPT, SAMPLED, POOLED, HEAD = 2000, 512, 7, 1024  # proposals of an image, those trained on, cells of their side, head's width
MOST_WORKSPACE = 256 << 20  # upper bound of the bytes of a convolution's workspace
LONG_SIDE = 1.67  # upper bound of the long side, as a multiple of the short side


class Images(NamedTuple):
    """Describe batches of images by columns, one element for each step."""

    height: np.ndarray  # pixels, after padding
    width: np.ndarray
    boxes: np.ndarray  # objects in all images of the batch
    candidates: np.ndarray  # proposals in all images of the batch, before they are thinned out


class Layer(NamedTuple):
    """Describe what the backward pass needs of a layer."""

    size: Any  # bytes of its output
    kept: list[int]  # ids of the blocks that are freed in the backward pass
    parameter: str  # name of its weights, "" for none


Layers = list[Layer]


def generate(
    seed: int,
    *,
    batch: Annotated[int, Between(1, 4096, "images")] = 2,
    short_min: Annotated[int, Between(32, 16_384, "pixels of the short side, at least")] = 480,
    short_max: Annotated[int, Between(32, 16_384, "pixels of the short side, at most")] = 800,
    boxes: Annotated[float, Between(0.1, 1e4, "objects of an image, in the mean")] = 7.0,
    steps: Annotated[int, Between(1, 10**9, "training steps")] = 200,
) -> Made:
    """Return the events of the workload `vision`; raises UsageError if short_min is above short_max."""
    if short_min > short_max:
        raise UsageError(f"short_min={short_min} is above short_max={short_max}")
    detector = _Detector(Tape(streams=True), batch)
    detector.make()
    draw = _images(np.random.default_rng(seed), batch, short_min, short_max, boxes)
    facts = {"parameters": str(sum(detector.counts.values()))}
    return Made(training_pieces(detector.tape, detector.step, draw, steps, varying=True), TAGS, facts)


def _images(rng: np.random.Generator, batch: int, least: int, most: int, boxes: float) -> Callable[[int], Any]:
    """Return a function that draws the batches of the next n steps; `least` and `most` limit the short side in pixels."""

    def draw(steps: int) -> Images:
        """Return the batches of the next steps."""
        short = rng.integers(least, most + 1, (steps, batch))
        long = (short * (1 + (LONG_SIDE - 1) * rng.random((steps, batch)))).astype(np.int64)
        upright = rng.random((steps, batch)) < 0.3
        height, width = np.where(upright, long, short).max(axis=1), np.where(upright, short, long).max(axis=1)
        objects = 1 + rng.poisson(boxes, (steps, batch)).sum(axis=1)
        return Images(_up(height), _up(width), objects, rng.integers(KEPT // 4, KEPT + 1, steps) * batch)

    return draw


def _up(side: np.ndarray) -> np.ndarray:
    """Return the side, in pixels, rounded up to a multiple of 32."""
    return -(-side // 32) * 32


@dataclass
class _Detector:
    """Write the allocs and frees of a detector's training to a tape."""

    tape: Tape
    batch: int

    def parameters(self) -> dict[str, int]:
        """Return the numbers of elements of all parameters by name: backbone, pyramid, proposals and the boxes' heads."""
        found, before = {"stem": 3 * 64 * 49, "stem norm": 128}, 64
        for stage, (blocks, inner, outer) in enumerate(STAGES):
            for block in range(blocks):
                parts = {"reduce": before * inner, "conv": inner * inner * 9, "expand": inner * outer}
                widths = {"reduce": inner, "conv": inner, "expand": outer}
                if block == 0:
                    parts["skip"], widths["skip"] = before * outer, outer
                for part, count in parts.items():
                    found |= {f"{stage}.{block}.{part}": count, f"{stage}.{block}.{part} norm": 2 * widths[part]}
                before = outer
            found[f"lateral {stage}"] = outer * PYRAMID + PYRAMID
            found[f"pyramid {stage}"] = PYRAMID * PYRAMID * 9 + PYRAMID
        found |= {"proposals": PYRAMID * PYRAMID * 9 + PYRAMID, "anchors": PYRAMID * ANCHORS * 5 + ANCHORS * 5}
        pooled = PYRAMID * POOLED * POOLED
        heads = {"head 1": pooled * HEAD + HEAD, "head 2": HEAD * HEAD + HEAD, "boxes": HEAD * CLASSES * 5 + CLASSES * 5}
        return found | heads

    def make(self) -> None:
        """Write the weights and their momentum."""
        self.counts = self.parameters()
        for tag in (WEIGHT, OPTIMIZER):
            for count in self.counts.values():
                self.tape.alloc(count * FLOAT, tag)

    def step(self, images: Images) -> None:
        """Write a training step, or several at once if `images` has several."""
        tape, batch = self.tape, self.batch
        self._load(images)
        layers: Layers = []
        levels = self._backbone(images, layers)
        for stage, (height, width) in enumerate(levels):
            self._convolution(height, width, 9 * PYRAMID, PYRAMID, f"pyramid {stage}", layers)
        proposals = self._proposals(images, levels, layers)
        widths = {"": PYRAMID * POOLED * POOLED, "head 1": HEAD, "head 2": HEAD, "boxes": CLASSES * 5}
        for name, width in widths.items():
            size = batch * SAMPLED * width * FLOAT
            layers.append(Layer(size, [tape.alloc(size, ACTIVATION)], name))
        loss = [tape.alloc(FLOAT, TEMPORARY) for _ in range(4)]
        self._back(layers)
        tape.free(*proposals, *loss)
        for name in [name for name in tape.kept if name.startswith("d ")]:
            tape.free(tape.kept.pop(name))

    def _load(self, images: Images) -> None:
        """Write the next batch's inputs, on their own stream, and the frees of the batch before."""
        sizes = {"pixels": self.batch * 3 * images.height * images.width * FLOAT, "boxes": images.boxes * 4 * FLOAT}
        for name, size in {**sizes, "labels": images.boxes * INDEX}.items():
            new = self.tape.alloc(size, INPUT, LOADING)
            if name in self.tape.kept:
                self.tape.free(self.tape.kept[name], stream=LOADING)
            self.tape.kept[name] = new

    def _convolution(self, height: Any, width: Any, taps: int, channels: int, name: str, layers: Layers) -> None:
        """Write a convolution: its output, which is kept, and its workspace, which unrolls the input up to MOST_WORKSPACE bytes.

        `height`, `width` and `channels` are the output's, `taps` is the number of input values for one output value. The layer is
        appended to `layers`.
        """
        size = self.batch * channels * height * width * FLOAT
        out = self.tape.alloc(size, ACTIVATION)
        self.tape.brief(np.minimum(self.batch * taps * height * width * FLOAT, MOST_WORKSPACE), WORKSPACE)
        layers.append(Layer(size, [out], name))

    def _normed(self, height: Any, width: Any, taps: int, channels: int, name: str, layers: Layers) -> None:
        """Write a convolution and its batch norm, whose output is kept too, with two numbers for each channel."""
        self._convolution(height, width, taps, channels, name, layers)
        size = self.batch * channels * height * width * FLOAT
        sizes = (size, channels * FLOAT, channels * FLOAT)
        layers.append(Layer(size, [self.tape.alloc(each, ACTIVATION) for each in sizes], f"{name} norm"))

    def _backbone(self, images: Images, layers: Layers) -> list[tuple[Any, Any]]:
        """Write the backbone, and return height and width of each stage's output."""
        self._normed(images.height // 2, images.width // 2, 3 * 49, 64, "stem", layers)
        found, before = [], 64
        for stage, (blocks, inner, outer) in enumerate(STAGES):
            height, width = images.height // (4 << stage), images.width // (4 << stage)
            for block in range(blocks):
                name = f"{stage}.{block}"
                self._normed(height, width, before, inner, f"{name}.reduce", layers)
                self._normed(height, width, 9 * inner, inner, f"{name}.conv", layers)
                self._normed(height, width, inner, outer, f"{name}.expand", layers)
                if block == 0:
                    self._normed(height, width, before, outer, f"{name}.skip", layers)
                before = outer
            found.append((height, width))
            self._convolution(height, width, outer, PYRAMID, f"lateral {stage}", layers)
        return found

    def _proposals(self, images: Images, levels: list[tuple[Any, Any]], layers: Layers) -> list[int]:
        """Write the choice of proposals: scores and boxes of all anchors, the best sorted and thinned out, a sample to train on.

        Returns the ids of the blocks that stay until the end of the step.
        """
        tape, batch = self.tape, self.batch
        for height, width in levels:
            self._convolution(height, width, 9 * PYRAMID, PYRAMID, "proposals", layers)
            self._convolution(height, width, PYRAMID, ANCHORS * 5, "anchors", layers)
        anchors = sum(height * width for height, width in levels) * ANCHORS * batch
        decoded = tape.alloc(anchors * 4 * FLOAT, TEMPORARY)
        order = tape.alloc(anchors * INDEX, WORKSPACE)
        best = tape.alloc(images.candidates * 5 * FLOAT, PROPOSAL)
        tape.free(order, decoded)
        tape.brief(images.candidates * -(-images.candidates // 64) * INDEX, WORKSPACE)  # overlaps: a bit for each pair
        tape.brief(images.candidates * images.boxes * FLOAT, TEMPORARY)
        return [best, tape.alloc(batch * SAMPLED * 5 * FLOAT, PROPOSAL), tape.alloc(batch * SAMPLED * INDEX, PROPOSAL)]

    def _back(self, layers: Layers) -> None:
        """Write the backward pass: for each layer from the last, the gradients of its weights and its input, then the frees."""
        tape = self.tape
        d = tape.alloc(layers[-1].size, TEMPORARY)
        for number in reversed(range(len(layers))):
            layer, before = layers[number], layers[max(0, number - 1)].size
            if layer.parameter:
                self._gradient(layer.parameter)
            dx = tape.alloc(before, TEMPORARY)
            if layer.parameter and not layer.parameter.endswith("norm"):
                tape.brief(np.minimum(4 * before, MOST_WORKSPACE), WORKSPACE)
            tape.free(d, *layer.kept)
            d = dx
        tape.free(d)

    def _gradient(self, parameter: str) -> None:
        """Write a parameter's gradient, which is made once in a step; heads that all levels share add to it."""
        made = self.tape.alloc(self.counts[parameter] * FLOAT, GRADIENT)
        if f"d {parameter}" in self.tape.kept:
            self.tape.free(made)
        else:
            self.tape.kept[f"d {parameter}"] = made
