"""Streaming speech recognition: sessions that send chunks of sound, recurrent state, beams of hypotheses.

Sessions arrive at random and last as speech does. Each chunk allocates its features, the encoder's activations layer by layer, a
new recurrent state per layer (the old one goes when the new one is there) and hypotheses, which live as long as they stay in the
beam. A session keeps a buffer of sound that doubles when it is full, and its transcript. The stream is the worker that serves it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated

import numpy as np

from memtrace.workloads.chance import lognormal, whole
from memtrace.workloads.events import Made
from memtrace.workloads.lifespans import NEVER, SECOND, Spans, Stretch, events, spans, together
from memtrace.workloads.options import Between

# Names of tags, and their indices.
TAGS = ("weight", "sound", "features", "activation", "state", "hypothesis", "transcript")
WEIGHT, SOUND, FEATURES, ACTIVATION, STATE, HYPOTHESIS, TRANSCRIPT = range(7)

MILLISECOND = 1_000_000
SAMPLE_BYTES = 2 * 16_000  # bytes of a second of sound
FEATURE_BYTES = 80 * 4 * 100  # bytes of a second of features: 80 filters every 10 ms
FRAMES = 25  # the encoder's steps in a second of sound
LAYER_NS = 200_000  # time in which a layer of the encoder runs
MOST_SECONDS = 600  # upper bound of a session
SESSIONS = 64  # sessions that are drawn together


def generate(
    seed: int,
    *,
    sessions: Annotated[int, Between(1, 10**8, "served in all")] = 300,
    rate: Annotated[float, Between(1e-4, 1e5, "sessions a second")] = 4.0,
    seconds: Annotated[float, Between(0.1, 600, "mean length of a session")] = 12.0,
    chunk_ms: Annotated[int, Between(10, 10_000, "sound of a chunk")] = 160,
    layers: Annotated[int, Between(1, 1000, "of the encoder")] = 12,
    hidden: Annotated[int, Between(8, 1 << 16, "its width")] = 640,
    beam: Annotated[int, Between(1, 1000, "hypotheses kept")] = 8,
    workers: Annotated[int, Between(1, 1 << 16, "threads")] = 4,
) -> Made:
    """Return the events of the workload `speech`, as its module describes."""
    service = _Service(
        np.random.default_rng(seed), sessions, rate, seconds, chunk_ms * MILLISECOND, layers, hidden, beam, workers
    )  # fmt: skip
    return Made(events(service.stretches()), TAGS)


@dataclass
class _Service:
    """Draw the blocks of a speech service; the options have the names and meanings of `generate`."""

    rng: np.random.Generator
    sessions: int
    rate: float
    seconds: float
    chunk: int  # ns
    layers: int
    hidden: int
    beam: int
    workers: int

    def stretches(self) -> Iterator[Stretch]:
        """Yield the weights, and then the blocks of SESSIONS sessions in each stretch."""
        yield Stretch(0, self._weights())
        start, left, number = 0, self.sessions, 0
        while left:
            count = min(left, SESSIONS)
            gaps = -np.log1p(-self.rng.random(count)) / self.rate
            begins = start + np.cumsum(gaps * SECOND).astype(np.int64)
            numbered = enumerate(begins.tolist(), number)
            planned = together(part for session, at in numbered for part in self._session(at, session % self.workers))
            start, left, number = int(begins[-1]), left - count, number + count
            yield Stretch(start if left else NEVER, planned)

    def _weights(self) -> Spans:
        """Return the weights, which stay from the start."""
        sizes = np.tile(np.array([8, 8, 4, 4]) * self.hidden * self.hidden * 2, self.layers)  # an LSTM and its projections
        return spans(np.zeros(sizes.size, np.int64), np.full(sizes.size, NEVER), sizes, WEIGHT)

    def _session(self, start: int, worker: int) -> list[Spans]:
        """Draw the blocks of one session that begins at `start`, in ns, and is served by this worker."""
        rng, chunk = self.rng, self.chunk
        seconds = float(np.clip(lognormal(rng, 1, self.seconds, 1.0)[0], 0.2, MOST_SECONDS))
        count = max(1, int(seconds * SECOND / chunk))
        at = start + np.arange(count) * chunk + (rng.random(count) * chunk * 0.1).astype(np.int64)
        end = int(at[-1]) + chunk
        layer = np.arange(self.layers)
        runs = at[:, None] + MILLISECOND + layer * LAYER_NS  # [chunks, layers]: when a layer begins
        steps = max(1, FRAMES * chunk // SECOND)
        follow = np.append(runs[1:], np.full((1, self.layers), end), axis=0)
        features = int(FEATURE_BYTES * chunk / SECOND)
        state, activation = 2 * self.hidden * 4, 4 * steps * self.hidden * 4
        return [
            self._sound(at, end, worker),
            spans(at, runs[:, 0] + LAYER_NS, max(1, features), FEATURES, worker),
            spans(runs, runs + LAYER_NS + LAYER_NS // 2, activation, ACTIVATION, worker),
            spans(runs + LAYER_NS // 4, follow + LAYER_NS // 2, state, STATE, worker),
            self._hypotheses(runs[:, -1] + LAYER_NS, end, worker),
            self._transcript(at, end, worker),
        ]

    def _sound(self, at: np.ndarray, end: int, worker: int) -> Spans:
        """Return the buffer of sound, which doubles when it is full; the old one dies when the new one is filled from it.

        `at` are the times of the chunks and `end` is the session's end, in ns.
        """
        per = max(1, int(SAMPLE_BYTES * self.chunk / SECOND))
        doublings = int(np.ceil(np.log2(at.size))) + 1
        begin = np.concatenate([[0], 1 << np.arange(doublings - 1)]) if doublings > 1 else np.zeros(1, np.int64)
        birth = at[np.minimum(begin, at.size - 1)]
        death = np.append(birth[1:] + MILLISECOND // 2, end)
        return spans(birth, death, per << np.arange(doublings), SOUND, worker)

    def _hypotheses(self, at: np.ndarray, end: int, worker: int) -> Spans:
        """Draw the `beam` hypotheses of each chunk; most are dropped with the next chunk, few live on."""
        rng, shape = self.rng, (at.size, self.beam)
        chunks = 1 + np.floor(-np.log1p(-rng.random(shape)) * 1.5).astype(np.int64)
        birth = at[:, None] + (np.arange(self.beam) + 1) * 1000
        words = 1 + (np.arange(at.size)[:, None] * self.chunk // SECOND) * 3
        size = 48 + 24 * (words % 64) + 8 * (rng.random(shape) * 8).astype(np.int64)
        return spans(birth, np.minimum(birth + chunks * self.chunk, end), size, HYPOTHESIS, worker)

    def _transcript(self, at: np.ndarray, end: int, worker: int) -> Spans:
        """Draw the parts of the transcript, which stay until the session ends."""
        count = max(1, at.size * self.chunk // SECOND // 2)
        birth = at[np.minimum(np.arange(count) * at.size // count, at.size - 1)] + 2 * MILLISECOND
        return spans(birth, end, whole(lognormal(self.rng, count, 60, 0.5), 16, 4096), TRANSCRIPT, worker)
