"""Reading the trace of a command under a progress bar, and the notes on what its reader assumed."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from memtrace.cli.terminal import echo

if TYPE_CHECKING:
    from memtrace.trace import Trace


def read_trace(
    path: str,
    *,
    trace_format: str | None,
    bars: bool,
    invalid: str = "error",
    keep_ids: bool = False,
    keep_plan: bool = False,
) -> Trace:
    """Read one trace, under a progress bar if ``bars``; ``keep_ids`` and ``keep_plan`` are those of `memtrace.reading.read`."""
    from memtrace.cli.output import bar
    from memtrace.reading import read
    from memtrace.trace.arrow import leave_out_pandas

    leave_out_pandas()
    with bar(f"reading {Path(path).name}", bars) as progress:
        return read(path, invalid=invalid, format=trace_format, keep_ids=keep_ids, keep_plan=keep_plan, progress=progress)


def say_assumed(metadata: Mapping[str, str], silent: bool) -> None:
    """Print the assumptions that the format's reader made, which are in the trace's metadata, unless ``silent``."""
    for line in metadata.get("assumed", "").splitlines() if not silent else ():
        echo(f"note: {line}", err=True)
