"""Two packages as pip would install them: acme-memtrace adds one of each kind, wobbly breaks each in another way."""

from __future__ import annotations

from pathlib import Path

ACME = {
    "__init__.py": "",
    "sizes.py": '''
"""What the policy takes from another module of its package."""

from acme.limits import LEAST


def rounded(size):
    return max(LEAST, (size + 31) // 32 * 32)
''',
    "limits.py": "LEAST = 32\n",
    "above.py": '''
"""Above: every block on top of all before it, in steps of `step` bytes.

A policy of two arrays, for a test.
"""

from typing import NamedTuple

import numpy as np

from acme.sizes import rounded

GROUPS = ("gpu",)


class State(NamedTuple):
    top: np.ndarray  # top[0]: the end of the last block
    used: np.ndarray  # used[0]: bytes in blocks
    limit: int


def init(capacity, max_live, step=32):
    return State(np.zeros(1, np.int64), np.zeros(1, np.int64), capacity)


def alloc(state, request):
    align = max(1, request.align)
    address = (state.top[0] + align - 1) // align * align
    size = rounded(request.size)
    if address + size > state.limit:
        return -1
    state.top[0] = address + size
    state.used[0] += size
    return address


def free(state, request, address):
    state.used[0] -= rounded(request.size)


def reserved(state):
    return state.top[0]
''',
    "first_fit.py": "from memtrace.policies.first_fit import *\nfrom memtrace.policies.first_fit import State, alloc, free, init\n",
    "log.py": '''
"""Logs of acme: a line `acme`, then `+ID SIZE` or `-ID`."""

from memtrace.trace.records import batches

NAME = "acme-log"
SUFFIXES = (".acme",)


def sniff(head, path):
    return head.startswith(b"acme\\n")


def rows(source):
    with source.open() as stream:
        text = stream.read(1 << 20).decode()
    for number, line in enumerate(text.splitlines()[1:], start=2):
        block, _, size = line[1:].partition(" ")
        yield number, "alloc" if line[0] == "+" else "free", int(block), int(size) if size else None


def read(source):
    yield from batches(rows(source), ("op", "id", "size"))
''',
    "stairs.py": '''
"""Blocks of 100, 200, ... bytes, all live at once."""

from typing import Annotated

import numpy as np

from memtrace.workloads.events import Made, Piece
from memtrace.workloads.options import Between


def generate(seed, *, steps: Annotated[int, Between(1, 1000, "of the stairs")] = 5) -> Made:
    numbers = np.arange(steps, dtype=np.int64)
    piece = Piece(np.zeros(steps, np.uint8), numbers, 100 * (numbers + 1), np.full(steps, -1, np.int32))
    return Made(iter([piece]), events=steps)
''',
    "bars.py": '''
"""A plot that draws one box."""

ORDER = 1
NAME = "acme-bars"
TITLE = "A box"


def caption(results, trace):
    return "A box, which means nothing."


def height(results, trace):
    return 1.0


def draw(results, trace, frame):
    frame.box(1.0, 0.4, 2.0, 0.4, "black")
''',
    "pages.py": '''
"""Measures in pages."""

from memtrace.engine import recorder as rec
from memtrace.measures.declaration import metric
from memtrace.measures.peaks import peak_reserved_bytes


@metric("count", "lower", "pages of 4 KiB at the peak of reserved bytes")
def acme_pages(r):
    return -(-peak_reserved_bytes.compute(r) // 4096)


@metric("word", "", "whether the peak fits into a page")
def acme_fits(r):
    return "yes" if acme_pages.compute(r) == 1 else "no"
''',
}
ACME_POINTS = """
[memtrace.policies]
acme_above = acme.above
acme-first = acme.first_fit
[memtrace.formats]
acme_log = acme.log
[memtrace.workloads]
acme_stairs = acme.stairs
[memtrace.plots]
acme-bars = acme.bars
[memtrace.measures]
acme = acme.pages
"""

WOBBLY = {
    "__init__.py": "",
    "half.py": '"""Half a policy."""\n\n\ndef init(capacity, max_live):\n    return None\n\n\ndef alloc(state, request):\n    return -1\n',
    "late.py": 'raise RuntimeError("it was\\nnever finished")\n',
    "log.py": 'NAME = "jumpy"\nSUFFIXES = (".acme",)\n\n\ndef sniff(head, path):\n    raise KeyError(head)\n\n\nread = sniff\n',
    "torn.py": (
        'ORDER = 0\nNAME = "torn"\nTITLE = "Torn"\n\n\ndef caption(results, trace):\n    return ""\n\n\n'
        "def height(results, trace):\n    return 1.0\n\n\ndef draw(results, trace, frame):\n    frame.box(0, 0, 1, 1 / 0, 0)\n"
    ),
    "counts.py": (
        "from memtrace.measures.declaration import metric\n\n\n"
        '@metric("count", "lower", "fails")\ndef wobbly_count(r):\n    return r.nothing\n'
    ),
    "events.py": (
        'from memtrace.measures.declaration import metric\n\n\n@metric("count", "lower", "taken")\ndef events(r):\n    return 1\n'
    ),
}
WOBBLY_POINTS = """
[memtrace.policies]
half = wobbly.half
gone = wobbly.nowhere
object = wobbly.half:init
best-fit = wobbly.half
acme-above = wobbly.half
no.good = wobbly.half
[memtrace.formats]
jumpy = wobbly.log
nameless = wobbly.half
[memtrace.workloads]
idle = wobbly.half
late = wobbly.late
[memtrace.plots]
torn = wobbly.torn
[memtrace.measures]
count = wobbly.counts
taken = wobbly.events
"""


def install(site: Path, package: str, files: dict[str, str], distribution: str, version: str, points: str) -> None:
    """Write a package and the folder that says that it is installed, as pip does."""
    for name, text in files.items():
        file = site / package / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text.lstrip("\n"))
    about = site / f"{distribution.replace('-', '_')}-{version}.dist-info"
    about.mkdir()
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: {version}\n")
    (about / "entry_points.txt").write_text(points.lstrip("\n"))


def install_acme(site: Path) -> None:
    """Install the sound package."""
    install(site, "acme", ACME, "acme-memtrace", "1.2", ACME_POINTS)


def install_wobbly(site: Path) -> None:
    """Install the broken one."""
    install(site, "wobbly", WOBBLY, "wobbly", "0.1", WOBBLY_POINTS)
