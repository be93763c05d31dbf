"""A game: per-frame scratch, entities that come and go, levels that load and unload, assets that stream in.

Each frame allocates scratch blocks that die with it; a few survive into the next frame, for the render thread. Entities
have several small components and live for seconds. A level loads its assets in bulk and keeps them until it ends, when
all but the shared ones go. While it runs, a thread streams assets in and out. Streams: 0 game, 1 render, 2 loading.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated

import numpy as np

from memtrace.workloads.chance import lognormal, whole
from memtrace.workloads.events import Made
from memtrace.workloads.lifespans import NEVER, SECOND, Spans, Stretch, events, spans, together
from memtrace.workloads.options import Between, Bytes

# Names of tags, and their indices.
TAGS = ("frame", "render", "entity", "asset", "streamed", "shared")
FRAME, RENDER, ENTITY, ASSET, STREAMED, SHARED = range(6)
GAME_THREAD, RENDER_THREAD, LOADING_THREAD = range(3)

COMPONENTS = np.array([64, 96, 160, 256, 512])  # bytes: transform, body, script, animation, inventory
LOAD_SECONDS = 2  # time in which a level loads its assets
STRETCH_FRAMES = 2048  # frames that are drawn together
RENDER_SHARE = 0.2  # share of a frame's blocks that live until near the next frame's end


def generate(
    seed: int,
    *,
    frames: Annotated[int, Between(1, 10**9, "drawn in all")] = 10_000,
    rate: Annotated[int, Between(1, 1000, "frames a second")] = 60,
    scratch: Annotated[int, Between(0, 100_000, "blocks of a frame, about")] = 40,
    scratch_size: Annotated[int, Bytes(1, 1 << 30, "mean size of those")] = 2048,
    entities: Annotated[int, Between(0, 10**6, "alive at a time, about")] = 400,
    entity_seconds: Annotated[float, Between(0.01, 1e5, "mean life of one")] = 8.0,
    level_seconds: Annotated[float, Between(1, 1e5, "mean length of a level")] = 60.0,
    assets: Annotated[int, Between(0, 10**6, "of a level")] = 1500,
    asset_size: Annotated[int, Bytes(1, 1 << 40, "mean size of one")] = 256 << 10,
    streamed: Annotated[float, Between(0, 1e5, "assets streamed in a second")] = 12.0,
    streamed_seconds: Annotated[float, Between(0.01, 1e5, "mean stay of one")] = 15.0,
) -> Made:
    """Return the events of the workload `game`, as its module describes."""
    frame = SECOND // rate
    game = _Game(
        np.random.default_rng(seed), frames, frame, scratch, scratch_size, entities, entity_seconds, level_seconds,
        assets, asset_size, streamed, streamed_seconds,
    )  # fmt: skip
    return Made(events(game.stretches(), frames * frame), TAGS)


@dataclass
class _Game:
    """Draw the blocks of a game; the options have the names and meanings of `generate`."""

    rng: np.random.Generator
    frames: int
    frame: int  # length of a frame in ns
    scratch: int
    scratch_size: int
    entities: int
    entity_seconds: float
    level_seconds: float
    assets: int
    asset_size: int
    streamed: float
    streamed_seconds: float

    def stretches(self) -> Iterator[Stretch]:
        """Yield the blocks in stretches of STRETCH_FRAMES frames; a stretch has all levels that begin within it."""
        level_end, first = 0, 0
        yield Stretch(0, self._shared())
        while first < self.frames:
            count = min(STRETCH_FRAMES, self.frames - first)
            start, end = first * self.frame, (first + count) * self.frame
            parts = [*self._frames(first, count), self._entities(start, end, begins=first == 0), self._streaming(start, end)]
            while level_end < end:
                begins = level_end
                level_end += int(lognormal(self.rng, 1, self.level_seconds, 0.5)[0] * SECOND) + LOAD_SECONDS * SECOND
                parts.append(self._level(begins, level_end))
            first += count
            yield Stretch(end if first < self.frames else NEVER, together(parts))

    def _shared(self) -> Spans:
        """Return the assets that all levels share, which stay from the start."""
        count = self.assets // 10
        return spans(np.zeros(count, np.int64), np.full(count, NEVER), self._asset_sizes(count), SHARED, LOADING_THREAD)

    def _asset_sizes(self, count: int) -> np.ndarray:
        """Draw the sizes of `count` assets, in bytes."""
        return whole(lognormal(self.rng, count, self.asset_size, 2.5), 64, 1 << 40)

    def _frames(self, first: int, count: int) -> list[Spans]:
        """Draw the scratch blocks of `count` frames from frame `first` on.

        Some die with their frame, the others one frame later, after the render thread has used them.
        """
        rng, frame = self.rng, self.frame
        per = rng.poisson(self.scratch, count)
        number = np.repeat(first + np.arange(count), per)
        place = rng.random(number.size) * 0.8
        birth = number * frame + (place * frame).astype(np.int64)
        size = whole(lognormal(rng, number.size, self.scratch_size, 2.0), 16, 1 << 40)
        renders = rng.random(number.size) < RENDER_SHARE
        game_end, render_end = (number + 1) * frame - 1, (number + 2) * frame - frame // 8
        return [
            spans(birth[~renders], game_end[~renders], size[~renders], FRAME, GAME_THREAD),
            spans(birth[renders], render_end[renders], size[renders], RENDER, RENDER_THREAD),
        ]

    def _entities(self, start: int, end: int, begins: bool) -> Spans:
        """Draw the components of the entities born between two times in ns; with `begins`, also of those alive at the start."""
        rng = self.rng
        count = int(rng.poisson(self.entities / self.entity_seconds * (end - start) / SECOND)) + (self.entities if begins else 0)
        birth = start + (rng.random(count) * (end - start)).astype(np.int64)
        if begins:
            birth[: self.entities] = start
        life = (lognormal(rng, count, self.entity_seconds, 1.5) * SECOND).astype(np.int64)
        parts = 1 + (rng.random(count) * COMPONENTS.size).astype(np.int64)
        entity = np.repeat(np.arange(count), parts)
        nth = np.arange(entity.size) - np.repeat(np.cumsum(parts) - parts, parts)
        return spans(birth[entity], (birth + life)[entity], COMPONENTS[nth], ENTITY, GAME_THREAD)

    def _streaming(self, start: int, end: int) -> Spans:
        """Draw the assets that are streamed in between two times in ns."""
        rng = self.rng
        count = int(rng.poisson(self.streamed * (end - start) / SECOND))
        birth = start + (rng.random(count) * (end - start)).astype(np.int64)
        life = (lognormal(rng, count, self.streamed_seconds, 1.0) * SECOND).astype(np.int64)
        return spans(birth, birth + life, self._asset_sizes(count), STREAMED, LOADING_THREAD)

    def _level(self, begins: int, ends: int) -> Spans:
        """Draw the assets of a level that lasts from `begins` to `ends`, in ns."""
        rng, count = self.rng, self.assets
        birth = begins + np.sort((rng.random(count) * LOAD_SECONDS * SECOND).astype(np.int64))
        death = ends + (rng.random(count) * SECOND / 4).astype(np.int64)
        return spans(birth, death, self._asset_sizes(count), ASSET, LOADING_THREAD)
