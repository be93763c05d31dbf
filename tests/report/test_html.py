"""The HTML report: whole, small, safe, the same bytes for the same results; and what a browser makes of it."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sample_results import TWELVE, sample

from memtrace.errors import UsageError
from memtrace.plots.addresses import all_tags
from memtrace.plots.series import cells_of, last_event
from memtrace.report import write
from memtrace.report.html.explorer import BEYOND
from memtrace.report.markdown import plain
from memtrace.results.verdict import verdict

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
browser = pytest.mark.browser
needs_chromium = pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="needs chromium and chromium-driver")
GIB = 1 << 30


@pytest.fixture(scope="module")
def twelve(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The page of twelve policies."""
    return write(sample(TWELVE), tmp_path_factory.mktemp("twelve") / "report.html").read_text()


def test_one_file_that_asks_nobody_for_anything(twelve: str) -> None:
    page = twelve
    assert len(page.encode()) < 1_500_000
    assert "default-src 'none'" in page
    assert not re.search(r"""(?:src|href)=["']?(?!data:)[a-z]|@import|url\(|fetch\(|XMLHttpRequest""", page)


def test_every_policy_and_the_verdict_can_be_read_without_scripts(twelve: str) -> None:
    results = sample(TWELVE)
    body = re.sub(r"<script.*?</script>", "", twelve, flags=re.DOTALL)
    for policy in TWELVE:
        assert f"<td>{policy}</td>" in body
    assert verdict(results.summary)[0] in body


def test_names_are_text_and_never_markup(tmp_path: Path) -> None:
    evil = "</script><img src=x onerror=alert(1)>|**bold**"
    page = write(sample(("first-fit",), (evil,)), tmp_path / "report.html").read_text()
    assert "<img src=x" not in page and "&lt;/script&gt;&lt;img" in page
    text = write(sample(("first-fit",), (evil,)), tmp_path / "report.md").read_text()
    prose = "\n".join(line for line in text.splitlines() if not line.startswith("    "))  # an indented line is code
    assert plain(evil) in prose and "<img" not in prose.replace("\\<img", "")


def test_the_same_results_give_the_same_bytes(tmp_path: Path) -> None:
    for ending in ("html", "md", "pdf"):
        one, other = (write(sample(("first-fit", "buddy")), tmp_path / f"{i}.{ending}").read_bytes() for i in (1, 2))
        assert one == other


def test_markdown_has_the_table_and_links_the_figures_that_are_there(tmp_path: Path) -> None:
    results = sample(("first-fit", "buddy"))
    alone = write(results, tmp_path / "alone.md").read_text()
    assert "| policy | peak reserved |" in alone and "![" not in alone
    from memtrace.report import render

    render(results, tmp_path)
    linked = write(results, tmp_path / "report.md", tmp_path / "plots").read_text()
    for file in re.findall(r"\]\((plots/[^)]+)\)", linked):
        assert (tmp_path / file).is_file()
    assert linked.count("](plots/") == len(list((tmp_path / "plots").iterdir()))
    beside = write(results, tmp_path / "other" / "report.md", tmp_path / "plots").read_text()
    assert beside == linked.replace("](plots/", "](../plots/")


def test_other_endings_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"\.pdf, \.html, \.md"):
        write(sample(("first-fit",)), tmp_path / "report.docx")


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """The sample report in a browser of its own."""
    from selenium import webdriver
    from selenium.webdriver.support.wait import WebDriverWait

    folder = tmp_path_factory.mktemp("browser")
    path = write(sample(("first-fit", "best-fit", "buddy"), capacity=int(2.7 * GIB)), folder / "report.html")
    options = webdriver.ChromeOptions()
    options.binary_location = str(CHROMIUM)
    for flag in ("headless", "no-sandbox", "disable-gpu", "disable-background-networking", "window-size=1200,1000"):
        options.add_argument(f"--{flag}")
    options.add_argument(f"--user-data-dir={folder / 'profile'}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options, webdriver.ChromeService(str(DRIVER)))
    try:
        driver.get(path.as_uri())
        WebDriverWait(driver, 30).until(lambda d: d.execute_script("return document.querySelector('.explorer').dataset.ready"))
        yield driver
    finally:
        driver.quit()


def canvas(page: Any, name: str) -> Any:
    return page.find_element("css selector", f"canvas.{name}")


def window(page: Any, name: str) -> list[float]:
    found = canvas(page, name)
    return [float(found.get_attribute(f"data-{edge}")) for edge in ("from", "to", "low", "top")]


def values(page: Any) -> dict[str, tuple[int, float]]:
    """What the chart says under the pointer: policy -> event of the sample, value."""
    items = page.find_elements("css selector", ".chart-values li")
    read = [[item.get_attribute(f"data-{name}") for name in ("policy", "event", "value")] for item in items]
    return {policy: (int(event), float(value)) for policy, event, value in read}


def hover(page: Any, name: str, across: float, up: float = 0.5) -> None:
    from selenium.webdriver import ActionChains

    found = canvas(page, name)
    size = found.size
    page.execute_script("arguments[0].scrollIntoView({block: 'center'})", found)
    left, top = (across - 0.5) * size["width"], (0.5 - up) * size["height"]
    ActionChains(page).move_to_element_with_offset(found, int(left), int(top)).perform()


def choose(page: Any, name: str, value: str) -> None:
    from selenium.webdriver.support.select import Select

    Select(page.find_element("css selector", f"select.{name}")).select_by_value(value)


@browser
@needs_chromium
@pytest.mark.parametrize(("measure", "column"), [("reserved", "reserved_bytes"), ("live", "live_bytes"), ("holes", "holes")])
def test_hovering_reads_the_numbers_of_the_tables(page: Any, measure: str, column: str) -> None:
    results = sample(("first-fit", "best-fit", "buddy"), capacity=int(2.7 * GIB))
    choose(page, "measure", measure)
    for across in (0.2, 0.5, 0.9):
        hover(page, "chart", across)
        found = values(page)
        assert set(found) == {"first-fit", "best-fit", "buddy"}
        for policy, (event, value) in found.items():
            rows = results.rows("timeline", "training-step", policy)
            assert value == rows[column][rows["event"].tolist().index(event)]
    choose(page, "measure", "reserved")


@browser
@needs_chromium
def test_the_highest_value_is_that_of_the_summary(page: Any) -> None:
    results = sample(("first-fit", "best-fit", "buddy"), capacity=int(2.7 * GIB))
    peaks = {row["policy"]: row["peak_reserved_bytes"] for row in results.summary}
    script = (
        "return load(document.querySelector('.explorer')).then((d) => d.policies.map((p) => [p.label, Math.max(...p.reserved)]))"
    )
    assert dict(page.execute_script(script)) == peaks


@browser
@needs_chromium
def test_zoom_pan_and_reset(page: Any) -> None:
    whole = window(page, "chart")
    closer, wider, reset = page.find_elements("css selector", ".views")[0].find_elements("css selector", "button")
    closer.click()
    near = window(page, "chart")
    assert near[1] - near[0] == pytest.approx((whole[1] - whole[0]) / 2)
    canvas(page, "chart").send_keys("+")
    assert window(page, "chart")[1] - window(page, "chart")[0] == pytest.approx(0.8 * (near[1] - near[0]))
    wider.click()
    reset.click()
    assert window(page, "chart") == whole


@browser
@needs_chromium
def test_keys_move_the_reading_and_the_map_tells_its_cell(page: Any) -> None:
    canvas(page, "chart").send_keys("\ue014")  # the arrow to the right
    before = values(page)
    for _ in range(20):
        canvas(page, "chart").send_keys("\ue014")
    assert values(page)["first-fit"][0] > before["first-fit"][0]
    hover(page, "map", 0.3, 0.1)
    reading = page.find_element("css selector", ".map-values")
    assert "in use" in reading.text and 0 <= int(reading.get_attribute("data-cell")) < BEYOND


@browser
@needs_chromium
@pytest.mark.parametrize("paint", ["share", "tag", "age"])
def test_the_map_is_coloured_by_use_tag_or_age_and_tells_all_three(page: Any, paint: str) -> None:
    results = sample(("first-fit", "best-fit", "buddy"), capacity=int(2.7 * GIB))
    choose(page, "painted", paint)
    assert canvas(page, "map").get_attribute("data-painted") == paint
    hover(page, "map", 0.3, 0.15)
    reading = page.find_element("css selector", ".map-values")
    shown = [int(reading.get_attribute(f"data-{name}")) for name in ("row", "column", "cell", "tag", "age")]
    tags = all_tags(results, "training-step")
    policy = page.find_element("css selector", "select.mapped").get_attribute("value")
    cells = cells_of(results.rows("occupancy", "training-step", policy), last_event(results, "training-step"), 400, 200, tags)
    assert cells is not None
    row, column = shown[:2]
    assert shown[2] == pytest.approx(254 * cells.share[row, column], abs=6)
    assert shown[3:] == [cells.tag[row, column] + 1, round(float(cells.age[row, column])) + 1]
    assert f"mostly {tags[shown[3] - 1]}" in reading.text and "events old" in reading.text
    legend = page.find_element("css selector", ".legend").text
    assert {"share": "in use", "tag": tags[0], "age": "events old"}[paint] in legend
    choose(page, "painted", "share")


@browser
@needs_chromium
def test_the_scale_is_that_of_the_policies_shown(page: Any) -> None:
    results = sample(("first-fit", "best-fit", "buddy"), capacity=int(2.7 * GIB))
    assert window(page, "chart")[3] == pytest.approx(1.04 * int(2.7 * GIB))
    choose(page, "measure", "live")
    peak = max(row["peak_live_bytes"] for row in results.summary)
    assert window(page, "chart")[3] == pytest.approx(1.04 * peak, rel=0.02)
    choose(page, "measure", "reserved")


@browser
@needs_chromium
def test_policies_can_be_hidden(page: Any) -> None:
    box = page.find_element("css selector", "input.shown[value=buddy]")
    box.click()
    hover(page, "chart", 0.5)
    assert set(values(page)) == {"first-fit", "best-fit"}
    box.click()


@browser
@needs_chromium
def test_light_and_dark(page: Any) -> None:
    colour = "return getComputedStyle(document.body).backgroundColor"
    before = page.execute_script(colour)
    page.find_element("css selector", "#theme").click()
    assert page.execute_script(colour) != before
    page.find_element("css selector", "#theme").click()
    assert page.execute_script(colour) == before


@browser
@needs_chromium
def test_nothing_is_fetched_and_nothing_goes_wrong(page: Any) -> None:
    assert page.execute_script("return performance.getEntriesByType('resource').map((r) => r.name)") == []
    assert [entry["message"] for entry in page.get_log("browser") if entry["level"] == "SEVERE"] == []


@browser
@needs_chromium
def test_a_policys_section_opens_by_key_and_says_why_it_failed(page: Any) -> None:
    sections = page.find_elements("css selector", "details.policy")
    assert [section.find_element("css selector", "summary").text for section in sections][-1] == "buddy"
    assert not any(section.get_attribute("open") for section in sections)
    sections[-1].find_element("css selector", "summary").send_keys("\ue007")  # enter
    assert sections[-1].get_attribute("open") and "Why it ran out of memory" in sections[-1].text
    assert "Blocks that pin most" in sections[-1].text
    assert not page.get_log("browser")
