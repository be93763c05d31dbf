"""Firmware of a sensor node: tasks, samples, packets, timers, strings, a connection that breaks, and a leak.

At the start the tasks get their stacks and control blocks, which stay. Each sensor takes a sample every `period` seconds.
Samples wait until the next upload, which builds text from them, sends it in packets and frees all of that within a second.
Between uploads packets of other nodes come in, and software timers run. The connection has buffers of its own; it breaks
after an hour in the mean, and is set up anew. `leak`: blocks of 48 bytes that nobody frees, so many an hour. Sizes are those
of a device of 32 bits.
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
TAGS = ("task", "sample", "packet", "timer", "string", "connection", "leak")
TASK, SAMPLE, PACKET, TIMER, STRING, CONNECTION, LEAK = range(7)

# Sizes in bytes.
STACKS = (512, 512, 768, 1024, 1024, 2048)
CONTROL_BLOCK = 92  # of a task
SAMPLE_SIZES = (20, 28, 36)  # of a sensor, by its kind
PACKET_HEADER = 28  # of a buffer, in front of the frame
SMALL_FRAME, LARGEST_FRAME = 66, 1514
TIMER_SIZE = 44
STRING_SIZES = (16, 1024)  # least and most
CONNECTION_SIZES = (1184, 2048, 2048, 340)  # context, buffers in and out, session
LEAKED = 48

HOUR = 3600 * SECOND
STREAM = 0


def generate(
    seed: int,
    *,
    hours: Annotated[float, Between(0.01, 10**6, "of the device's time")] = 4.0,
    sensors: Annotated[int, Between(0, 10_000, "that are sampled")] = 6,
    period: Annotated[float, Between(0.01, 10**5, "seconds between samples of a sensor")] = 10.0,
    upload: Annotated[float, Between(1, 10**5, "seconds between uploads")] = 60.0,
    traffic: Annotated[float, Between(0, 10**5, "packets of other nodes a second")] = 0.5,
    leak: Annotated[float, Between(0, 10**6, "blocks of 48 bytes an hour that nobody frees")] = 0.0,
) -> Made:
    """Return the events of the workload `firmware`, as its module describes."""
    node = _Node(np.random.default_rng(seed), hours, sensors, period, upload, traffic, leak)
    return Made(events(node.stretches(), int(hours * HOUR)), TAGS)


@dataclass
class _Node:
    """Draw the blocks of a sensor node; the options have the names and meanings of `generate`."""

    rng: np.random.Generator
    hours: float
    sensors: int
    period: float
    upload: float
    traffic: float
    leak: float

    def stretches(self) -> Iterator[Stretch]:
        """Yield the blocks in stretches of an hour."""
        yield Stretch(0, self._tasks())
        broken = 0  # ns: until then there is a connection
        for hour in range(int(np.ceil(self.hours))):
            start, end = hour * HOUR, (hour + 1) * HOUR
            connections, broken = self._connections(broken, end)
            parts = [self._samples(start, end), *self._uploads(start, end), *self._traffic(start, end), *connections]
            yield Stretch(end, together([*parts, self._leaked(start, end)]))
        yield Stretch(NEVER, together([]))

    def _tasks(self) -> Spans:
        """Return the stacks and control blocks of the tasks, which stay."""
        sizes = np.array([size for stack in STACKS for size in (stack, CONTROL_BLOCK)])
        return spans(np.arange(sizes.size), NEVER, sizes, TASK, STREAM)

    def _even(self, start: int, end: int, seconds: float) -> np.ndarray:
        """Return the times in ns between `start` and `end` that are multiples of so many seconds."""
        step = int(seconds * SECOND)
        return np.arange(-(-start // step), -(-end // step)) * step

    def _samples(self, start: int, end: int) -> Spans:
        """Return a block for each sample, which the upload after it frees."""
        ticks = self._even(start, end, self.period)
        births = (ticks[:, None] + np.arange(self.sensors) * (SECOND // 100)).ravel()
        sizes = np.tile(np.resize(SAMPLE_SIZES, self.sensors), ticks.size)
        step = int(self.upload * SECOND)
        sent = (births // step + 1) * step + self._wait(births.size, 0.4) + SECOND // 4
        return spans(births, sent, sizes, SAMPLE, STREAM)

    def _uploads(self, start: int, end: int) -> list[Spans]:
        """Return the strings of each upload, which grow, the packets that it sends, and their timers."""
        ticks = self._even(start, end, self.upload)
        count = 4 + self.sensors // 2
        at = (ticks[:, None] + np.arange(count) * (SECOND // 50)).ravel() + self._wait(ticks.size * count, 0.004)
        sizes = whole(lognormal(self.rng, at.size, 120.0, 1.2), *STRING_SIZES)
        done = np.repeat(ticks, count) + SECOND // 2 + self._wait(at.size, 0.2)
        frames = np.repeat(ticks, 3) + np.tile(np.arange(3) * (SECOND // 20), ticks.size) + SECOND // 4
        return [spans(at, done, sizes, STRING, STREAM), *self._packets(frames, 0.08, large=0.6)]

    def _traffic(self, start: int, end: int) -> list[Spans]:
        """Return the packets of other nodes and their timers."""
        count = int(self.rng.random() + self.traffic * (end - start) / SECOND)
        return self._packets(np.sort(start + (self.rng.random(count) * (end - start)).astype(np.int64)), 0.02, large=0.1)

    def _packets(self, births: np.ndarray, seconds: float, large: float) -> list[Spans]:
        """Return packets that live so long in the mean, of which a share is `large`; every third has a timer that outlives it."""
        small = whole(lognormal(self.rng, births.size, 40.0, 0.8), 0, LARGEST_FRAME - SMALL_FRAME)
        wide = LARGEST_FRAME - (self.rng.random(births.size) ** 2 * 700).astype(np.int64)
        sizes = PACKET_HEADER + np.where(self.rng.random(births.size) < large, wide, SMALL_FRAME + small)
        timed = births[::3]
        timers = spans(timed, timed + SECOND // 5 + self._wait(timed.size, 3.0), TIMER_SIZE, TIMER, STREAM)
        return [spans(births, births + self._wait(births.size, seconds), sizes, PACKET, STREAM), timers]

    def _connections(self, broken: int, end: int) -> tuple[list[Spans], int]:
        """Return the blocks of the connections that begin before `end`, and when the last of them breaks."""
        found = []
        while broken < end:
            since = broken + int(self._wait(1, 2.0)[0])
            broken = since + int(self._wait(1, 3600.0)[0])
            births = since + np.arange(len(CONNECTION_SIZES))
            found.append(spans(births, broken + np.arange(len(CONNECTION_SIZES)), np.array(CONNECTION_SIZES), CONNECTION, STREAM))
        return found, broken

    def _leaked(self, start: int, end: int) -> Spans:
        """Return the blocks that nobody frees."""
        count = int(self.rng.random() + self.leak * (end - start) / HOUR)
        return spans(np.sort(start + (self.rng.random(count) * (end - start)).astype(np.int64)), NEVER, LEAKED, LEAK, STREAM)

    def _wait(self, count: int, seconds: float) -> np.ndarray:
        """Return exponential times in ns of this mean, 1 ns at least."""
        return whole(-seconds * SECOND * np.log1p(-self.rng.random(count)), 1, NEVER)
