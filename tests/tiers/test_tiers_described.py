"""Descriptions of tiers, good and bad, and the command."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from conftest import ROOT, Run
from oracle import Event
from tier_cases import trace_of

from memtrace.errors import MemtraceError, UsageError
from memtrace.tiers.description import PRESETS, tiers_from_options
from memtrace.tiers.replay import replay_tiers
from memtrace.tiers.tier import Plan

GOOD = "hbm=1GiB@1TB/s"
FIGURES = ("residency", "traffic", "stall", "evictions")
BAD = [
    (["hbm"], 2, "is not NAME=SIZE@BANDWIDTH"),
    (["hbm=80GiB"], 2, "has no bandwidth"),
    (["hbm=80G@3TB/s"], 2, "write 80GiB (2^30) or 80GB (10^9)"),
    (["hbm=80GiB@3TB"], 2, "write bytes per second: 3TB/s"),
    (["hbm=80GiB@3Tb/s"], 2, "looks like bits"),
    (["hbm=80GiB@0GB/s"], 2, "moves nothing"),
    (["hbm=80GiB@fast"], 2, "'fast' is no bandwidth"),
    (["hbm=-1@1GB/s"], 2, "is no size"),
    (["hbm=80GiB@1GB/s,10"], 2, "'10' is no time"),
    (["hbm=80GiB@1GB/s,10min"], 2, "unknown unit 'min'"),
    (["hbm=80GiB@1GB/s,2s"], 2, "more than a second"),
    (["hbm=80GiB@1GB/s,1us,polcy=buddy"], 2, "did you mean 'policy'"),
    (["hbm=80GiB@1GB/s,policy=best-fti"], 2, "did you mean 'best-fit'"),
    (["hbm=80GiB@1GB/s,policy=optimum"], 2, "cannot be the policy of a tier"),
    (["hbm=80GiB@1GB/s,policy=buddy,policy=buddy"], 2, "policy is there twice"),
    (["hbm=80GiB@1GB/s,ratio=0.5"], 2, "not between 1 and"),
    (["hbm=80GiB@1GB/s,ratio=two"], 2, "is no ratio"),
    (["hbm=80GiB@1GB/s,ratio=[a]"], 2, "each part is TAG:RATIO"),
    (["hbm=80GiB@1GB/s,compress=1GB/s"], 2, "need a ratio"),
    (["hbm=80GiB@1GB/s,ratio=sample:nowhere"], 3, "cannot be read"),
    (["=80GiB@1GB/s"], 2, "name is missing"),
    (["1st=80GiB@1GB/s"], 2, "is no name for a tier"),
    ([GOOD, GOOD], 2, "two tiers are called hbm: the 1. and the 2."),
    (["dram=1TiB@60GB/s", GOOD], 2, "give hbm first"),
    ([f"t{k}=1@1GB/s" for k in range(8)], 2, "the most is 7"),
    ([], 2, "no tier is given"),
]


@pytest.mark.parametrize(("given", "code", "says"), BAD, ids=[says[:24] for _, _, says in BAD])
def test_bad_descriptions(given: list[str], code: int, says: str) -> None:
    with pytest.raises(MemtraceError) as caught:
        tiers = tiers_from_options(given, None, None)
        replay_tiers(trace_of([Event("alloc", 1, 8)]), tiers, Plan(uses="lifetimes"))
    assert says in str(caught.value) and caught.value.exit_code == code


TOMLS = [
    ("x = 1", 3, "'x' is not known there"),
    ("", 3, "has no tables"),
    ("[[tier", 3, "is no TOML"),
    ('[[tier]]\nname = "a"\nsize = "1GiB"', 3, "tier 1: bandwidth is missing"),
    ('[[tier]]\nname = "a"\nsize = "1GiB"\nbandwidth = "1GB/s"\nlag = 3', 3, "unknown part of a tier 'lag'"),
]


@pytest.mark.parametrize(("text", "code", "says"), TOMLS)
def test_bad_files(tmp_path: Path, text: str, code: int, says: str) -> None:
    file = tmp_path / "tiers.toml"
    file.write_text(text)
    with pytest.raises(MemtraceError) as caught:
        tiers_from_options([], str(file), None)
    assert says in str(caught.value) and caught.value.exit_code == code


def test_a_file_says_what_the_options_say(tmp_path: Path) -> None:
    file = tmp_path / "tiers.toml"
    file.write_text(
        '[[tier]]\nname = "hbm"\nsize = "1GiB"\nbandwidth = "1TB/s"\n'
        '[[tier]]\nname = "zram"\nsize = "2GiB"\nbandwidth = "60GB/s"\nlatency = "10us"\n'
        'policy = "buddy"\nratio = {activation = 1.5, "*" = 2}\ncompress = "1GB/s"\n'
    )
    options = [GOOD, "zram=2GiB@60GB/s,10us,policy=buddy,ratio=[activation:1.5,*:2],compress=1GB/s"]
    assert tiers_from_options([], str(file), None) == tiers_from_options(options, None, None)


@pytest.mark.parametrize("preset", PRESETS)
def test_presets(preset: str) -> None:
    assert len(tiers_from_options([], None, preset)) >= 3 and PRESETS[preset].source


def test_two_descriptions_are_one_too_many() -> None:
    with pytest.raises(UsageError, match="--tier and --preset both"):
        tiers_from_options([GOOD], None, "h100")
    with pytest.raises(UsageError, match="did you mean 'h100'"):
        tiers_from_options([], None, "h10")


def test_the_command(memtrace: Run, tmp_path: Path) -> None:
    tiers = ("--tier", "hbm=3GiB@1TB/s", "--tier", "dram=64GiB@32GB/s,10us", "--curve", "3")
    trace = ROOT / "traces" / "gpt-6x512-fp32.csv"
    refused = memtrace("tiers", trace, *tiers)
    assert refused.returncode == 2 and "neither access events" in refused.stderr
    done = memtrace("tiers", trace, *tiers, "--uses", "lifetimes", "-o", "out")
    assert done.returncode == 0, done.stderr
    assert "times are modelled, not measured" in done.stdout and max(map(len, done.stdout.splitlines())) <= 80
    again = memtrace("tiers", trace, *tiers, "--uses", "lifetimes", "-o", "out", "--json")
    found = json.loads(again.stdout)
    assert {Path(path).name for path in found["files"]} >= {
        "tiers.parquet",
        "tier_timeline.parquet",
        "tier_curve.parquet",
        "tiers-stall.png",
        "report.pdf",
        "report.html",
    }
    hbm, dram = found["results"]
    for row in (hbm, dram):
        assert row["in_bytes"] == row["out_bytes"] + row["resident_bytes"]
    stalls = [row["run_stall_ns"] for row in found["curve"]]
    assert stalls[0] > stalls[-1] and dram["down_bytes"] > 0
    written = memtrace("report", "out", "-o", "out.md", "--quiet")
    assert written.returncode == 0, written.stderr
    text = (tmp_path / "out.md").read_text()
    assert "## How times are modelled" in text and "not measured" in text
    assert f"{hbm['evictions']:,}" in text and all(f"plots/tiers-{name}.png" in text for name in FIGURES)
    page = (tmp_path / "out" / "report.html").read_text()
    assert page.count("<figure>") == len(FIGURES) and "http://" not in page
    refused = memtrace("report", "out", "-o", "out.txt")
    assert refused.returncode == 2 and "report is written as .pdf" in refused.stderr
