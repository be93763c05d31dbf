"""Measure the explorer of blocks in a browser: `python -m benchmarks.blocks [EVENTS...]`, by default 1 and 10 million events.

Two traces of each length are laid out by two settings: the same training step again and again, and blocks of random sizes and
lives. The page is opened in headless Chromium, and zoomed in and out at three places of the map, a wheel event each frame.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path
from time import process_time
from typing import Any

import numpy as np

from memtrace.engine.replay import replay
from memtrace.report.html import block_map
from memtrace.trace import Trace, from_columns

EVENTS = (1_000_000, 10_000_000)
LIVE = 2000  # blocks of the random trace that are live at once
STEP = 700  # requests of a training step
SETTINGS = {"defaults": "pytorch", "expandable_segments:True": "pytorch:expandable_segments:True"}
MOST_BYTES, MOST_SECONDS, LEAST_FRAMES = 5_000_000, 2.0, 30.0
# Zooms in for 60 frames and out for 60 at each of three places, and returns [frames per second, longest frame in ms].
ZOOM = """
const done = arguments[arguments.length - 1], box = canvas.getBoundingClientRect();
const at = [[0.5, 0.5], [0.1, 0.3], [0.8, 0.9]], steps = 120;
let i = 0, last = 0, first = 0, longest = 0;
function step(now) {
  if (i === 0) first = now; else longest = Math.max(longest, now - last);
  last = now;
  if (i === at.length * steps) return done([(i * 1000) / (now - first), longest]);
  const [x, y] = at[Math.floor(i / steps)], deltaY = i % steps < steps / 2 ? -100 : 100;
  canvas.dispatchEvent(new WheelEvent("wheel", { deltaY, clientX: box.left + x * box.width, clientY: box.top + y * box.height }));
  i++;
  requestAnimationFrame(step);
}
requestAnimationFrame(step);
"""


def steps_of(events: int) -> Trace:
    """Return a trace of training steps: blocks that live for a while within a step, and are freed in the reverse order."""
    chance = np.random.default_rng(1)
    sizes = (512 * np.exp(chance.uniform(0, 11.5, STEP))).astype(np.int64)
    lasts = chance.random(STEP) < 0.3  # until the way back; all others are freed at the next request
    rows: list[tuple[int, int, int]] = []
    for begin in range(0, events // 2, STEP):
        kept = []
        for i in range(STEP):
            rows.append((0, begin + i, int(sizes[i])))
            if lasts[i]:
                kept.append(begin + i)
            else:
                rows.append((1, begin + i, -1))
        rows += [(1, one, -1) for one in reversed(kept)]
    return trace_of(rows[:events])


def trace_of(rows: list[tuple[int, int, int]]) -> Trace:
    """Return the trace of rows (op, id, size)."""
    op, id, size = zip(*rows, strict=True)
    return from_columns(op=op, id=id, size=size)


def random_of(events: int) -> Trace:
    """Return a trace of blocks of random sizes, each of which replaces one that was drawn."""
    chance = np.random.default_rng(2)
    count = events // 2
    slot = chance.integers(0, LIVE, count)
    before = np.full(LIVE, -1)
    rows: list[tuple[int, int, int]] = []
    sizes = (512 * np.exp(chance.uniform(0, 11.5, count))).astype(np.int64).tolist()
    for i, where in enumerate(slot.tolist()):
        if before[where] >= 0:
            rows.append((1, int(before[where]), -1))
        rows.append((0, i, sizes[i]))
        before[where] = i
    return trace_of(rows)


def opened(path: Path) -> tuple[float, float, float]:
    """Open a page in Chromium; return the seconds until it shows all, the frames per second while zooming, and the longest frame.

    The longest frame is in milliseconds.
    """
    from selenium import webdriver
    from selenium.webdriver.support.wait import WebDriverWait

    options = webdriver.ChromeOptions()
    options.binary_location = str(shutil.which("chromium"))
    for flag in ("headless=new", "no-sandbox", "disable-gpu", "disable-dev-shm-usage", "window-size=1400,900"):
        options.add_argument(f"--{flag}")
    driver = webdriver.Chrome(options, webdriver.ChromeService(str(shutil.which("chromedriver"))))
    try:
        driver.set_script_timeout(120)
        driver.get(path.as_uri())
        WebDriverWait(driver, 60, 0.05).until(lambda d: d.execute_script("return document.body.dataset.ready"))
        ready = driver.execute_script("return performance.getEntriesByName('shown')[0].startTime") / 1000
        rate, longest = driver.execute_async_script(ZOOM)
        return ready, rate, longest
    finally:
        driver.quit()


def main(arguments: list[str]) -> int:
    """Print a line for each page; return 1 if one misses a target."""
    missed = False
    print(f"{'trace':24} {'bytes':>10} {'written in':>10} {'opens in':>9} {'frames/s':>9} {'longest':>8}")
    for events in [int(one) for one in arguments] or EVENTS:
        for name, make in (("steps", steps_of), ("random", random_of)):
            trace = make(events)
            layouts: dict[str, Any] = {
                label: replay(trace, policy, detail="bare", keep=True).addresses for label, policy in SETTINGS.items()
            }
            with tempfile.TemporaryDirectory() as folder:
                begin = process_time()
                path = block_map.write(trace, layouts, Path(folder) / "blocks.html")
                wrote, size = process_time() - begin, path.stat().st_size
                ready, rate, longest = opened(path)
            bad = size > MOST_BYTES or ready > MOST_SECONDS or rate < LEAST_FRAMES
            missed |= bad
            label = f"{name}, {events:,} events"
            print(
                f"{label:24} {size:10,} {wrote:9.1f}s {ready:8.2f}s {rate:9.1f} {longest:6.0f}ms{' missed' if bad else ''}",
                flush=True,
            )
    return int(missed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
