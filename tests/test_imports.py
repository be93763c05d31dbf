"""Who may import whom, read off the sources; and what `import memtrace` and `memtrace --help` load."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT

PACKAGE = ROOT / "memtrace"
HEAVY = {"numba", "pandas", "pyarrow", "matplotlib"}

# Part -> the parts that it may import, late or at once. Errors, units and names are for all.
ALLOWED = {
    "formats": {"trace"},
    "trace": {"formats"},
    "structures": {"engine.request"},
    "policies": {"structures", "engine.request"},
    "engine": {"structures", "policies"},
    "replaying": {"engine", "structures", "trace"},
    "validate": {"replaying", "trace"},
    "metrics": {"replaying", "engine", "structures", "trace"},
    "results": {"metrics", "replaying", "engine", "trace"},
    "running": {"results", "replaying", "engine", "trace", "validate"},
    "plots": {"results", "report", "metrics"},
    "report": {"results", "plots", "metrics"},
    "heap": {"engine", "structures", "replaying"},
    "testing": {"engine", "replaying", "trace", "validate"},
}
COMMON = {"errors", "units", "names", "__version__"}


def part_of(file: Path) -> str:
    return file.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports_of(file: Path) -> set[str]:
    """The package's own modules that a file imports, without the leading `memtrace.`."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.partition(".")[0] == "memtrace":
            base = node.module.removeprefix("memtrace").lstrip(".")
            found |= {base} if base else {alias.name for alias in node.names}
        elif isinstance(node, ast.Import):
            found |= {a.name.removeprefix("memtrace.") for a in node.names if a.name.startswith("memtrace.")}
    return found


FILES = sorted(file for file in PACKAGE.rglob("*.py") if file.parent != PACKAGE or file.stem in ALLOWED)


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(PACKAGE)))
def test_imports_follow_the_direction(file: Path) -> None:
    part = part_of(file)
    if part == "cli":
        return
    for name in imports_of(file):
        whole = name.partition(".")[0]
        assert whole in {part, *COMMON} or whole in ALLOWED[part] or name in ALLOWED[part], f"{part} imports {name}"


def test_policies_and_structures_know_nothing_of_numba() -> None:
    for folder in ("policies", "structures"):
        for file in (PACKAGE / folder).glob("*.py"):
            assert "import numba" not in file.read_text() and "from numba" not in file.read_text(), file


@pytest.mark.parametrize("arguments", [["-c", "import memtrace"], ["-m", "memtrace", "--help"]])
def test_nothing_heavy_is_loaded(arguments: list[str], tmp_path: Path) -> None:
    hook = "import atexit, json, sys; atexit.register(lambda: open('loaded.json', 'w').write(json.dumps(list(sys.modules))))"
    (tmp_path / "sitecustomize.py").write_text(hook)
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"}
    subprocess.run([sys.executable, *arguments], cwd=tmp_path, env=environment, check=True, capture_output=True)
    loaded = {name.partition(".")[0] for name in json.loads((tmp_path / "loaded.json").read_text())}
    assert "memtrace" in loaded and not loaded & HEAVY


def test_files_are_short() -> None:
    long = {str(file.relative_to(ROOT)): n for file in PACKAGE.rglob("*.py") if (n := file.read_text().count("\n")) > 330}
    assert long == {}
