"""Recording real programs: every call, in order, of the process that is asked for; and what is said when it cannot be."""

from __future__ import annotations

import contextlib
import json
import shutil
import signal
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from conftest import Run

from memtrace import reading
from memtrace.errors import InputError, UsageError
from memtrace.formats import calls
from memtrace.recording import native

needs_cc = pytest.mark.skipif(
    not sys.platform.startswith("linux") or not shutil.which("cc"), reason="needs Linux and a C compiler"
)

PROGRAM = r"""
#include <malloc.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
static void *work(void *unused) { free(malloc(333)); return unused; }
int main(int count, char **words) {
    char *grown = realloc(malloc(111), 222), *zeroed = calloc(3, 100);
    void *aligned;
    if (posix_memalign(&aligned, 4096, 555)) return 1;
    pthread_t thread;
    pthread_create(&thread, NULL, work, NULL);
    pthread_join(thread, NULL);
    free(NULL);
    free(aligned);
    if (fork() == 0) {
        for (int i = 0; count > 1 && i < 500; i++) free(malloc(999));
        free(grown);
        _exit(0);
    }
    wait(NULL);
    grown = realloc(grown, 0);
    if (malloc((size_t)-1) != NULL || malloc_usable_size(zeroed) < 300) return 2;
    _exit(zeroed == NULL);
}
"""


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("program")
    (folder / "program.c").write_text(PROGRAM)
    # -O0 and the builtins off: a compiler may drop a malloc whose block is only freed
    command = ["cc", "-O0", "-fno-builtin", "-w", "-pthread", "-o", str(folder / "program"), str(folder / "program.c")]
    subprocess.run(command, check=True)
    return folder / "program"


@needs_cc
def test_every_call_of_a_program(program: Path, tmp_path: Path) -> None:
    done = native.record([str(program)], tmp_path / "t.parquet")
    assert (done.exit_code, done.process.program, len(done.processes)) == (0, "program", 2)
    assert "assumed" not in done.metadata and done.metadata["threads"] == "2"
    rows = reading.read(tmp_path / "t.parquet", keep_ids=True)
    table = rows.to_pandas()
    table["id"] = rows.ids(np.arange(len(table)))

    def of(size: int) -> list[tuple[str, int, str]]:
        (first,) = table.index[(table["size"] == size) & (table["op"] == "alloc")]
        life = table[table["id"] == table["id"][first]]
        return [(op, size, str(tag)) for op, size, tag in zip(life["op"], life["size"], life["tag"], strict=True)]

    assert of(111) == [("alloc", 111, "malloc"), ("realloc", 222, "nan"), ("free", 0, "nan")]
    assert of(555) == [("alloc", 555, "aligned"), ("free", 0, "nan")]
    assert of(300) == [("alloc", 300, "calloc")]
    assert of(333) == [("alloc", 333, "malloc"), ("free", 0, "nan")]
    assert table["align"][table["size"] == 555].tolist() == [4096]
    assert table["stream"][table["size"] == 333].tolist() == [1]
    assert 999 not in table["size"].tolist() and rows.facts.largest_request < 1 << 20
    assert table["time"].is_monotonic_increasing


@needs_cc
def test_a_forked_child_has_what_its_parent_had(program: Path, tmp_path: Path) -> None:
    done = native.record([str(program), "busy"], tmp_path / "t.parquet")
    assert done.process.parent and done.process.inherited and "assumed" not in done.metadata
    table = reading.read(tmp_path / "t.parquet").to_pandas()
    assert (table["size"] == 999).sum() == 500
    assert (table["op"] == "realloc").sum() == 1  # before the fork; the parent's second is not the child's
    assert table["op"].tolist()[-1] == "free"


@needs_cc
def test_a_process_by_name(program: Path, tmp_path: Path) -> None:
    command = ["sh", "-c", f"{program}; {program} busy"]
    assert native.record(command, tmp_path / "t.csv", process="program").process.program == "program"
    with pytest.raises(UsageError, match="unknown process 'progam'; did you mean 'program'"):
        native.record(command, tmp_path / "t.csv", process="progam")


@needs_cc
def test_the_command(program: Path, tmp_path: Path, memtrace: Run, memtrace_process: Run) -> None:
    done = memtrace_process("record", "native", "-o", "t.parquet", "--", program)
    assert done.returncode == 0 and "wrote t.parquet:" in done.stderr and done.stdout == ""
    said = json.loads(memtrace("record", "native", "--json", "-o", "t.parquet", "--", program).stdout)
    assert said["events"] == reading.read(tmp_path / "t.parquet").facts.events and said["exit_code"] == 0
    ended = memtrace("record", "native", "-o", "t.parquet", "--", "sh", "-c", f"{program}; exit 3")
    assert ended.returncode == 3 and "note: sh ended with 3" in ended.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["t.parquet"]


@needs_cc
def test_a_full_disk_ends_the_recording_and_not_the_program(tmp_path: Path) -> None:
    """A limit on the size of files stands for a full disk: both refuse the space that the recorder reserves."""
    script = """
import resource  # Python ignores the signal that comes with this limit
resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))
x = [bytes(600 + i % 50) for i in range(100000)]
raise SystemExit(5)
"""
    done = native.record([sys.executable, "-c", script], tmp_path / "t.parquet")
    assert done.exit_code == 5
    calls = done.process.calls
    assert 0 < calls < 100000 and calls % (1 << 14) == 0, "the calls of the windows that had room"
    assert f"ended after {calls:,} calls, before the program did: File too large" in done.metadata["assumed"]


@needs_cc
def test_a_signal_ends_the_program_first(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "memtrace", "record", "native", "-o", "t.parquet", "--"]
    program = "import time; open('began', 'w').close(); time.sleep(100)"
    process = subprocess.Popen([*command, sys.executable, "-c", program], cwd=tmp_path, stderr=subprocess.PIPE, text=True)
    while process.poll() is None and not (tmp_path / "began").exists():
        time.sleep(0.02)
    (child,) = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=30)
    assert process.returncode == 143 and said.strip() == "terminated; nothing was written"
    assert not Path(f"/proc/{child}").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["began"]


@needs_cc
def test_a_recording_is_kept_if_it_cannot_be_converted(
    program: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, memtrace: Run
) -> None:
    def interrupted(*_: object, **__: object) -> int:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(reading, "convert", interrupted)
        done = memtrace("record", "native", "-o", "t.parquet", "--", program)
    assert done.returncode == 130 and "interrupted; the recording is kept" in done.stderr
    (log,) = [word for word in done.stderr.split() if word.endswith(".calls")]
    assert memtrace("convert", log, "t.parquet").returncode == 0
    assert reading.read(tmp_path / "t.parquet").facts.events > 0


def test_what_cannot_be_recorded(tmp_path: Path, memtrace: Run) -> None:
    for words, said in (
        (("native", "-o", "t.parquet", "--", "no-such-program"), "no-such-program: there is no such program"),
        (("native", "-o", "t.xlsx", "--", "true"), "traces are written as"),
        (("native", "-o", "none/t.csv", "--", "true"), "there is no folder none"),
        (("torch", "nothing.py"), "torch" if find_spec("torch") is None else "there is no such script"),
        (("python", "nothing.py"), "memray" if find_spec("memray") is None else "there is no such script"),
    ):
        done = memtrace("record", *words)
        assert (done.returncode, said in done.stderr, "Traceback" in done.stderr) == (2, True, False), done.stderr
    assert not list(tmp_path.iterdir())


def test_no_compiler_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.delenv("CC", raising=False)
    with pytest.raises(UsageError, match="needs a C compiler"):
        native.recorder_library()


def log(path: Path, rows: list[tuple[int, int, int, int, int]], announced: int | None = None) -> Path:
    """A recorder's file of (call, block, old, size, log2 of align)."""
    header, records = np.zeros(1, calls.HEADER), np.zeros(len(rows), calls.RECORD)
    header["magic"], header["program"] = calls.MAGIC, b"made"
    header["count"] = len(rows) if announced is None else announced
    for number, (call, block, old, size, align) in enumerate(rows):
        records[number] = (number, block, old, size, 0, call, align, 0)
    path.write_bytes(header.tobytes().ljust(calls.FIRST_RECORD, b"\0") + records.tobytes())
    return path


MALLOC, FREE, REALLOC, CALLOC, ALIGNED = range(5)


def test_a_log_by_hand(tmp_path: Path) -> None:
    rows = [
        (MALLOC, 0x10, 0, 5, 0),
        (REALLOC, 0x20, 0x10, 9, 0),
        (CALLOC, 0x10, 0, 12, 0),
        (FREE, 0x20, 0, 0, 0),
        (ALIGNED, 0x40, 0, 64, 6),
        (FREE, 0x99, 0, 0, 0),
        (REALLOC, 0x50, 0, 7, 0),
        (REALLOC, 0x60, 0x98, 8, 0),
    ]
    read = reading.read(log(tmp_path / "t.calls", rows), keep_ids=True)
    table = read.to_pandas()
    assert read.ids(np.arange(7)).tolist() == [0, 0, 1, 0, 2, 3, 4]
    assert table["op"].tolist() == ["alloc", "realloc", "alloc", "free", "alloc", "alloc", "alloc"]
    assert [str(tag) for tag in table["tag"]] == ["malloc", "nan", "calloc", "nan", "aligned", "realloc", "realloc"]
    assert table["align"].tolist() == [0, 0, 0, 0, 64, 0, 0]
    assert read.metadata["program"] == "made" and len(read.metadata["assumed"].splitlines()) == 2


def test_damaged_logs(tmp_path: Path) -> None:
    whole = [(MALLOC, 16 * i, 0, i, 0) for i in range(1, 100)]
    cut = log(tmp_path / "cut.calls", whole, announced=1000)
    assert "the file ends early, after 99 of 1,000 calls" in reading.read(cut).metadata["assumed"]
    with pytest.raises(InputError, match=r"call 2 is of a kind that is not known, 9"):
        reading.read(log(tmp_path / "t.calls", [whole[0], (9, 1, 1, 1, 0)]))
    (tmp_path / "short.calls").write_bytes(calls.MAGIC)
    with pytest.raises(InputError, match="header is missing"):
        reading.read(tmp_path / "short.calls")
    data, draw = bytearray(log(tmp_path / "t.calls", whole).read_bytes()), np.random.default_rng(0)
    for _ in range(200):
        at = int(draw.integers(16, len(data)))
        damaged = bytes(data[:at]) + bytes([int(draw.integers(256))]) + bytes(data[at + 1 :])
        (tmp_path / "d.calls").write_bytes(damaged)
        with contextlib.suppress(InputError):
            reading.read(tmp_path / "d.calls")


@pytest.mark.skipif(find_spec("memray") is None, reason="needs memray")
def test_a_python_program(tmp_path: Path, memtrace_process: Run) -> None:
    (tmp_path / "script.py").write_text("import sys\nkept = [bytearray(100_000 + i) for i in range(int(sys.argv[1]))]\n")
    done = memtrace_process("record", "python", "-o", "t.parquet", "--", "script.py", "20")
    assert done.returncode == 0, done.stderr
    sizes = reading.read(tmp_path / "t.parquet").to_pandas()["size"].tolist()
    assert [sizes.count(100_001 + i) for i in range(20)] == [1] * 20


TORCH = """
import torch
model = torch.nn.Sequential(torch.nn.Linear(1000, 500), torch.nn.ReLU(), torch.nn.Linear(500, 10)).to("cuda").double().float()
optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
loss = model(torch.zeros(64, 1000, device="cuda")).sum()
loss.backward()
optimizer.step()
"""


@pytest.mark.skipif(find_spec("torch") is None, reason="needs torch")
def test_a_torch_program(tmp_path: Path, memtrace_process: Run) -> None:
    (tmp_path / "script.py").write_text(TORCH)
    done = memtrace_process("record", "torch", "-o", "t.parquet", "script.py")
    assert done.returncode == 0, done.stderr
    table = reading.read(tmp_path / "t.parquet").to_pandas()
    made = {tag: size for tag, size in zip(table["tag"].astype(str), table["size"], strict=True) if tag != "nan"}
    for kind in ("weight", "gradient", "optimizer"):
        assert {name: made[f"{kind} {name}"] for name in ("0.weight", "2.bias")} == {"0.weight": 2_000_000, "2.bias": 40}
    assert made["activation 0"] == 64 * 500 * 4 and made["tensor"]
