"""What is published besides the sources says the same as they do."""

from __future__ import annotations

import re
import tomllib

from conftest import ROOT

import memtrace

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
RECIPE = (ROOT / "docs" / "conda" / "recipe.yaml").read_text()


def test_the_recipe_for_conda_has_the_version_and_the_dependencies() -> None:
    run = RECIPE.partition("\n  run:\n")[2].partition("\n\n")[0]
    wanted = [f"python {PROJECT['requires-python']}", *PROJECT["dependencies"]]
    found = [line.removeprefix("    - ").replace("matplotlib-base", "matplotlib") for line in run.splitlines()]
    assert [each.replace(" ", "") for each in found] == [each.replace(" ", "") for each in wanted]
    assert re.findall(r"(?:version: \"|memtrace_replay-)([\d.]+?)(?:\"|\.tar)", RECIPE) == [memtrace.__version__] * 2
    assert "- memtrace = memtrace.cli:main" in RECIPE and PROJECT["scripts"] == {"memtrace": "memtrace.cli:main"}
    assert f"license: {PROJECT['license']}" in RECIPE


def test_the_plugin_of_pytest_is_declared() -> None:
    assert PROJECT["entry-points"]["pytest11"] == {"memtrace": "memtrace.testing.plugin"}
