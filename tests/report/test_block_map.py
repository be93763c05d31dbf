"""The explorer of blocks: every block where the replay put it, in one file that asks nobody for anything, and in a browser."""

from __future__ import annotations

import base64
import json
import re
import shutil
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import ROOT

from memtrace.engine.replay import replay
from memtrace.reading import read
from memtrace.report.html import block_map
from memtrace.trace import Op, from_events

THRASH = ROOT / "tests" / "data" / "gpu" / "thrash.pickle.gz"
CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")


def page_of(path: Path) -> tuple[str, dict[str, Any]]:
    """The page, and the data in it."""
    page = path.read_text()
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL)
    assert found is not None
    data: dict[str, Any] = json.loads(found[1])
    return page, data


def columns(one: dict[str, Any]) -> Any:
    """[5, blocks]: start, life, low, size, tag; the starts added up."""
    planes = np.frombuffer(zlib.decompress(base64.b64decode(one["data"])), np.uint8).reshape(4, -1).astype(np.int64)
    raw = (planes << np.array([[0], [8], [16], [24]])).sum(axis=0).reshape(5, -1)
    raw[0] = np.cumsum(raw[0])
    return raw


def in_memory(one: dict[str, Any], low: int) -> int:
    """The address of a place in the page, in bytes."""
    page, start = max((cut for cut in one["cuts"] if cut[0] <= low), key=lambda cut: int(cut[0]))
    return (low - page + start) * block_map.GRANULE


def expected(trace: Any, addresses: Any) -> list[tuple[int, int, int, int]]:
    """(start, end, address, bytes) of each block, one event after the other."""
    live: dict[int, tuple[int, int, int]] = {}
    found, at = [], 0
    for events in trace.batches():
        for op, slot, size in zip(events.op.tolist(), events.block.tolist(), events.size.tolist(), strict=True):
            if op == Op.ALLOC and addresses[at] >= 0 and size:
                live[slot] = (at, int(addresses[at]), size)
            elif op == Op.FREE and slot in live:
                start, address, bytes_ = live.pop(slot)
                found.append((start, at, address, bytes_))
            at += 1
    return sorted([*found, *((start, at, address, bytes_) for start, address, bytes_ in live.values())])


def test_every_block_is_where_the_replay_put_it(tmp_path: Path) -> None:
    trace = read(THRASH)
    confs = {"defaults": "pytorch", "expandable": "pytorch:expandable_segments:True"}
    layouts = {
        name: replay(trace, policy, 1447034880, on_oom="skip", detail="bare", keep=True).addresses
        for name, policy in confs.items()
    }
    page, data = page_of(block_map.write(trace, layouts, tmp_path / "b.html"))
    for name, addresses in layouts.items():
        one = data["layouts"][name]
        start, life, low, size, _ = columns(one)
        found = [
            (s, s + n, in_memory(one, at), size_)
            for s, n, at, size_ in zip(start.tolist(), life.tolist(), low.tolist(), size.tolist(), strict=True)
        ]
        wanted = [(s, e, a, -(-b // block_map.GRANULE)) for s, e, a, b in expected(trace, addresses)]
        assert sorted(found) == wanted and one["rest"] == 0
    assert "default-src 'none'" in page and not re.search(r"""(?:src|href)=|@import|url\(|fetch\(|XMLHttpRequest""", page)


def test_many_blocks_are_an_image_of_the_small_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(block_map, "MOST", 100)
    trace = read(THRASH)
    addresses = replay(trace, "pytorch", 1447034880, on_oom="skip", detail="bare", keep=True).addresses
    one = page_of(block_map.write(trace, {"x": addresses}, tmp_path / "b.html"))[1]["layouts"]["x"]
    blocks = expected(trace, addresses)
    areas = sorted(((end - start) * -(-size // 512) for start, end, _, size in blocks), reverse=True)
    start, life, _, size, _ = columns(one)
    assert one["count"] == 100 == start.size and one["rest"] == len(blocks) - 100
    assert sorted((life * size).tolist(), reverse=True) == areas[:100]
    cells = np.frombuffer(zlib.decompress(base64.b64decode(one["cells"])), np.uint8)
    assert cells.size == block_map.CELLS[0] * block_map.CELLS[1] and cells.max() == 255


def test_the_image_says_how_much_of_each_cell_is_in_use(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(block_map, "CELLS", (4, 2))
    events, height = 8, 10
    blocks = [(0, 4, 0, 10), (4, 8, 2, 6), (6, 8, 8, 1)]  # start, end, low, size
    wanted = np.zeros((2, 4))
    for start, end, low, size in blocks:
        for event in range(start, end):
            for granule in range(low, low + size):
                wanted[granule // 5, event // 2] += 1 / (2 * 5)
    cells = block_map.cells_of(*np.array(blocks).T, events, height)
    assert cells.tolist() == np.round(255 * wanted).tolist()


def test_a_page_that_would_be_too_large_holds_fewer_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trace = read(THRASH)
    addresses = replay(trace, "pytorch", 1447034880, on_oom="skip", detail="bare", keep=True).addresses
    monkeypatch.setattr(block_map, "MOST_BYTES", 6000)
    layouts = page_of(block_map.write(trace, {"x": addresses, "y": addresses}, tmp_path / "b.html"))[1]["layouts"]
    assert 3000 < sum(len(one["data"]) for one in layouts.values()) <= 6000
    assert all(0 < one["count"] < len(expected(trace, addresses)) - 100 for one in layouts.values())


def test_names_in_the_page_are_no_markup(tmp_path: Path) -> None:
    evil = "</script><script>alert(1)</script>"
    trace = from_events([{"op": "alloc", "id": 1, "size": 100, "tag": evil}])
    page, data = page_of(block_map.write(trace, {evil: np.zeros(1, np.int64)}, tmp_path / "b.html"))
    assert evil not in page and data["tags"] == ["", evil]


@pytest.mark.browser
@pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="needs chromium and chromium-driver")
def test_the_page_in_a_browser(tmp_path: Path) -> None:
    from selenium import webdriver
    from selenium.webdriver.chrome.options import Options
    from selenium.webdriver.chrome.service import Service
    from selenium.webdriver.support.ui import WebDriverWait

    trace = read(THRASH)
    addresses = replay(trace, "pytorch", 1447034880, on_oom="skip", detail="bare", keep=True).addresses
    path = block_map.write(trace, {"one": addresses, "other": addresses}, tmp_path / "b.html")
    options = Options()
    options.binary_location = str(CHROMIUM)
    for word in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu", "--window-size=1200,800"):
        options.add_argument(word)
    driver = webdriver.Chrome(options=options, service=Service(str(DRIVER)))
    try:
        driver.get(path.as_uri())
        WebDriverWait(driver, 30).until(lambda one: one.execute_script("return document.body.dataset.ready"))
        assert driver.execute_script("return shown.count") == len(expected(trace, addresses))
        hovered = """const b = shown.blocks, box = canvas.getBoundingClientRect(), i = 20;
            const x = (b.start[i] + b.life[i] / 2) / DATA.events, y = (b.low[i] + b.size[i] / 2) / shown.height;
            const at = { clientX: box.left + x * box.width, clientY: box.top + (1 - y) * box.height };
            canvas.dispatchEvent(new MouseEvent("mousemove", at)); return [info.textContent, b.start[i]];"""
        text, start = driver.execute_script(hovered)
        assert f"allocated at event {start:,}" in text and "address 0x" in text and "freed at" in text
        before = driver.execute_script("return view.w")
        driver.execute_script(
            "canvas.dispatchEvent(new WheelEvent('wheel', { deltaY: -500, clientX: 300, clientY: 300 })); draw();"
        )
        assert driver.execute_script("return view.w") < before / 2 and driver.execute_script("return drawn") > 0
        driver.execute_script("head.querySelectorAll('button')[1].click()")
        WebDriverWait(driver, 30).until(lambda one: one.execute_script("return shown === DATA.layouts.other"))
    finally:
        driver.quit()
