"""The command `memtrace whatif`, which replays a recorded GPU program under other settings of PyTorch's allocator."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from memtrace.cli import report_options
from memtrace.cli.options import SIZE, option
from memtrace.cli.policies import say_compiling

if TYPE_CHECKING:
    from memtrace.gpu.autopsy import Pin
    from memtrace.gpu.fidelity import Fidelity
    from memtrace.gpu.whatif import Row
    from memtrace.trace import Trace

PINS_SHOWN = 6  # segments that are printed


@click.command()
@click.argument("snapshot")
@click.option(
    "--conf",
    "confs",
    multiple=True,
    metavar="STR",
    help="Settings in the syntax of PYTORCH_CUDA_ALLOC_CONF; '' stands for the defaults. Repeatable.",
)
@option("capacity", help="Memory of the device, such as 24GiB; without it memory is unlimited.")
@click.option(
    "--device",
    default="",
    metavar="N",
    help="The device to take from a snapshot of several; by default the one with most events.",
)
@click.option(
    "--recorded", metavar="STR", help="The settings in force during the recording, if the file does not contain all of them."
)
@click.option(
    "--recorded-capacity",
    metavar="SIZE",
    callback=SIZE,
    help="The memory of the device during the recording, if it ran short then.",
)
@option("invalid")
@report_options
def whatif(
    snapshot: str,
    confs: tuple[str, ...],
    capacity: int | None,
    device: str,
    recorded: str | None,
    recorded_capacity: int | None,
    invalid: str,
    as_json: bool,
    quiet: bool,
    verbose: int,
) -> None:
    """Replay SNAPSHOT, or any trace, under several settings of PyTorch's allocator.

    First the recorded settings are replayed and compared with the recording. Then each setting gets a row: peak of
    reserved bytes, retries, whether and where memory runs out, and the smallest device that is enough.

    \b
    Examples:
      memtrace whatif snapshot.pickle
      memtrace whatif snapshot.pickle --capacity 24GiB --conf expandable_segments:True --conf max_split_size_mb:128
    """
    from memtrace.gpu.whatif import best_of, grid, mark_no_effect, rows_of

    say_compiling(quiet or as_json)
    trace, compared = read(snapshot, device, recorded, recorded_capacity, invalid)
    chosen = list(dict.fromkeys(confs)) or grid(compared.conf if compared else None)
    rows = rows_of(trace, chosen, capacity)
    mark_no_effect(rows)
    best = best_of(rows)
    if as_json:
        from memtrace.cli.output import echo_json

        echo_json(document(trace, capacity, compared, rows, best))
        return
    click.echo(fidelity_line(compared))
    show(trace, rows, capacity, quiet, verbose)
    if best:
        click.echo(
            f"\nPYTORCH_CUDA_ALLOC_CONF={best.conf}"
            if best.conf
            else "\nthe defaults do best: leave PYTORCH_CUDA_ALLOC_CONF unset"
        )


def read(path: str, device: str, recorded: str | None, capacity: int | None, invalid: str) -> tuple[Trace, Fidelity | None]:
    """Return the trace, and how exactly a replay of the recorded settings repeats the recording.

    The second is None if the file is no snapshot, and so has no recorded addresses. ``device`` chooses a device of the
    snapshot, ``recorded`` and ``capacity`` replace what it says of settings and memory.
    """
    from memtrace.formats import find
    from memtrace.reading import read as read_trace
    from memtrace.trace.sources import open_source

    with open_source(path) as source:
        name = find(source).NAME
    if name != "torch-snapshot":
        return read_trace(path, invalid=invalid), None
    from memtrace.formats.snapshot.diagnostics import conf_of, released, without_share
    from memtrace.gpu.fidelity import fidelity, recorded_capacity
    from memtrace.gpu.recorded import read_recorded

    found = read_recorded(path, device)
    for note in found.trace.metadata["assumed"].splitlines():
        click.echo(f"note: {note}", err=True)
    settings = found.snapshot.settings
    conf = conf_of(settings, found.recording) if recorded is None else recorded
    if capacity is None and conf != (conf := without_share(conf, found.recording)):
        click.echo("note: the device's memory was not recorded, so no share of it is kept; see --recorded-capacity", err=True)
    at = capacity if capacity is not None else recorded_capacity(found.recording, released(settings))
    return found.trace, fidelity(found.recording, found.lives, found.rows, found.trace, conf, at)


def fidelity_line(compared: Fidelity | None) -> str:
    """Return a sentence on how exactly the replay repeats the recording."""
    from memtrace.units import format_size

    if compared is None:
        return "no recorded addresses in this trace: nothing to compare a replay with"
    share = 100 * compared.addresses_equal / compared.addresses_total if compared.addresses_total else 100.0
    text = (
        f"recorded settings ({compared.conf or 'defaults'}) replayed: {compared.addresses_equal:,} of "
        f"{compared.addresses_total:,} addresses equal ({share:.4g} %), reserved peak "
        f"{format_size(compared.reserved_peak_replayed)}, recorded {format_size(compared.reserved_peak_recorded)}"
    )
    if compared.first_difference is not None:
        text += f"; the first difference is at recorded event {compared.first_difference:,}"
    return text


def show(trace: Trace, rows: list[Row], limit: int | None, quiet: bool, verbose: int) -> None:
    """Print the table with a row for each setting, how the settings that ran out of memory did so, and warnings.

    Without ``verbose`` only the first of these settings is explained. ``limit`` is the device's memory in bytes or
    None.
    """
    from memtrace.cli.output import print_table
    from memtrace.units import format_size

    device = "a device that never runs short" if limit is None else f"a device of {format_size(limit)}"
    title = f"{trace.name}: {trace.facts.events:,} events on {device}; live at most {format_size(trace.facts.peak_live_bytes)}"
    columns = ("PYTORCH_CUDA_ALLOC_CONF", "reserved", "retries", "segments", "fits in", "")
    print_table(columns, [cells(row) for row in rows], words=(0, 5), title=title)
    failed = [row for row in rows if row.autopsy is not None]
    for row in failed[:1] if not verbose else failed:
        show_autopsy(row)
    if len(failed) > 1 and not verbose:
        click.echo(f"{len(failed) - 1} more ran out of memory; -v takes each of them apart")
    for row in rows if not quiet else ():
        for note in row.notes:
            click.echo(f"warning: {name_of(row)}: {note}", err=True)


def show_autopsy(row: Row) -> None:
    """Print the state of memory when it ran out, and the blocks that keep free bytes from going back to the device."""
    from memtrace.cli.output import print_table
    from memtrace.units import format_size

    found = row.autopsy
    assert found is not None
    where = f" at {row.oom_tag}" if row.oom_tag else ""
    click.echo(f"\n{name_of(row)}: out of memory at event {found.event:,}, which asks for {format_size(found.request)}{where}")
    click.echo(
        f"  reserved {format_size(found.reserved)}: {format_size(found.active)} in blocks in use, {format_size(found.cached)} "
        f"cached\n  of that {format_size(found.splits)} lie beside blocks in use and cannot go back to the device\n"
        f"  the largest free block has {format_size(found.largest_free)}"
    )
    rows = [
        (f"0x{pin.address:x}", format_size(pin.extent), format_size(pin.free), str(pin.live), holders_text(pin))
        for pin in found.pins[:PINS_SHOWN]
    ]
    if rows:
        title = f"the most free bytes kept, of {len(found.pins)} such segments"
        print_table(("segment", "size", "free", "blocks", "held by"), rows, words=(0, 4), title=title)


def holders_text(pin: Pin) -> str:
    """Return the blocks that keep a segment: tag, number and bytes of the first two kinds."""
    from memtrace.units import format_size

    parts = [
        f"{tag} ({count} x, {format_size(size)})" if tag != "untagged" else f"{format_size(size)}"
        for tag, count, size in pin.holders
    ]
    return ", ".join(parts[:2]) + (", ..." if len(parts) > 2 else "")


def name_of(row: Row) -> str:
    """Return the settings of a row, or "defaults"."""
    return row.conf or "defaults"


def cells(row: Row) -> tuple[str, ...]:
    """Return a row's line in the table."""
    from memtrace.units import format_size

    if row.status == "refused":
        return name_of(row), "-", "-", "-", "-", "refused"
    fits = format_size(row.smallest_capacity) if row.smallest_capacity is not None else "-"
    return (
        name_of(row),
        format_size(row.peak_reserved or 0),
        f"{row.retries:,}",
        f"{row.segments:,}",
        fits,
        "ok" if row.oom_event is None else f"oom @{row.oom_event:,}",
    )


def document(trace: Trace, limit: int | None, compared: Fidelity | None, rows: list[Row], best: Row | None) -> dict[str, Any]:
    """Return the JSON document; ``limit`` is the device's memory in bytes or None, ``best`` the row with the best settings."""
    said = None
    if compared is not None:
        said = {name: value for name, value in vars(compared).items() if name != "capacity"}
        said["capacity_bytes"] = compared.capacity
    return {
        "schema": "memtrace.whatif/1",
        "trace": trace.name,
        "events": trace.facts.events,
        "lower_bound_bytes": trace.facts.peak_live_bytes,
        "capacity_bytes": limit,
        "fidelity": said,
        "rows": [row_document(row) for row in rows],
        "best": best.conf if best else None,
    }


def row_document(row: Row) -> dict[str, Any]:
    """Return a row's entry in the JSON document."""
    from dataclasses import asdict

    return {
        "conf": row.conf,
        "status": row.status,
        "peak_reserved_bytes": row.peak_reserved,
        "retries": row.retries,
        "segments": row.segments,
        "oom_event": row.oom_event,
        "oom_request_bytes": row.autopsy.request if row.autopsy else None,
        "oom_tag": row.oom_tag,
        "smallest_capacity_bytes": row.smallest_capacity,
        "autopsy": asdict(row.autopsy) if row.autopsy else None,
        "warnings": row.notes,
    }
