"""Reports: the Document's data, and what must hold of the PDF whatever it says."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pypdf import PdfReader
from sample_results import TWELVE, sample

from memtrace.drawing.frame import WIDTH, Frame
from memtrace.drawing.text import width
from memtrace.plots import plots
from memtrace.report import render
from memtrace.report.blocks import Column, Command, Document, Heading, Paragraph, Picture, Section, Table
from memtrace.report.document import build
from memtrace.report.flow import END, SHRINKS, TOP, pages
from memtrace.report.pdf import write
from memtrace.results.suggestions import suggestions
from memtrace.results.verdict import rank, verdict

GIB = 1 << 30


def named(rows: list[dict[str, Any]]) -> list[str]:
    return [found["policy"] for found in rows]


# Document


def flat(document: Document) -> list[Any]:
    """The blocks in order, those of sections among them."""
    return [inner for block in document.blocks for inner in (block.blocks if isinstance(block, Section) else (block,))]


def blocks_of(document: Document, kind: type) -> list[Any]:
    return [block for block in flat(document) if isinstance(block, kind)]


def test_a_document_opens_with_the_verdict_and_the_ranked_table() -> None:
    results = sample()
    heading, verdict_words, *_ = build(results).blocks
    assert heading == Heading("training-step", 1)
    assert verdict_words == Paragraph(verdict(results.summary)[0], strong=True)
    table = blocks_of(build(results), Table)[0]
    assert [cells[0] for cells in table.rows] == named(rank(results.summary))
    assert table.rows[0][2] == "1.002x"


def test_the_table_says_who_ran_out_of_memory_and_where() -> None:
    results = sample(capacity=int(2.7 * GIB))
    last = blocks_of(build(results), Table)[0].rows[-1]
    event = next(found["oom_event"] for found in results.summary if found["policy"] == last[0])
    assert last[1:3] == ("out of memory", f"at {event:,}")


def test_each_trace_has_its_pictures_and_many_traces_an_overview() -> None:
    results = sample(("first-fit",), ("one", "two"), events=((0, 100), (0, 0)))
    document = build(results)
    assert document.blocks[0] == Heading("All traces", 1)
    assert [cells[:2] for cells in document.blocks[1].rows] == [("one", "first-fit"), ("two", "first-fit")]
    names = [picture.file_name for picture in blocks_of(document, Picture)]
    assert len(names) == len(set(names)) == 2 * (len(plots()) + 2)  # a policy's page has two more
    assert {name.partition("-")[0] for name in names} == {"one", "two"}


def test_a_document_ends_with_definitions_and_provenance_without_clock_or_machine() -> None:
    from memtrace.measures import declared

    results = replace(sample(("first-fit",)), manifest={"versions": {"b": "2", "a": "1"}, "machine": "xyzzy"})
    document = build(results)
    *_, measures, provenance = blocks_of(document, Table)
    assert [cells[0] for cells in measures.rows] == [metric.name for metric in declared()]
    assert provenance.rows == (("training-step", results.summary[0]["trace_sha256"]),)
    assert document.blocks[-1] == Paragraph("Made with a 1, b 2.")
    assert "xyzzy" not in str([block for block in flat(document) if not isinstance(block, Picture)])


def test_commands_are_those_of_the_suggestions() -> None:
    results = sample()
    expected = [Command(*suggestion) for suggestion in suggestions(results.summary, "training-step")]
    assert blocks_of(build(results), Command) == expected != []


# Pages


def test_nothing_stands_outside_the_page_and_headings_do_not_stand_alone() -> None:
    long = [Paragraph("word " * 3000), Heading("x" * 200), Table((Column("a", 1),), (("b" * 400,),) * 90)]
    laid_out = pages([Heading("first", 1), *long, *build(sample(TWELVE)).blocks])
    assert len(laid_out) > 5
    for page in laid_out:
        assert not page[-1][1].keeps_next
        for top, piece in page:
            assert top >= TOP
            assert top + piece.height <= END + 1e-9
            for below, line in piece.lines:
                assert below < piece.height
                assert line.left + (0 if line.number else width(line.text, line.size, line.bold) / 72) <= WIDTH + 0.01


def test_a_level_one_heading_starts_a_page() -> None:
    assert len(pages([Heading("one", 1), Heading("two", 1), Paragraph("end")])) == 2


@pytest.mark.parametrize(("height", "yields", "expected"), [(5.0, True, 1), (5.0, False, 2), (6.0, True, 2)])
def test_two_figures_share_a_page_if_they_need_be_drawn_a_little_lower_only(height: float, yields: bool, expected: int) -> None:
    pictures = [Picture(name, name, "caption", 2.0, height, lambda tall: Frame(2.0, tall), yields=yields) for name in "ab"]
    laid_out = pages(pictures)
    assert len(laid_out) == expected
    for page in laid_out:
        for _, piece in page:
            assert piece.picture is not None
            below = piece.lines[0][0]
            assert below - piece.picture.height == pytest.approx(0.14), "the caption moves up with the figure's end"
            assert height * (1 - SHRINKS) <= piece.picture.height <= height
        top, last = page[-1]
        assert top + last.height <= END + 1e-9


# PDF


def pdf_text(path: Path) -> str:
    return "\n".join(page.extract_text() for page in PdfReader(path, strict=True).pages)


def page_count(content: bytes) -> int:
    return len(re.findall(rb"/Type /Page\b(?!s)", content))


@pytest.fixture(scope="module")
def twelve(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The PDF of twelve policies."""
    return render(sample(TWELVE), tmp_path_factory.mktemp("twelve"))[0]


def test_the_pdf_holds_all_that_the_document_says_as_text(twelve: Path) -> None:
    results, path = sample(TWELVE), twelve
    text = " ".join(pdf_text(path).split())
    for picture in blocks_of(build(results), Picture):
        assert picture.title in text
    for policy in ("best-fit", "worst-fit", "first-fit", "segregated"):
        assert policy in text
    count = page_count(path.read_bytes())
    assert all(f"page {number} of {count}" in text for number in range(1, count + 1))


def test_fonts_are_whole_truetype_and_the_page_is_a4(twelve: Path) -> None:
    content = twelve.read_bytes()
    assert b"/CIDFontType2" in content
    assert b"/Type3" not in content
    [box] = set(re.findall(rb"/MediaBox \[ 0 0 (\S+) (\S+) \]", content))
    assert [float(side) / 72 for side in box] == pytest.approx([8.27, 11.69])


def test_the_pdf_is_small_and_carries_no_date(twelve: Path) -> None:
    content = twelve.read_bytes()
    assert len(content) < 1_000_000
    assert b"CreationDate" not in content


def test_the_same_results_give_the_same_bytes_in_another_process(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from sample_results import sample; from memtrace.report "
        "import render\nfolder = Path(sys.argv[1]); results = sample(('best-fit', "
        "'pytorch:a=1'))\nrender(results, folder)"
    )
    for seed in ("1", "2"):
        environment = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": os.pathsep.join(sys.path)}
        subprocess.run([sys.executable, "-c", code, tmp_path / seed], check=True, env=environment)
    files = sorted(path.relative_to(tmp_path / "1") for path in (tmp_path / "1").rglob("*.p*"))
    assert len(files) == 1 + len(plots())
    for name in files:
        assert (tmp_path / "1" / name).read_bytes() == (tmp_path / "2" / name).read_bytes(), name


def test_the_readers_own_matplotlib_settings_change_nothing(tmp_path: Path) -> None:
    import matplotlib

    results = sample(("first-fit",), events=((0, 100), (0, 0)))
    plain = render(results, tmp_path)[0].read_bytes()
    with matplotlib.rc_context({"font.family": "serif", "axes.grid": True, "figure.dpi": 200, "text.usetex": True}):
        assert render(results, tmp_path)[0].read_bytes() == plain


def test_odd_names_are_written_without_warning(tmp_path: Path) -> None:
    odd = ("$x_1$ \\alpha", "日本語\u202e", "a" * 60, "new\nline")
    results = sample(("best-fit", "./mine.py:$k$=%"), odd, events=((0, 100), (0, 0)))
    path, _, *pictures = render(results, tmp_path)
    assert len(pictures) == len(odd) * len(plots())
    assert all(picture.stat().st_size > 1000 for picture in pictures)
    assert page_count(path.read_bytes()) >= 9


@pytest.mark.parametrize("capacity", [1000, int(2.7 * GIB)])
def test_running_out_of_memory_is_drawn(tmp_path: Path, capacity: int) -> None:
    path, *_ = render(sample(capacity=capacity), tmp_path)
    assert "ran out of memory" in pdf_text(path)


def test_no_results_are_a_report_that_says_so(tmp_path: Path) -> None:
    path, page, *pictures = render(sample((), ()), tmp_path)
    assert "Nothing was replayed." in page.read_text()
    assert "Nothing was replayed." in pdf_text(path)
    assert pictures == []


def test_a_killed_run_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "report.pdf"
    path.write_bytes(b"old")

    def fail(height: float) -> Frame:
        raise KeyboardInterrupt

    document = Document("t", (Picture("p", "t", "c", 2.0, 1.0, fail),))
    with pytest.raises(KeyboardInterrupt):
        write(document, path)
    assert [found.name for found in tmp_path.iterdir()] == ["report.pdf"]
    assert path.read_bytes() == b"old"


@pytest.mark.parametrize("kinds", [("md",), ("html", "md"), ("pdf",)])
def test_only_the_kinds_that_are_asked_for_are_written(tmp_path: Path, kinds: tuple[str, ...]) -> None:
    files = render(sample(("first-fit",), events=((0, 100), (0, 0))), tmp_path, kinds)
    assert {path.name for path in tmp_path.iterdir()} == {"plots", *(f"report.{kind}" for kind in kinds)}
    assert [path.name for path in files if path.parent == tmp_path] == [
        f"report.{k}" for k in ("pdf", "html", "md") if k in kinds
    ]
    assert all(path.is_file() for path in files)


def test_a_table_cut_between_pages_has_its_headings_on_each() -> None:
    table = Table((Column("name", 1.0), Column("bytes", 1.0, numbers=True)), tuple((f"row {k}", str(k)) for k in range(150)))
    found = [[line.text for _, piece in page for _, line in piece.lines] for page in pages([Heading("Rows", 1), table])]
    assert len(found) > 1
    assert [texts.count("bytes") for texts in found] == [1] * len(found)
    assert all(texts[:2] == ["name", "bytes"] for texts in found[1:])
    assert [text for texts in found for text in texts if text.startswith("row ")] == [f"row {k}" for k in range(150)]
